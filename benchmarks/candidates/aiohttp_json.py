"""The plain aiohttp client: no signature, no pacing, the body parsed as JSON."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from benchmarks.candidates.base import CONNECTIONS, CloseAll, close_path, gathered


@asynccontextmanager
async def opened(base_url: str) -> AsyncGenerator[CloseAll]:
    """Use one session whose connector allows 20 concurrent requests."""
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(base_url, connector=connector) as session:

        async def close(trade_id: int) -> Any:
            async with session.post(close_path(trade_id)) as response:
                response.raise_for_status()
                return await response.json()

        yield gathered(close)
