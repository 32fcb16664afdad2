"""py3cw, the most used Python client of 3Commas, in 20 threads."""

# Has no type hints, and is only installed in the environment of the alternatives.
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import py3cw.request

from benchmarks.candidates.base import API_KEY, CONNECTIONS, SECRET, CloseAll, threaded


@asynccontextmanager
async def opened(base_url: str) -> AsyncGenerator[CloseAll]:
    """Share one client between the threads; only its URL is replaced."""
    py3cw.request.API_URL = base_url
    client = py3cw.request.Py3CW(key=API_KEY, secret=SECRET)

    def close(trade_id: int) -> Any:
        error, trade = client.request(
            entity="smart_trades_v2", action="close_by_market", action_id=str(trade_id)
        )
        if error:
            raise RuntimeError(error.get("msg", "refused"))
        return trade

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        yield threaded(close, threads)
    client.session.close()
