"""The rate limiter as the pipeline uses it, protected from failures of the limiter's own code.

A limiter may be the user's. Whatever it raises, the outcome of a request stays true and a block
stays in force. This module also pauses sending while the body of a 429 or 418 is still being read.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from ..errors import RequestNotSentError, ThreeCommasError
from ..logs import log
from ..rate_limit import NoLimit, Permit, RateLimiter, no_slot_error

if TYPE_CHECKING:
    from ..endpoint import Bucket, Priority
    from .cancel_scope import CancelScope

__all__ = ["GuardedLimiter"]

# Seconds before a call's deadline at which the limiter is to refuse it: its error says why there
# was no slot, that of the deadline does not.
_REFUSAL_MARGIN: Final = 0.01


class _Pause:
    """How many refusals are being read, and until when nothing is sent for them."""

    def __init__(self) -> None:
        self.count: int = 0
        self.until: float = -math.inf


# All clients of this process that share a limiter share its pauses.
_PAUSES: Final[WeakKeyDictionary[RateLimiter, _Pause]] = WeakKeyDictionary()


def _pause_of(limiter: RateLimiter) -> _Pause:
    try:
        return _PAUSES.setdefault(limiter, _Pause())
    except TypeError:  # a limiter of the user's that has no hash or cannot be referred to weakly
        return _Pause()


class GuardedLimiter:
    """Wraps a limiter that may raise anything.

    If `acquire` fails, the request is not sent. If `release` fails, the limiter loses the slot and
    nothing else happens. If `block` fails, this object keeps the block.

    Args:
        limiter: the limiter.
        calls: the calls under way, to tell their cancellation from one in foreign code.
    """

    def __init__(self, limiter: RateLimiter, calls: CancelScope) -> None:
        self._limiter = limiter
        self._calls = calls
        self._blocked_until = -math.inf
        self._pause = _pause_of(limiter)

    async def acquire(
        self, priority: Priority, bucket: Bucket | None, deadline: float | None
    ) -> Permit:
        """Wait for a slot.

        Raises:
            RequestNotSentError: no slot before the deadline, or the limiter failed.
        """
        loop = asyncio.get_running_loop()
        while (blocked := self._blocked_until - loop.time()) > 0:
            if deadline is not None and deadline < self._blocked_until:
                raise no_slot_error(blocked, blocked=blocked)
            await asyncio.sleep(blocked)
        if deadline is not None:
            deadline -= min(_REFUSAL_MARGIN, (deadline - loop.time()) / 2)
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
        """Send nothing for this long; return whether that is notably longer than the current block.

        After a 429 all requests in flight are refused as well; only the first is worth a warning.
        """
        is_new = seconds > self.blocked_for() + 1.0
        try:
            await self._limiter.block(seconds)
        except (Exception, asyncio.CancelledError) as error:
            until = asyncio.get_running_loop().time() + seconds
            self._blocked_until = max(self._blocked_until, until)
            if self._calls.was_cancelled(error):
                raise
            log.exception("the rate limiter failed to set a block; this client keeps it")
        return is_new

    def pause(self, seconds: float) -> None:
        """Send nothing while the body of a 429 or 418 is read, which may say for how long."""
        now = asyncio.get_running_loop().time()
        self._pause.count = 1 + (self._pause.count if now < self._pause.until else 0)
        self._pause.until = now + seconds

    def resume(self) -> None:
        """End `pause`: the body was read, and `block` was called if it sets one.

        Bodies of other refusals may still be on their way.
        """
        self._pause.count -= 1
        if self._pause.count <= 0:
            self._pause.until = -math.inf

    def silent_for(self) -> float:
        """Return the seconds for which nothing may be sent, because of a block or a pause."""
        pause = self._pause.until - asyncio.get_running_loop().time()
        return max(0.0, pause, self.blocked_for())

    def may_send(self, permit: object) -> bool:
        """Return whether a request may be sent now with a permit that was acquired earlier."""
        return not self.silent_for() and not (isinstance(permit, Permit) and not permit.usable())

    def blocked_for(self) -> float:
        """Return the seconds for which nothing may be sent because of a block."""
        own = self._blocked_until - asyncio.get_running_loop().time()
        try:
            return max(0.0, own, float(self._limiter.blocked_for()))
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - foreign code
            log.exception("the rate limiter failed to say whether it blocks")
            return max(0.0, own)

    @property
    def penalty(self) -> float:
        """Seconds of refusal to assume with a 429 that does not say how long."""
        try:
            return self._limiter.penalty
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - foreign code
            log.exception("the rate limiter failed to give its penalty")
            return NoLimit.penalty
