"""No work: the baseline for the stall of the event loop on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.candidates.base import CloseAll


@asynccontextmanager
async def opened(base_url: str) -> AsyncGenerator[CloseAll]:  # noqa: ARG001 - same signature as the others
    """Sleep for half a second per thousand trades instead of closing."""

    async def close_all(trade_ids: Sequence[int]) -> list[Any]:
        await asyncio.sleep(len(trade_ids) / 2_000)
        return [{"id": trade_id} for trade_id in trade_ids]

    yield close_all
