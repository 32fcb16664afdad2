"""The rate limiters of one process: never more requests in a rolling window than the server allows.

A breach costs 300 s of refusal for the key, then a ban of the address, so the limit is strict: a
slot is taken *before* a request is sent and comes free one window *after its answer arrived*. The
server counted the request in between, so it no longer counts it when the slot is used again,
whatever the latency. (A token bucket lets through up to twice its limit: a full burst and the
refill.) Without an answer, the slot is held for as long as the server can still come to count it.

The arithmetic is in window.py, the order of those who wait in queue.py.

https://developers.3commas.io/general-information/limits
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ..config import check_count, check_seconds
from ..endpoint import Priority
from ..errors import ConfigurationError, RequestNotSentError
from ..ownership import Owner
from .queue import Waiter, WaitQueue
from .window import SlidingWindow

if TYPE_CHECKING:
    from ..endpoint import Bucket

__all__ = [
    "NoLimit",
    "Permit",
    "RateLimiter",
    "SlidingWindowLimiter",
    "no_slot_error",
]


_Windows: TypeAlias = tuple[SlidingWindow, ...]


class Permit:
    """A slot taken for one attempt. Return it with `RateLimiter.release`, once."""

    __slots__ = ("windows",)

    def __init__(self, windows: _Windows = ()) -> None:
        self.windows: _Windows = windows

    def usable(self) -> bool:
        """Return whether a request may still be sent with this permit; called right before that.

        A limiter whose permits expire overrides this method. The client releases an unusable permit
        as not sent and acquires another. The permits of `SlidingWindowLimiter` never expire: their
        slots stay taken until they are released.
        """
        return True

    def end(self, now: float, *, sent: bool, late: float) -> None:
        """Free the slots at once, or hold them, see `RateLimiter.release`."""
        for window in self.windows:
            if sent:
                window.hold(now, late)
            else:
                window.give_back()


class RateLimiter(Protocol):
    """Decides who may send when. Share one limiter between all clients that use the same key."""

    penalty: float
    """Seconds of refusal to assume with a 429 that does not say how long."""

    async def acquire(
        self, priority: Priority, *, bucket: Bucket | None = None, deadline: float | None = None
    ) -> Permit:
        """Wait for a slot.

        Args:
            priority: who goes first.
            bucket: the endpoint's own limit, kept in addition to the general one.
            deadline: event loop time by which the slot is needed.

        Raises:
            RequestNotSentError: no slot before the deadline; raised at once if that is certain.
                `available_in` says when to expect one.
        """
        ...

    async def release(self, permit: Permit, *, sent: bool, late: float = 0.0) -> None:
        """End an attempt: free the slot at once if nothing was sent, else one window from now.

        Args:
            permit: the permit that `acquire` returned.
            sent: whether the request may have left.
            late: seconds from now in which the server may still count a request that was not
                answered. The window begins after them.
        """
        ...

    async def block(self, seconds: float) -> None:
        """Send nothing for this long: the server refused the rate (429) or the address (418)."""
        ...

    def blocked_for(self) -> float:
        """Return the seconds from now for which nothing may be sent; 0.0 without a block."""
        ...


class _Cooldown:
    """The block after a 429 or 418, on the event loop's clock; base of the limiters here."""

    def __init__(self) -> None:
        self._owner = Owner("the rate limiter")
        self._blocked_until = -math.inf

    async def block(self, seconds: float) -> None:
        """Send nothing for this long, see `RateLimiter.block`."""
        self._blocked_until = max(self._blocked_until, self._enter() + seconds)

    def blocked_for(self) -> float:
        """Return the seconds from now for which nothing may be sent; 0.0 without a block."""
        return max(0.0, self._blocked_until - asyncio.get_running_loop().time())

    def _enter(self) -> float:
        """Return the time, after a check that this event loop may use the limiter."""
        self._owner.enter()
        return self._owner.time()


