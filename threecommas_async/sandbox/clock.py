"""The sandbox's clock: seconds since it was created, optionally faster than real time."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """A clock that runs `scale` times as fast as `source`.

    All times of the sandbox (windows, penalties, closing delays, the ledger) are in its seconds, so
    a scale of ten turns 100 requests per 60 s into 100 per 6 s of real time.

    Raises:
        ValueError: `scale` is not positive.
    """

    __slots__ = ("_epoch", "_origin", "_source", "scale")

    def __init__(self, source: Callable[[], float] = time.monotonic, scale: float = 1.0) -> None:
        if not scale > 0:
            raise ValueError(f"time_scale must be above 0, not {scale!r}")
        self._source = source
        self._origin = source()
        self._epoch = datetime.now(UTC)
        self.scale: float = scale

    def now(self) -> float:
        """Return the seconds that have passed on this clock."""
        return (self._source() - self._origin) * self.scale

    def real(self, seconds: float) -> float:
        """Convert a duration on this clock to real seconds."""
        return seconds / self.scale

    def utc(self, at: float) -> datetime:
        """Return the date and time at which this clock shows `at`."""
        return self._epoch + timedelta(seconds=self.real(at))

    def iso(self, at: float) -> str:
        """Format `utc(at)` as the API does: with milliseconds and a Z."""
        return self.utc(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def next_whole_second(self, at: float) -> datetime:
        """Return `at` as real UTC, rounded up to a whole second.

        Computed from the current wall clock, not from the start: a client compares the result
        with its own wall clock, and the monotonic clock may stand still while the machine sleeps.
        """
        end = time.time() + self.real(at - self.now())
        return datetime.fromtimestamp(math.ceil(end), UTC)
