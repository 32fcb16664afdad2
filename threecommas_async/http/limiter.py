"""The rate limiter as the pipeline uses it: no failure of it changes what came of a request."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

from ..errors import RequestNotSentError, ThreeCommasError
from ..logs import log
from ..rate_limit import NoLimit, Permit

if TYPE_CHECKING:
    from ..endpoint import Bucket, Priority
    from ..rate_limit import RateLimiter
    from .cancel_scope import CancelScope

__all__ = ["GuardedLimiter"]

# Seconds before its deadline in which a call that still waits for a slot is refused.
_TIME_TO_TELL: Final = 0.01


class GuardedLimiter:
    """A limiter that may be the user's own, and may raise anything.

    Without a slot nothing leaves. A slot that it fails to take back is lost to it, and no more. A
    block that it fails to take down is kept here.

    Args:
        limiter: the limiter.
        calls: those that use it; tells a cancellation of theirs from one of foreign code.
    """

    def __init__(self, limiter: RateLimiter, calls: CancelScope) -> None:
        self._limiter = limiter
        self._calls = calls
        self._blocked_until = -math.inf
        self._held_until = -math.inf

    async def acquire(
        self, priority: Priority, bucket: Bucket | None, deadline: float | None
    ) -> Permit:
        """Wait for a slot.

        Raises:
            RequestNotSentError: there is none in time, or the limiter failed.
        """
        loop = asyncio.get_running_loop()
        while (blocked := self._blocked_until - loop.time()) > 0:  # noqa: ASYNC110 - it may grow
            await asyncio.sleep(blocked)
        if deadline is not None:
            # A little before the call is cut short: the limiter says why there was no slot.
            deadline -= min(_TIME_TO_TELL, (deadline - loop.time()) / 2)
        try:
            return await self._limiter.acquire(priority, bucket=bucket, deadline=deadline)
        except ThreeCommasError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            if self._calls.was_cancelled(error):
                raise
            failure = RequestNotSentError(
                f"not sent: the rate limiter failed ({type(error).__name__}: {error}); "
                "nothing has happened, it is safe to call again"
            )
            failure.__cause__ = error
        raise failure

    async def release(self, permit: Permit, *, sent: bool, late: float) -> None:
        """End an attempt, see `RateLimiter.release`."""
        try:
            if sent and late:
                await self._limiter.release(permit, sent=sent, late=late)
            else:
                await self._limiter.release(permit, sent=sent)
        except (Exception, asyncio.CancelledError) as error:
            if self._calls.was_cancelled(error):
                raise
            log.exception("the rate limiter failed to take a slot back")

    async def block(self, seconds: float) -> bool:
        """Let nothing leave for this long; return whether that is news to those who wait."""
        # Those in flight are refused as well, and would all tell the same: the first one does.
        news = seconds > self.blocked_for() + 1.0
        try:
            await self._limiter.block(seconds)
        except (Exception, asyncio.CancelledError) as error:
            until = asyncio.get_running_loop().time() + seconds
            self._blocked_until = max(self._blocked_until, until)
            if self._calls.was_cancelled(error):
                raise
            log.exception("the rate limiter failed to take a block down; this client keeps it")
        return news

    def hold(self, seconds: float) -> None:
        """Let nothing leave while the rest of a refusal is read, which says for how long."""
        self._held_until = asyncio.get_running_loop().time() + seconds

    def let_go(self) -> None:
        """End `hold`: a refusal was read to its end."""
        self._held_until = -math.inf

    def held_for(self) -> float:
        """Return for how many seconds nothing may leave, held or blocked."""
        held = self._held_until - asyncio.get_running_loop().time()
        return max(0.0, held, self.blocked_for())

    def may_send(self, permit: object) -> bool:
        """Return whether a request may leave now on a permit that was given a while ago."""
        return not self.held_for() and not (isinstance(permit, Permit) and not permit.usable())

    def blocked_for(self) -> float:
        """Return for how many seconds nothing may leave."""
        own = self._blocked_until - asyncio.get_running_loop().time()
        try:
            return max(0.0, own, self._limiter.blocked_for())
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - foreign code
            log.exception("the rate limiter failed to tell whether it blocks")
            return max(0.0, own)

    @property
    def penalty(self) -> float:
        """Seconds of refusal to assume with a 429 that does not say how long."""
        try:
            return self._limiter.penalty
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - foreign code
            log.exception("the rate limiter failed to tell its penalty")
            return NoLimit.penalty
