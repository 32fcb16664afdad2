"""Pacing: never more requests in any rolling window than the server allows.

A breach is dear: 300 s of refusal for the key, then a ban of the address. So the limiter is strict.
A slot is taken *before* a request is sent and comes free one window *after its answer arrived*.
The server counted the request somewhere in between, so whatever the latency, by the time the slot
is used again the server has forgotten it. (A token bucket lets through up to twice its limit in a
window: a full burst and the refill.)

The arithmetic is `SlidingWindow`: pure, with the time passed in. `SlidingWindowLimiter` puts tasks
in line for it: closes first, then the rest, each in order of arrival, with some slots that only
closes may take.

https://developers.3commas.io/general-information/limits
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, Protocol

from .endpoint import Priority
from .errors import ConfigurationError, RequestNotSentError
from .waiting import Line, Place

if TYPE_CHECKING:
    from .endpoint import Bucket

__all__ = ["NoLimit", "Permit", "RateLimiter", "SlidingWindow", "SlidingWindowLimiter"]


class SlidingWindow:
    """How many requests may go now, and when the next may. Pure: no clock, no waiting.

    Each request is first *taken* (on its way), then *held* (answered, still remembered by the
    server), then free. All times are seconds on one clock of the caller's, which need not be
    steady: slots come free in the order they were held, so a step back only makes it wait longer.
    """

    __slots__ = ("_expiries", "_taken", "limit", "window")

    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self._taken = 0
        self._expiries: deque[float] = deque()

    def free(self, now: float) -> int:
        """Return how many slots are free."""
        expiries = self._expiries
        while expiries and expiries[0] <= now:
            expiries.popleft()
        return self.limit - self._taken - len(expiries)

    def take(self) -> None:
        """Take a free slot, before a request is sent."""
        self._taken += 1

    def give_back(self) -> None:
        """Free a taken slot at once: its request provably never left."""
        self._taken -= 1

    def hold(self, now: float) -> None:
        """Hold a taken slot for one window from now: its answer arrived, or its attempt ended."""
        self._taken -= 1
        last = self._expiries[-1] if self._expiries else -math.inf
        self._expiries.append(max(now + self.window, last))

    def next_expiry(self, now: float) -> float:
        """Return when the next held slot comes free; infinity while none is held."""
        self.free(now)
        return self._expiries[0] if self._expiries else math.inf

    def available_at(self, nth: int, now: float) -> float:
        """Return the earliest time at which the nth slot from now (0 is the next) can be free.

        Slots still taken come free one window from now at the earliest, and every slot again one
        window after each use.
        """
        free = self.free(now)
        rounds, place = divmod(nth, self.limit)
        if place < free:
            at = now
        elif place - free < len(self._expiries):
            at = self._expiries[place - free]
        else:
            at = now + self.window
        return at + rounds * self.window


_Windows = tuple[SlidingWindow, ...]


class Permit:
    """A slot taken for one attempt. Give it back with `RateLimiter.release`, once."""

    __slots__ = ("windows",)

    def __init__(self, windows: _Windows = ()) -> None:
        self.windows = windows

    def usable(self) -> bool:
        return True


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
        """
        ...

    async def release(self, permit: Permit, *, sent: bool, late: float = 0.0) -> None:
        """End an attempt: free the slot at once if nothing was sent, else one window from now."""
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
        self._blocked_until = -math.inf

    def blocked_for(self) -> float:
        """Return for how many seconds from now nothing may leave; 0.0 normally."""
        return max(0.0, self._blocked_until - asyncio.get_running_loop().time())

    def _block(self, seconds: float) -> None:
        until = asyncio.get_running_loop().time() + seconds
        self._blocked_until = max(self._blocked_until, until)


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
        loop = asyncio.get_running_loop()
        while blocked := self.blocked_for():
            now = loop.time()
            _refuse_if_late(now + blocked, deadline, now, blocked=blocked)
            await asyncio.sleep(blocked)
        return Permit()

    async def release(self, permit: Permit, *, sent: bool, late: float = 0.0) -> None:
        """Nothing was taken."""

    async def block(self, seconds: float) -> None:
        """Let nothing leave for this long."""
        self._block(seconds)


