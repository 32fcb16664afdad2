"""A clock by which the age of a permit counts."""

from __future__ import annotations

import time
from typing import Final

__all__ = ["uptime"]

_BOOTTIME: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)
_BEGAN: Final = time.time() - time.monotonic()


def uptime() -> float:
    """Return seconds on a clock that also runs while the process is stopped or the machine sleeps.

    The clock of an event loop does not run while a laptop sleeps. Where no clock of the system's
    does, the time of day stands in, as far as it is ahead.
    """
    if _BOOTTIME is not None:
        return time.clock_gettime(_BOOTTIME)
    return max(time.monotonic(), time.time() - _BEGAN)
