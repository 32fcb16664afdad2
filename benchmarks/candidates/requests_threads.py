"""requests in 20 threads, with one session, a connection per thread, and own signing."""

# Has no type hints, and is only installed in the environment of the alternatives.
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from benchmarks.candidates.base import CONNECTIONS, CloseAll, close_path, signed, threaded


@asynccontextmanager
async def opened(base_url: str) -> AsyncGenerator[CloseAll]:
    """Share one session between the threads."""
    with requests.Session() as session, ThreadPoolExecutor(CONNECTIONS) as threads:
        session.mount(base_url, HTTPAdapter(pool_maxsize=CONNECTIONS))

        def close(trade_id: int) -> Any:
            path = close_path(trade_id)
            response = session.post(base_url + path, headers=signed(path), timeout=30)
            response.raise_for_status()
            return response.json()

        yield threaded(close, threads)
