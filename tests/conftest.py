"""What all tests share."""

import asyncio
import ssl

import hypothesis
import pytest

from threecommas_async import client

# What a run finds must not depend on what runs before it left in `.hypothesis`, nor on a busy
# machine. A failure is repeated with the line that it prints.
hypothesis.settings.register_profile(
    "suite",
    database=None,
    print_blob=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--transport",
        choices=("own", "aiohttp"),
        default="own",
        help="the connections of clients that are given none: the package's, or the extra `speed`",
    )


def pytest_configure(config: pytest.Config) -> None:
    # looptime asks for the current event loop even around a synchronous test. Having said that
    # there is none keeps asyncio from making one, which nobody would close.
    asyncio.set_event_loop(None)
    config.addinivalue_line("markers", "own_transport: only for the package's own connections")
    if config.getoption("--transport") == "aiohttp":
        from threecommas_async.speed import AiohttpTransport  # noqa: PLC0415 - an extra

        def connections(_: object, tls: ssl.SSLContext | None, max_bytes: int) -> AiohttpTransport:
            return AiohttpTransport(tls=tls, max_bytes=max_bytes)

        setattr(client, "ConnectionSlots", connections)  # noqa: B010 - of another type


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--transport") == "own":
        return
    for item in items:
        if item.get_closest_marker("own_transport"):
            item.add_marker(pytest.mark.skip(reason="only for the package's own connections"))
