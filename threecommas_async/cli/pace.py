"""A limiter that can be watched: how many requests wait for a slot, and for how long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from threecommas_async.rate_limit import SlidingWindowLimiter

if TYPE_CHECKING:
    from threecommas_async.endpoint import Bucket, Priority
    from threecommas_async.rate_limit import Permit, SlidingWindow

__all__ = ["WatchedLimiter"]


class WatchedLimiter(SlidingWindowLimiter):
    """`SlidingWindowLimiter`, counting what is on its way."""

    def __init__(self, limit: int = 100, window: float = 60.0, penalty: float = 300.0) -> None:
        super().__init__(limit, window, penalty)
        self.in_flight = 0
        """Requests that have a slot and no answer yet."""
        self._slots: SlidingWindow | None = None

    async def acquire(
        self, priority: Priority, *, bucket: Bucket | None = None, deadline: float | None = None
    ) -> Permit:
        """Wait for a slot."""
        permit = await super().acquire(priority, bucket=bucket, deadline=deadline)
        self._slots = permit.windows[0]
        self.in_flight += 1
        return permit

    async def release(self, permit: Permit, *, sent: bool) -> None:
        """End an attempt."""
        self.in_flight -= 1
        await super().release(permit, sent=sent)

    def seconds_until_sent(self, requests: int) -> float:
        """Estimate the seconds until the last of that many more requests can leave."""
        if requests < 1:
            return 0.0
        now = asyncio.get_running_loop().time()
        paced = 0.0 if self._slots is None else self._slots.available_at(requests - 1, now) - now
        return max(paced, self.blocked_for())
