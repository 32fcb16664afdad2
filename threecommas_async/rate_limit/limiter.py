"""Pacing: never more requests in any rolling window than the server allows.

A breach is dear: 300 s of refusal for the key, then a ban of the address. So the limiter is strict.
A slot is taken *before* a request is sent and comes free one window *after its answer arrived*.
The server counted the request somewhere in between, so whatever the latency, by the time the slot
is used again the server has forgotten it. (A token bucket lets through up to twice its limit in a
window: a full burst and the refill.)

Where no answer came, the server may count the request later than the attempt was given up: then the
slot is held longer by what it could still take.

The arithmetic is `SlidingWindow` (window.py): pure, with the time passed in. `SlidingWindowLimiter`
puts tasks in line for it: closes first, then the rest, each in order of arrival, with some slots
that only closes may take.

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

__all__ = ["NoLimit", "Permit", "RateLimiter", "SlidingWindow", "SlidingWindowLimiter"]


_Windows: TypeAlias = tuple[SlidingWindow, ...]


class Permit:
    """A slot taken for one attempt. Give it back with `RateLimiter.release`, once."""

    __slots__ = ("windows",)

    def __init__(self, windows: _Windows = ()) -> None:
        self.windows = windows

    def usable(self) -> bool:
        """Return whether a request may still be sent on it. Asked right before it is.

        A limiter whose permits expire overrides this. One that is not usable is released as not
        sent, and another acquired. Permits of this process's own limiters do not expire: however
        long one of them is kept, its slot is not given to anybody else meanwhile.
        """
        return True

    def end(self, now: float, *, sent: bool, late: float) -> None:
        """Free its slots at once, or hold them, see `RateLimiter.release`."""
        for window in self.windows:
            if sent:
                window.hold(now, late)
            else:
                window.give_back()


class RateLimiter(Protocol):
    """Who may send when. Share one limiter between all clients that use the same key.

    `penalty` is the refusal in seconds that the server is assumed to impose with a 429 that does
    not say how long.
    """

    penalty: float

    async def acquire(
        self, priority: Priority, *, bucket: Bucket | None = None, deadline: float | None = None
    ) -> Permit:
        """Wait for a slot.

        Args:
            priority: who goes first.
            bucket: the endpoint's own limit, kept in addition to the general one.
            deadline: event loop time by which the slot is needed.

        Raises:
            RequestNotSentError: no slot before the deadline; raised at once where that is certain.
                `available_in` says when one is to be expected.
        """
        ...

    async def release(self, permit: Permit, *, sent: bool, late: float = 0.0) -> None:
        """End an attempt: free the slot at once if nothing was sent, else one window from now.

        Args:
            permit: what `acquire` gave.
            sent: whether the request may have left.
            late: seconds beyond now in which the server may still come to count the request,
                because no answer came. The window begins after them.
        """
        ...

    async def block(self, seconds: float) -> None:
        """Let nothing leave for this long: the server refused the rate (429) or the address."""
        ...

    def blocked_for(self) -> float:
        """Return for how many seconds from now nothing may leave; 0.0 normally."""
        ...


class _Cooldown:
    """The block after a 429 or 418, on the event loop's clock."""

    def __init__(self) -> None:
        self._owner = Owner("the rate limiter")
        self._blocked_until = -math.inf

    async def block(self, seconds: float) -> None:
        """Let nothing leave for this long, see `RateLimiter.block`."""
        self._blocked_until = max(self._blocked_until, self._enter() + seconds)

    def blocked_for(self) -> float:
        """Return for how many seconds from now nothing may leave; 0.0 normally."""
        return max(0.0, self._blocked_until - asyncio.get_running_loop().time())

    def _enter(self) -> float:
        """Return the time."""
        self._owner.enter()
        return self._owner.time()


class NoLimit(_Cooldown):
    """No pacing: what `AsyncClient(rate_limiter=None)` uses. Blocks are kept all the same."""

    penalty = 300.0

    async def acquire(
        self,
        priority: Priority,  # noqa: ARG002 - part of the protocol
        *,
        bucket: Bucket | None = None,  # noqa: ARG002 - part of the protocol
        deadline: float | None = None,
    ) -> Permit:
        """Wait until no block is in force."""
        now = self._enter()
        while blocked := self.blocked_for():
            if deadline is not None and deadline < now + blocked:
                raise _refusal(blocked, blocked=blocked)
            await asyncio.sleep(blocked)
            now = self._owner.time()
        return Permit()

    async def release(self, permit: Permit, *, sent: bool, late: float = 0.0) -> None:
        """Nothing was taken."""


