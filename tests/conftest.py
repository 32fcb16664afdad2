"""What all tests share."""

import asyncio


def pytest_configure() -> None:
    # looptime asks for the current event loop even around a synchronous test. Having said that
    # there is none keeps asyncio from making one, which nobody would close.
    asyncio.set_event_loop(None)
