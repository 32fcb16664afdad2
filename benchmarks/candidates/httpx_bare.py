"""The plain httpx client: no signature, no pacing, the body parsed as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from benchmarks.candidates.base import CONNECTIONS, CloseAll, close_path, gathered


@asynccontextmanager
async def behind_semaphore(base_url: str) -> AsyncGenerator[CloseAll]:
    """Use a semaphore of the size of the pool, which keeps all connections alive."""
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    semaphore = asyncio.Semaphore(CONNECTIONS)
    async with httpx.AsyncClient(base_url=base_url, limits=limits) as client:

        async def close(trade_id: int) -> Any:
            async with semaphore:
                response = await client.post(close_path(trade_id))
            return response.raise_for_status().json()

        yield gathered(close)


@asynccontextmanager
async def ungated(base_url: str) -> AsyncGenerator[CloseAll]:
    """Use a client with default settings, and gather all closes."""
    async with httpx.AsyncClient(base_url=base_url) as client:

        async def close(trade_id: int) -> Any:
            response = await client.post(close_path(trade_id))
            return response.raise_for_status().json()

        yield gathered(close)
