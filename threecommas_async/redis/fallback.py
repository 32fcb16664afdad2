"""Pacing during a Redis outage: one process, its share of the limit, after a silent window."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from attrs import evolve

from ..errors import ConfigurationError, RequestNotSentError
from ..rate_limit import SlidingWindowLimiter

if TYPE_CHECKING:
    from ..endpoint import Bucket, Priority
    from ..rate_limit import Permit

__all__ = ["LocalShare"]


class LocalShare:
    """A limiter for this process's share of the limit, used while Redis is unreachable.

    Args:
        whole: a limiter with the settings of the shared budget.
        share: fraction of the limit that this process may use, above 0 and at most 1.

    Raises:
        ConfigurationError: `share` is out of range or leaves no slot.
    """

    def __init__(self, whole: SlidingWindowLimiter, share: float) -> None:
        limit = int(whole.limit * share)
        if not (0 < share <= 1 and limit):
            raise ConfigurationError("share must be above 0, at most 1, and leave a slot")
        reserve = min(int(whole.reserve * share), limit - 1)
        self._limiter = SlidingWindowLimiter(limit, whole.window, whole.penalty, reserve)
        self._share = share
        self._outage_over: asyncio.Future[None] | None = None
        self._used = False

    async def start(self, silence: float) -> None:
        """Start an outage: send nothing for `silence` seconds.

        By then the server no longer counts what any process sent before the outage.
        """
        self._outage_over = asyncio.get_running_loop().create_future()
        await self._limiter.block(silence)

    def stop(self) -> bool:
        """End the outage; return whether anything was sent that Redis does not know of."""
        used, self._used = self._used, False
        over, self._outage_over = self._outage_over, None
        if over is not None and not over.get_loop().is_closed():
            over.set_result(None)
        return used

    async def acquire(
        self, priority: Priority, bucket: Bucket | None, deadline: float | None
    ) -> Permit | None:
        """Wait for a slot of the share; return None as soon as the outage is over.

        Raises:
            RequestNotSentError: no slot of the share comes free before the deadline.
        """
        over = self._outage_over
        if over is None:
            return None
        if bucket is not None:
            bucket = evolve(bucket, limit=max(1, int(bucket.limit * self._share)))
        acquiring = asyncio.create_task(
            self._limiter.acquire(priority, bucket=bucket, deadline=deadline)
        )
        either: set[asyncio.Future[Any]] = {acquiring, over}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self._cancel(acquiring)
            raise
        if over.done():
            await self._cancel(acquiring)
            return None
        if acquiring.exception() is not None:
            # Without `available_in`: Redis may be back before that, so an early retry makes sense.
            raise RequestNotSentError(
                "not sent: the Redis that keeps the rate limit does not answer, and this "
                "process's share of the limit has no slot before the deadline"
            )
        self._used = True
        return acquiring.result()

    async def _cancel(self, acquiring: asyncio.Task[Permit]) -> None:
        """Cancel a wait for a slot; if it has just succeeded, release the permit."""
        if not acquiring.cancel() and acquiring.exception() is None:
            await self.release(acquiring.result(), sent=False)

    async def release(self, permit: Permit, *, sent: bool, late: float = 0.0) -> None:
        """End an attempt, see `RateLimiter.release`."""
        await self._limiter.release(permit, sent=sent, late=late)

    async def block(self, seconds: float) -> None:
        """Send nothing for this many seconds."""
        await self._limiter.block(seconds)