class SlidingWindowLimiter(_Cooldown):
    """The limiter of one process: strict in every rolling window, fair, closes first.

    One limiter serves one event loop at a time.

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
        if type(limit) is not int or limit < 1:
            msg = f"limit must be a whole number of requests from 1 up, not {limit!r}"
            raise ConfigurationError(msg)
        self.window = _positive(window, "window")
        self.penalty = _positive(penalty, "penalty")
        self.limit = limit
        self.reserve = limit // 10 if reserve is None else reserve
        if type(self.reserve) is not int or not 0 <= self.reserve < limit:
            msg = f"reserve must be a whole number from 0 to below the limit, not {reserve!r}"
            raise ConfigurationError(msg)
        self._general = SlidingWindow(limit, self.window)
        self._buckets: dict[Bucket, SlidingWindow] = {}
        self._line: Line[_Windows, Permit] = Line()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(limit={self.limit}, window={self.window}, "
            f"penalty={self.penalty}, reserve={self.reserve})"
        )

    async def acquire(
        self, priority: Priority, *, bucket: Bucket | None = None, deadline: float | None = None
    ) -> Permit:
        """Wait for a slot, see `RateLimiter.acquire`."""
        loop = self._running_loop()
        windows = self._windows(bucket)
        if not self._line and self._may_go(priority, windows, loop.time()):
            return _take(windows)
        if deadline is not None:
            now = loop.time()
            at = self._available_at(priority, windows, now)
            _refuse_if_late(at, deadline, now, blocked=self.blocked_for())
        place = self._line.join(priority, windows)
        self._serve()
        try:
            if deadline is None:
                return await place.future
            async with asyncio.timeout_at(deadline):
                return await place.future
        except TimeoutError:
            self._abandon(place)
            now = loop.time()
            at = self._available_at(priority, windows, now)
            raise _refusal(at - now, blocked=self.blocked_for()) from None
        except asyncio.CancelledError:
            self._abandon(place)
            raise

    async def release(self, permit: Permit, *, sent: bool, late: float = 0.0) -> None:
        """End an attempt, see `RateLimiter.release`."""
        now = self._running_loop().time()
        for window in permit.windows:
            if sent:
                window.hold(now)
            else:
                window.give_back()
        self._serve()

    async def block(self, seconds: float) -> None:
        """Let nothing leave for this long, see `RateLimiter.block`."""
        self._block(seconds)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # A limiter kept over several asyncio.run() calls: the old loop's timer is gone with it.
            self._loop, self._timer, self._line = loop, None, Line()
        return loop

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
        return 0 if priority <= Priority.CLOSE else self.reserve

    def _available_at(self, priority: Priority, windows: _Windows, now: float) -> float:
        """Return the earliest time at which a newcomer can get a slot, as things stand.

        Those in line who also wait for their endpoint's own limit may be overtaken, so they do not
        count as ahead.
        """
        ahead = sum(
            1
            for p in Priority
            if p <= priority
            for place in self._line.places(p)
            if len(place.wants) == 1
        )
        return max(
            self._blocked_until,
            self._general.available_at(ahead + self._kept_from(priority), now),
            *(window.available_at(0, now) for window in windows),
        )

    def _serve(self) -> None:
        """Give out what is free, closes first, and set the timer for those who still wait."""
        if not self._line:
            return
        now = self._running_loop().time()
        if now >= self._blocked_until:
            self._give_out(now)
        self._arm(now)

    def _give_out(self, now: float) -> None:
        for priority in Priority:
            served: list[tuple[Place[_Windows, Permit], Permit]] = []
            for place in self._line.places(priority):
                if self._general.free(now) <= self._kept_from(priority):
                    break
                # One held up by its endpoint's own limit does not hold up those behind it.
                if not place.future.done() and self._may_go(priority, place.wants, now):
                    served.append((place, _take(place.wants)))
            for place, permit in served:
                self._line.serve(place, permit)
            if self._line.waiting(priority):
                break  # what these wait for goes to nobody behind them

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
        if self._line and math.isfinite(at):
            self._timer = self._running_loop().call_at(at, self._wake)

    def _all_windows(self) -> _Windows:
        return (self._general, *self._buckets.values())

    def _wake(self) -> None:
        self._timer = None
        self._serve()

    def _abandon(self, place: Place[_Windows, Permit]) -> None:
        """Leave the line; a slot that was granted in the same moment goes to the next."""
        self._line.leave(place)
        future = place.future
        if future.done() and not future.cancelled():
            for window in future.result().windows:
                window.give_back()
        self._serve()


def _take(windows: _Windows) -> Permit:
    for window in windows:
        window.take()
    return Permit(windows)


def _refuse_if_late(at: float, deadline: float | None, now: float, *, blocked: float) -> None:
    if deadline is not None and at > deadline:
        raise _refusal(at - now, blocked=blocked)


def _refusal(available_in: float, *, blocked: float) -> RequestNotSentError:
    available_in = max(0.0, available_in)
    why = (
        f"the server has refused everything (429 or 418) for another {blocked:.0f} s"
        if blocked
        else "the rate limit has no slot before the deadline"
    )
    msg = f"not sent: {why}; the next slot comes free in {available_in:.1f} s at the earliest"
    return RequestNotSentError(msg, available_in=available_in)


def _positive(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        msg = f"{name} must be a number of seconds, not {value!r}"
        raise ConfigurationError(msg)
    if not (math.isfinite(value) and value > 0):
        msg = f"{name} must be a positive number of seconds, not {value!r}"
        raise ConfigurationError(msg)
    return float(value)
