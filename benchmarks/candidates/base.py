"""The interface of a candidate: a function that closes all given ids."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from typing import Any

CONNECTIONS = 20
API_KEY = "benchmark-key"
SECRET = "benchmark-secret"

CloseAll = Callable[[Sequence[int]], Awaitable[list[Any]]]
"""Closes all trades concurrently; returns one result or exception per trade, in order."""

Opened = Callable[[str], AbstractAsyncContextManager[CloseAll]]
"""Context manager that connects to ``http://127.0.0.1:<port>`` and yields a `CloseAll`."""


def close_path(trade_id: int) -> str:
    """Return the path of a close."""
    return f"/public/api/v2/smart_trades/{trade_id}/close_by_market"


def signed(path: str) -> dict[str, str]:
    """Return the headers of a signed request without a body."""
    signature = hmac.new(SECRET.encode(), path.encode(), hashlib.sha256).hexdigest()
    return {"Apikey": API_KEY, "Signature": signature}


def gathered(close: Callable[[int], Awaitable[Any]]) -> CloseAll:
    """Return a `CloseAll` that runs each close in its own task."""

    async def close_all(trade_ids: Sequence[int]) -> list[Any]:
        return await asyncio.gather(*map(close, trade_ids), return_exceptions=True)

    return close_all


def threaded(close: Callable[[int], Any], threads: ThreadPoolExecutor) -> CloseAll:
    """Return a `CloseAll` that runs the closes in threads, as an asyncio bot has to."""

    def attempt(trade_id: int) -> Any:
        try:
            return close(trade_id)
        except Exception as error:  # noqa: BLE001 - counted by its type
            return error

    async def close_all(trade_ids: Sequence[int]) -> list[Any]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, lambda: list(threads.map(attempt, trade_ids)))

    return close_all
