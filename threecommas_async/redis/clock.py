"""The clock that measures the age of a permit."""

from __future__ import annotations

import time
from typing import Final

__all__ = ["uptime"]

_BOOTTIME: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)
_WALL_OFFSET: Final = time.time() - time.monotonic()


def uptime() -> float:
    """Return seconds on a clock that also runs while the process is stopped or the machine sleeps.

    `time.monotonic`, which event loops use, may stand still during sleep. Systems without
    CLOCK_BOOTTIME fall back to the wall clock wherever it is ahead of the monotonic one.
    """
    if _BOOTTIME is not None:
        return time.clock_gettime(_BOOTTIME)
    return max(time.monotonic(), time.time() - _WALL_OFFSET)