class NoLimit(_Cooldown):
    """A limiter without a limit, for `AsyncClient(rate_limiter=None)`. It still observes blocks."""

    penalty: float = 300.0

    async def acquire(
        self,
        priority: Priority,  # noqa: ARG002 - part of the protocol
        *,
        bucket: Bucket | None = None,  # noqa: ARG002 - part of the protocol
        deadline: float | None = None,
    ) -> Permit:
        """Wait until there is no block."""
        now = self._enter()
        while blocked := self.blocked_for():
            if deadline is not None and deadline < now + blocked:
                raise no_slot_error(blocked, blocked=blocked)
            await asyncio.sleep(blocked)
            now = self._owner.time()
        return Permit()

    async def release(self, permit: Permit, *, sent: bool, late: float = 0.0) -> None:
        """Do nothing: no slot was taken."""


class SlidingWindowLimiter(_Cooldown):
    """The limiter of one process: strict in every rolling window, closes first, then first come.

    One limiter serves one event loop at a time, in one process.

    Args:
        limit: requests per window. 100 is the documented default; plans allow 5, 50 or 120.
        window: length of the window in seconds.
        penalty: seconds without sending after a 429 that does not say how long; documented: 300.
        reserve: slots that only closes may take; default: a tenth of the limit, rounded down.

    Raises:
        ConfigurationError: a limit below 1, a window or penalty that is not a positive number, a
            reserve below 0 or one that leaves nothing to reads.
    """

    def __init__(
        self,
        limit: int = 100,
        window: float = 60.0,
        penalty: float = 300.0,
        reserve: int | None = None,
    ) -> None:
        super().__init__()
        self.limit: int = check_count(limit, "limit")
        self.window: float = check_seconds(window, "window")
        self.penalty: float = check_seconds(penalty, "penalty")
        self.reserve: int = limit // 10 if reserve is None else reserve
        if type(self.reserve) is not int or not 0 <= self.reserve < limit:
            msg = f"reserve must be a whole number from 0 to below the limit, not {reserve!r}"
            raise ConfigurationError(msg)
        self._general = SlidingWindow(limit, self.window)
        self._buckets: dict[Bucket, SlidingWindow] = {}
        # The kind of a waiter is its endpoint's own limit: one that waits for that limit must not
        # hold up the waiters that do not.
        self._queue: WaitQueue[Bucket | None, Permit] = WaitQueue()
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(limit={self.limit}, window={self.window}, "
            f"penalty={self.penalty}, reserve={self.reserve})"
        )

    async def acquire(
        self, priority: Priority, *, bucket: Bucket | None = None, deadline: float | None = None
    ) -> Permit:
        """Wait for a slot, see `RateLimiter.acquire`.

        Raises:
            RequestNotSentError: no slot before the deadline.
            ConfigurationError: another process or event loop uses it.
        """
        now = self._enter()
        windows = self._windows(bucket)
        if not self._queue and self._has_slot(priority, windows, now):
            return _take(windows)
        if deadline is not None and deadline < self._not_before(priority, windows, now):
            raise self._no_slot(priority, windows, now)
        waiter = self._queue.join(priority, bucket)
        self._serve()
        timer = None
        if deadline is not None:
            timer = asyncio.get_running_loop().call_at(deadline, self._on_deadline, waiter)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            self._abandon(waiter)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def release(self, permit: Permit, *, sent: bool, late: float = 0.0) -> None:
        """End an attempt, see `RateLimiter.release`."""
        try:
            now = self._enter()
        except RuntimeError:
            return  # the event loop was closed while running; `_enter` on the next holds the slot
        permit.end(now, sent=sent, late=late)
        self._serve()

    def _enter(self) -> float:
        """Return the time, and start afresh on a new event loop.

        Only the slots that the server may still count carry over.
        """
        if self._owner.enter():
            # The timers and waiters of the old loop are gone, and so are the attempts that would
            # have released their slots.
            now = self._owner.time()
            self._timer, self._queue = None, WaitQueue()
            self._general = self._general.settled(now)
            self._buckets = {it: window.settled(now) for it, window in self._buckets.items()}
        return self._owner.time()

    def _windows(self, bucket: Bucket | None) -> _Windows:
        if bucket is None:
            return (self._general,)
        if bucket not in self._buckets:
            self._buckets[bucket] = SlidingWindow(bucket.limit, bucket.window)
        return (self._general, self._buckets[bucket])

    def _has_slot(self, priority: Priority, windows: _Windows, now: float) -> bool:
        """Return whether a request of this priority may leave now."""
        if now < self._blocked_until or self._general.free(now) <= self._reserved_from(priority):
            return False
        return len(windows) == 1 or windows[1].free(now) > 0

    def _reserved_from(self, priority: Priority) -> int:
        """Return the number of free slots that this priority must not take."""
        return self.reserve if priority is Priority.NORMAL else 0

    def _not_before(self, priority: Priority, windows: _Windows, now: float) -> float:
        """Return the earliest time at which a new request can get a slot.

        Waiters ahead of it may leave, and taken slots may come back, at any moment.
        """
        return max(
            self._blocked_until,
            self._general.not_before(self._reserved_from(priority), now),
            *(window.not_before(0, now) for window in windows[1:]),
        )

    def _available_at(self, priority: Priority, windows: _Windows, now: float) -> float:
        """Return when a new request is to expect a slot, as things stand.

        Waiters with a limit of their endpoint's own may be overtaken, so they do not count as
        ahead.
        """
        ahead = sum(self._queue.of_kind(p, None) for p in Priority if p <= priority)
        return max(
            self._blocked_until,
            self._general.available_at(ahead + self._reserved_from(priority), now),
            *(window.available_at(0, now) for window in windows[1:]),
        )

    def _no_slot(self, priority: Priority, windows: _Windows, now: float) -> RequestNotSentError:
        available_at = self._available_at(priority, windows, now)
        return no_slot_error(available_at - now, blocked=self.blocked_for())

    def _serve(self) -> None:
        """Grant the free slots, closes first, and set the timer for the remaining waiters."""
        if not self._queue:
            return
        now = self._owner.time()
        if now >= self._blocked_until:
            self._grant_slots(now)
        self._set_timer(now)

    def _grant_slots(self, now: float) -> None:
        for priority in Priority:
            while waiter := self._next(priority, now):
                self._queue.serve(waiter, _take(self._windows(waiter.kind)))

    def _next(self, priority: Priority, now: float) -> _Waiter | None:
        """Return the next waiter of this priority that can be served now; None if there is none."""
        for waiter in self._queue.heads(priority):
            if self._has_slot(priority, self._windows(waiter.kind), now):
                return waiter
        return None

    def _set_timer(self, now: float) -> None:
        """Set the timer for the next time at which the block ends or a held slot expires."""
        if now < self._blocked_until:
            at = self._blocked_until
        else:
            at = min(window.next_expiry(now) for window in self._all_windows())
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
            self._timer = None
        # With no slot held, all are taken, and `release` serves the queue.
        if self._queue and math.isfinite(at):
            self._timer = asyncio.get_running_loop().call_at(at, self._on_timer)

    def _all_windows(self) -> _Windows:
        return (self._general, *self._buckets.values())

    def _on_timer(self) -> None:
        self._timer = None
        self._serve()

    def _on_deadline(self, waiter: _Waiter) -> None:
        """Fail a waiter whose deadline has come."""
        if not waiter.future.done():
            self._queue.leave(waiter)
            now = self._owner.time()
            error = self._no_slot(waiter.priority, self._windows(waiter.kind), now)
            waiter.future.set_exception(error)
            self._serve()

    def _abandon(self, waiter: _Waiter) -> None:
        """Remove a cancelled waiter; a slot granted in the same moment goes to the next one."""
        self._queue.leave(waiter)
        future = waiter.future
        if future.done() and not future.cancelled() and future.exception() is None:
            future.result().end(self._owner.time(), sent=False, late=0.0)
        self._serve()


_Waiter: TypeAlias = Waiter["Bucket | None", Permit]


def _take(windows: _Windows) -> Permit:
    for window in windows:
        window.take()
    return Permit(windows)


def no_slot_error(available_in: float, *, blocked: float) -> RequestNotSentError:
    """Return the error of a call for which there is no slot before its deadline.

    Args:
        available_in: seconds until a slot is to be expected.
        blocked: seconds for which the server refuses everything; 0.0 if it does not.
    """
    available_in = max(0.0, available_in)
    why = (
        f"the server has refused everything (429 or 418) for another {blocked:.0f} s"
        if blocked
        else "the rate limit has no slot before the deadline"
    )
    msg = f"not sent: {why}; the next slot comes free in {available_in:.1f} s as things stand"
    return RequestNotSentError(msg, available_in=available_in)
