"""Persist recent requests and the current block, so that consecutive commands share a rate limit.

3Commas counts requests per key, not per process. Without this file, a list followed by a close of
hundreds would exceed the limit, and the server would refuse everything for five minutes; a command
that starts during such a block would run into it, which can get the IP address banned.

Commands that run concurrently are not coordinated: give each a part of the limit (`--rate-limit`).
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from attrs import asdict

from .limiter import RateLimitState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .limiter import TrackingLimiter

__all__ = ["persisted"]


@asynccontextmanager
async def persisted(limiter: TrackingLimiter, api_key: str, base_url: str) -> AsyncGenerator[None]:
    """Restore the limiter's state for this key from the file, and save it at the end.

    A file that cannot be read or written is ignored.
    """
    # Hashed so that the file reveals neither key nor address.
    account = hashlib.sha256(f"{base_url} {api_key}".encode()).hexdigest()[:16]
    file = _file()
    await limiter.restore(_read(file).get(account, RateLimitState()))
    try:
        yield
    finally:
        state = limiter.state()
        if state != RateLimitState() and file.is_absolute():
            _write(file, account, state)


def _file() -> Path:
    # Unlike `Path.home`, `expanduser` does not fail without a home directory: it keeps the ~.
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(cache, "threecommas-async", "pace.json")


def _read(file: Path) -> dict[str, RateLimitState]:
    try:
        accounts = cast("dict[str, dict[str, Any]]", json.loads(file.read_text("utf-8")))
        return {
            account: RateLimitState(tuple(map(float, state["sent"])), float(state["blocked_until"]))
            for account, state in accounts.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _write(file: Path, account: str, state: RateLimitState) -> None:
    """Merge with the file so that entries of concurrent commands survive."""
    states = _read(file)
    states[account] = states.get(account, RateLimitState()).merged(state)
    now = time.time()
    kept = {name: asdict(left) for name, state in states.items() if (left := state.pruned(now))}
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as fresh:
            json.dump(kept, fresh)
        Path(fresh.name).replace(file)
