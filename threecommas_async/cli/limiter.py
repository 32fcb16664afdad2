"""A rate limiter that counts requests in flight and can save and restore its state."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from attrs import frozen

from ..rate_limit import SlidingWindowLimiter

if TYPE_CHECKING:
    from ..endpoint import Bucket, Priority
    from ..rate_limit import Permit

__all__ = ["RateLimitState", "TrackingLimiter"]

_WINDOW = 60.0
_LONGEST_BAN = 3 * 24 * 3600.0


@frozen
class RateLimitState:
    """Recent requests and the current block, as Unix timestamps that other processes can use."""

    sent: tuple[float, ...] = ()
    """End times of requests that the server may still count."""
    blocked_until: float = 0.0

    def pruned(self, now: float) -> RateLimitState | None:
        """Drop what has expired; return None if nothing is left."""
        # Absolute difference: after the clock was set back, recent requests lie in the future.
        sent = tuple(at for at in self.sent if abs(now - at) < _WINDOW)
        blocked = now < self.blocked_until < now + _LONGEST_BAN
        if not (sent or blocked):
            return None
        return RateLimitState(sent, self.blocked_until if blocked else 0.0)

    def merged(self, other: RateLimitState) -> RateLimitState:
        """Return the requests of both, and the later block."""
        sent = tuple(sorted({*self.sent, *other.sent}))
        return RateLimitState(sent, max(self.blocked_until, other.blocked_until))


class TrackingLimiter(SlidingWindowLimiter):
    """`SlidingWindowLimiter` that also tracks requests in flight and recently sent."""

    def __init__(self, limit: int = 100, window: float = _WINDOW, penalty: float = 300.0) -> None:
        super().__init__(limit, window, penalty)
        self.in_flight: int = 0
        """Requests that have a slot and no answer yet."""
        self._sent: deque[float] = deque(maxlen=limit)

    async def acquire(
        self, priority: Priority, *, bucket: Bucket | None = None, deadline: float | None = None
    ) -> Permit:
        """Wait for a slot."""
        permit = await super().acquire(priority, bucket=bucket, deadline=deadline)
        self.in_flight += 1
        return permit

    async def release(self, permit: Permit, *, sent: bool, late: float = 0.0) -> None:
        """End an attempt."""
        self.in_flight -= 1
        if sent:
            self._sent.append(time.time() + late)
        await super().release(permit, sent=sent, late=late)

    def seconds_until_sent(self, requests: int) -> float:
        """Estimate the seconds until the last of this many further requests can be sent."""
        if requests < 1:
            return 0.0
        now = asyncio.get_running_loop().time()
        return max(self._general.available_at(requests - 1, now) - now, self.blocked_for())

    async def restore(self, state: RateLimitState) -> None:
        """Occupy the slots that earlier processes have used, and apply their block."""
        wall, now = time.time(), asyncio.get_running_loop().time()
        current = state.pruned(wall) or RateLimitState()
        for at in current.sent:
            self._general.take()
            self._general.hold(now - max(0.0, wall - at))
        if current.blocked_until:
            await self.block(current.blocked_until - wall)

    def state(self) -> RateLimitState:
        """Return the requests sent by this process and the current block, to be restored later."""
        blocked = self.blocked_for()
        return RateLimitState(tuple(self._sent), time.time() + blocked if blocked else 0.0)
