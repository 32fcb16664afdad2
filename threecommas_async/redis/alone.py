"""What one process may send while it is cut off from the books: its share, and nothing at first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from attrs import evolve

from ..errors import ConfigurationError, RequestNotSentError
from ..rate_limit import SlidingWindowLimiter

if TYPE_CHECKING:
    from ..endpoint import Bucket, Priority
    from ..rate_limit import Permit

__all__ = ["Alone"]


class Alone:
    """A process's share of a limit, for as long as Redis is lost.

    Raises:
        ConfigurationError: a share that leaves no slot, or more than there is.
    """

    def __init__(self, whole: SlidingWindowLimiter, share: float) -> None:
        limit = int(whole.limit * share)
        if not (0 < share <= 1 and limit):
            raise ConfigurationError("share must be above 0, at most 1, and leave a slot")
        reserve = min(int(whole.reserve * share), limit - 1)
        self._limiter = SlidingWindowLimiter(limit, whole.window, whole.penalty, reserve)
        self._share = share
        self._over: asyncio.Future[None] | None = None
        self._used = False

    async def begin(self, silence: float) -> None:
        """Redis is lost: let nothing leave for so long, until what others sent is forgotten."""
        self._over = asyncio.get_running_loop().create_future()
        await self._limiter.block(silence)

    def end(self) -> bool:
        """Redis is back; return whether anything was sent of which it does not know."""
        used, self._used = self._used, False
        over, self._over = self._over, None
        if over is not None and not over.get_loop().is_closed():
            over.set_result(None)
        return used

    async def acquire(
        self, priority: Priority, bucket: Bucket | None, deadline: float | None
    ) -> Permit | None:
        """Wait for a slot of the share; None as soon as Redis can be asked.

        Raises:
            RequestNotSentError: neither before the deadline, as things stand.
        """
        over = self._over
        if over is None:
            return None
        if bucket is not None:
            bucket = evolve(bucket, limit=max(1, int(bucket.limit * self._share)))
        ask = asyncio.create_task(self._limiter.acquire(priority, bucket=bucket, deadline=deadline))
        either: set[asyncio.Future[Any]] = {ask, over}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self._call_off(ask)
            raise
        if over.done():
            await self._call_off(ask)
            return None
        if ask.exception() is not None:
            # Without `available_in`, for Redis may answer again before that: it is worth a retry.
            raise RequestNotSentError(
                "not sent: the Redis that keeps the rate limit does not answer, and this "
                "process's share of the limit has no slot before the deadline"
            )
        self._used = True
        return ask.result()

    async def _call_off(self, ask: asyncio.Task[Permit]) -> None:
        """End a wait for a slot; what has just come of it goes back."""
        if not ask.cancel() and ask.exception() is None:
            await self.release(ask.result(), sent=False)

    async def release(self, permit: Permit, *, sent: bool, late: float = 0.0) -> None:
        """End an attempt, see `RateLimiter.release`."""
        await self._limiter.release(permit, sent=sent, late=late)

    async def block(self, seconds: float) -> None:
        """Let nothing leave for this long."""
        await self._limiter.block(seconds)
