"""The sandbox's clock: seconds since it was made, possibly faster than real ones."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """Seconds on the sandbox's clock, which runs `scale` times as fast as `source`.

    Everything the sandbox counts (windows, penalties, closing delays, the ledger's times) is in
    these seconds, so that a scale of ten turns 100 requests per 60 s into 100 per 6 s.
    """

    __slots__ = ("_epoch", "_origin", "_source", "scale")

    def __init__(self, source: Callable[[], float] = time.monotonic, scale: float = 1.0) -> None:
        if not scale > 0:
            raise ValueError(f"time_scale must be above 0, not {scale!r}")
        self._source = source
        self._origin = source()
        self._epoch = datetime.now(UTC)
        self.scale = scale

    def now(self) -> float:
        """Tell the seconds that have passed on this clock."""
        return (self._source() - self._origin) * self.scale

    def real(self, seconds: float) -> float:
        """Turn a span of this clock into real seconds."""
        return seconds / self.scale

    def utc(self, at: float) -> datetime:
        """Tell the date and time at which this clock shows `at`."""
        return self._epoch + timedelta(seconds=self.real(at))

    def iso(self, at: float) -> str:
        """Write `utc(at)` as the API does: milliseconds and a Z."""
        return self.utc(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def next_whole_second(self, at: float) -> datetime:
        """Tell the first whole second of real UTC that is not before `at`.

        Reckoned from the wall clock of this moment, not of the start: a client compares the
        answer with its own wall clock, and the two part when the machine has slept.
        """
        end = time.time() + self.real(at - self.now())
        return datetime.fromtimestamp(math.ceil(end), UTC)