class SlidingWindowLimiter(_Cooldown):
    """The limiter of one process: strict in every rolling window, fair, closes first.

    One limiter serves one event loop at a time, in one process.

    Args:
        limit: requests per window. 100 is the documented default; plans allow 5, 50 or 120.
        window: length of the window in seconds.
        penalty: seconds nothing is sent after a 429 that does not say how long; documented: 300.
        reserve: slots that only closes may take; default a tenth of the limit, rounded down.

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
        self.limit = check_count(limit, "limit")
        self.window = check_seconds(window, "window")
        self.penalty = check_seconds(penalty, "penalty")
        self.reserve = limit // 10 if reserve is None else reserve
        if type(self.reserve) is not int or not 0 <= self.reserve < limit:
            msg = f"reserve must be a whole number from 0 to below the limit, not {reserve!r}"
            raise ConfigurationError(msg)
        self._general = SlidingWindow(limit, self.window)
        self._buckets: dict[Bucket, SlidingWindow] = {}
        # The kind of a place is the endpoint's own limit: one held up by it is in nobody's way.
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
        if not self._queue and self._may_go(priority, windows, now):
            return _take(windows)
        if deadline is not None and deadline < self._not_before(priority, windows, now):
            raise self._refusal(priority, windows, now)
        waiter = self._queue.join(priority, bucket)
        self._serve()
        timer = None
        if deadline is not None:
            timer = asyncio.get_running_loop().call_at(deadline, self._refuse, waiter)
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
            return  # the event loop was closed in mid-run; what was taken on it is held anew
        permit.end(now, sent=sent, late=late)
        self._serve()

    def _enter(self) -> float:
        """Return the time. On another event loop begin anew, but for what the server remembers."""
        if self._owner.enter():
            # Timers and waiters of the loop before are gone with it, and nobody is left to release
            # what was taken there.
            now = self._owner.time()
            self._timer, self._queue = None, WaitQueue()
            self._general = self._general.settled(now)
            self._buckets = {own: window.settled(now) for own, window in self._buckets.items()}
        return self._owner.time()

    def _windows(self, bucket: Bucket | None) -> _Windows:
        if bucket is None:
            return (self._general,)
        if bucket not in self._buckets:
            self._buckets[bucket] = SlidingWindow(bucket.limit, bucket.window)
        return (self._general, self._buckets[bucket])

    def _may_go(self, priority: Priority, windows: _Windows, now: float) -> bool:
        if now < self._blocked_until or self._general.free(now) <= self._kept_from(priority):
            return False
        return len(windows) == 1 or windows[1].free(now) > 0

    def _kept_from(self, priority: Priority) -> int:
        """Return how many free slots this priority has to leave alone."""
        return self.reserve if priority is Priority.NORMAL else 0

    def _not_before(self, priority: Priority, windows: _Windows, now: float) -> float:
        """Return before when a newcomer certainly gets no slot.

        Those ahead may leave at any moment, and so may slots that are taken come back.
        """
        return max(
            self._blocked_until,
            self._general.not_before(self._kept_from(priority), now),
            *(window.not_before(0, now) for window in windows[1:]),
        )

    def _available_at(self, priority: Priority, windows: _Windows, now: float) -> float:
        """Return when a newcomer is to expect a slot, as things stand.

        Those in line who also wait for their endpoint's own limit may be overtaken, so they do not
        count as ahead.
        """
        ahead = sum(self._queue.of_kind(p, None) for p in Priority if p <= priority)
        return max(
            self._blocked_until,
            self._general.available_at(ahead + self._kept_from(priority), now),
            *(window.available_at(0, now) for window in windows[1:]),
        )

    def _refusal(self, priority: Priority, windows: _Windows, now: float) -> RequestNotSentError:
        available_at = self._available_at(priority, windows, now)
        return _refusal(available_at - now, blocked=self.blocked_for())

    def _serve(self) -> None:
        """Give out what is free, closes first, and set the timer for those who still wait."""
        if not self._queue:
            return
        now = self._owner.time()
        if now >= self._blocked_until:
            self._give_out(now)
        self._arm(now)

    def _give_out(self, now: float) -> None:
        for priority in Priority:
            while waiter := self._next(priority, now):
                self._queue.serve(waiter, _take(self._windows(waiter.kind)))
            if self._holds_up(priority, now):
                break  # what these wait for goes to nobody behind them

    def _next(self, priority: Priority, now: float) -> _Waiter | None:
        """Return who is served next with this priority, None while nobody can be."""
        for waiter in self._queue.firsts(priority):
            if self._may_go(priority, self._windows(waiter.kind), now):
                return waiter
        return None

    def _holds_up(self, priority: Priority, now: float) -> bool:
        """Return whether someone of this priority waits for the general limit alone."""
        return any(
            len(windows) == 1 or windows[1].free(now) > 0
            for windows in (self._windows(waiter.kind) for waiter in self._queue.firsts(priority))
        )

    def _arm(self, now: float) -> None:
        """Set the timer for the next time at which something changes by itself."""
        if now < self._blocked_until:
            at = self._blocked_until
        else:
            at = min(window.next_expiry(now) for window in self._all_windows())
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
            self._timer = None
        # With nothing held, every slot is on its way, and its release will serve.
        if self._queue and math.isfinite(at):
            self._timer = asyncio.get_running_loop().call_at(at, self._wake)

    def _all_windows(self) -> _Windows:
        return (self._general, *self._buckets.values())

    def _wake(self) -> None:
        self._timer = None
        self._serve()

    def _refuse(self, waiter: _Waiter) -> None:
        """Tell one in line that its deadline has come."""
        if not waiter.future.done():
            self._queue.leave(waiter)
            now = self._owner.time()
            refusal = self._refusal(waiter.priority, self._windows(waiter.kind), now)
            waiter.future.set_exception(refusal)
            self._serve()

    def _abandon(self, waiter: _Waiter) -> None:
        """Leave the line; a slot that was granted in the same moment goes to the next."""
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


def _refusal(available_in: float, *, blocked: float) -> RequestNotSentError:
    available_in = max(0.0, available_in)
    why = (
        f"the server has refused everything (429 or 418) for another {blocked:.0f} s"
        if blocked
        else "the rate limit has no slot before the deadline"
    )
    msg = f"not sent: {why}; the next slot comes free in {available_in:.1f} s as things stand"
    return RequestNotSentError(msg, available_in=available_in)
