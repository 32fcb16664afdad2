"""What a command leaves for the next one: the requests of the last minute, and a block.

3Commas counts the requests of a key and knows nothing of commands. Without this, a list and then a
close of hundreds would be a few requests too many in one minute, which costs five minutes of
refusal in the middle of a crash; and a command given during a refusal would run into it, which
costs the address.

Commands that run at the same time are not paced together: give each its share (`--rate-limit`).
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

from .pace import Pace

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .pace import WatchedLimiter

__all__ = ["carried_over"]


@asynccontextmanager
async def carried_over(
    limiter: WatchedLimiter, api_key: str, base_url: str
) -> AsyncGenerator[None]:
    """Begin with what earlier commands with this key have left, and leave the rest to later ones.

    What cannot be read or written is done without.
    """
    # Nobody gets from this back to a key.
    account = hashlib.sha256(f"{base_url} {api_key}".encode()).hexdigest()[:16]
    file = _file()
    await limiter.recall(_read(file).get(account, Pace()))
    try:
        yield
    finally:
        left = limiter.pace()
        if left != Pace() and file.is_absolute():
            _write(file, account, left)


def _file() -> Path:
    # `Path.home` fails where there is no home; this leaves the ~ in.
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(cache, "threecommas-async", "pace.json")


def _read(file: Path) -> dict[str, Pace]:
    try:
        accounts = cast("dict[str, dict[str, Any]]", json.loads(file.read_text("utf-8")))
        return {
            account: Pace(tuple(map(float, pace["sent"])), float(pace["blocked_until"]))
            for account, pace in accounts.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _write(file: Path, account: str, pace: Pace) -> None:
    """Add to what is there now, lest it be lost what another command has left meanwhile."""
    paces = _read(file)
    paces[account] = paces.get(account, Pace()).joined(pace)
    now = time.time()
    kept = {name: asdict(left) for name, pace in paces.items() if (left := pace.since(now))}
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as fresh:
            json.dump(kept, fresh)
        Path(fresh.name).replace(file)
