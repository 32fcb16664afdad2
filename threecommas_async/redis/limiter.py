"""`RedisLimiter`: the line of one process, and the courier between it and Redis."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from contextlib import suppress
from itertools import chain, count
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias, cast

from ..endpoint import Bucket, Priority
from ..errors import ConfigurationError, RequestNotSentError
from ..rate_limit import Permit, SlidingWindow, SlidingWindowLimiter
from ..waiting import Line, Place
from .alone import Alone
from .books import Books, Connection, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

__all__ = ["HEARTBEAT", "RedisLimiter"]

_log = logging.getLogger("threecommas_async")

HEARTBEAT = 1.0
"""Seconds after which a process calls again while it waits or has requests under way."""
_ENOUGH: Final = 1000  # doubtful permits to give back when Redis answers again; the rest expires


class _Want(NamedTuple):
    name: str  # of the permit
    own: int  # number of its endpoint's own budget
    deadline: float | None


class _Permit(Permit):
    __slots__ = ("alone", "want")

    def __init__(self, want: _Want, alone: Permit | None = None) -> None:
        super().__init__()
        self.want = want
        self.alone = alone  # what stands for it where it was given out without Redis


# What someone in line is told. None: Redis is lost, go on alone.
_Answer: TypeAlias = _Permit | RequestNotSentError | None
_Place: TypeAlias = Place[_Want, _Answer]


class RedisLimiter:
    """The limiter of many processes: strict in every rolling window, closes first.

    Use it as an async context manager, around the clients that use it: in the end it tells Redis
    what came free last, and closes the connection. All who share a budget need the same settings.
    One limiter serves one event loop at a time.

    Args:
        redis: a URL (`redis://`, `rediss://` or `unix://`), or a client, which is never closed.
        limit: requests per window. 100 is the documented default; plans allow 5, 50 or 120.
        window: length of the window in seconds.
        penalty: seconds nothing is sent after a 429 that does not say how long; documented: 300.
        reserve: slots that only closes may take; default a tenth of the limit, rounded down.
        key: the name of the budget: who uses the same name in the same Redis shares. Its keys
            begin with it, for all to see who have access, so it must not be the API key.
        lease: longest time in seconds an attempt may go on once its process has crashed or does
            not reach Redis. A living process renews it, however long an attempt takes.
        on_lost: what to do when Redis does not answer. "raise": every call is refused before it
            is sent. "share": nothing leaves for one window; then this process keeps to its share;
            when Redis answers again, nothing leaves for another window.
        share: this process's part of the limit when Redis is lost, for example 0.5 for one of two.
        timeout: seconds without an answer after which Redis is lost.

    Raises:
        ConfigurationError: a setting that cannot work.
    """

    def __init__(  # noqa: PLR0913 - settings, by name
        self,
        redis: str | Connection,
        limit: int = 100,
        window: float = 60.0,
        penalty: float = 300.0,
        reserve: int | None = None,
        *,
        key: str = "threecommas",
        lease: float = 120.0,
        on_lost: Literal["raise", "share"] = "raise",
        share: float | None = None,
        timeout: float = 2.0,
    ) -> None:
        _check(0 < lease < math.inf, "lease must be a positive number of seconds")
        _check(0 < timeout < math.inf, "timeout must be a positive number of seconds")
        _check(on_lost in {"raise", "share"}, 'on_lost must be "raise" or "share"')
        _check((share is None) == (on_lost == "raise"), 'share belongs to on_lost="share"')
        whole = SlidingWindowLimiter(limit, window, penalty, reserve)
        self._alone = None if share is None else Alone(whole, share)
        self.limit, self.window = whole.limit, whole.window
        self.penalty, self.reserve = whole.penalty, whole.reserve
        self.key, self.lease, self.share, self.timeout = key, lease, share, timeout
        general = Bucket("general", limit, self.window, self.penalty)
        self._books = Books(redis, key, general, self.reserve, lease)
        self._heartbeat = min(HEARTBEAT, self.window)
        self._names = count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lost = False

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(key={self.key!r}, limit={self.limit}, window={self.window}, "
            f"penalty={self.penalty}, reserve={self.reserve}, lease={self.lease}, "
            f"share={self.share}, timeout={self.timeout})"
        )

    def __reduce__(self) -> str:
        raise TypeError("a RedisLimiter cannot be pickled: make one in each process")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Tell Redis what it does not know yet, and close the connection if it came from a URL.

        The limiter may be used again.
        """
        self._enter()
        await self._tell()
        if self._courier is not None:
            self._courier.cancel()
            await asyncio.wait({self._courier})
        for place in self._in_line():
            self._line.serve(place, RequestNotSentError("not sent: the rate limiter was closed"))
        await self._books.close()
        self._loop = None

    async def acquire(
        self, priority: Priority, *, bucket: Bucket | None = None, deadline: float | None = None
    ) -> Permit:
        """Wait for a slot, see `RateLimiter.acquire`.

        Raises:
            RequestNotSentError: no slot before the deadline, or no Redis.
        """
        self._enter()
        while True:
            name = f"{self._me}:{next(self._names)}"
            want = _Want(name, self._books.number(bucket), deadline)
            if self._alone and (alone := await self._alone.acquire(priority, bucket, deadline)):
                return self._grant(want, alone)
            answer = await self._acquire(priority, want)
            if isinstance(answer, RequestNotSentError):
                raise answer
            if answer is not None:
                return answer

    async def release(self, permit: Permit, *, sent: bool) -> None:
        """End an attempt, see `RateLimiter.release`. Redis is told in the background.

        It never suspends, so that nobody with an answer in hand can be cancelled here.
        """
        self._enter()
        permit = cast("_Permit", permit)
        known = True
        if self._alone is not None and permit.alone is not None:
            await self._alone.release(permit.alone, sent=sent)
            known = not self._lost
        self._books.ended(permit.want.name, permit.want.own, sent=sent, tell=known)
        self._wake()

    async def block(self, seconds: float) -> None:
        """Let nothing leave for this long, anywhere. Returns when Redis knows, or is lost."""
        self._books.block(self._enter() + seconds)
        if self._alone is not None:
            await self._alone.block(seconds)
        await self._tell()

    def blocked_for(self) -> float:
        """Return for how many seconds from now nothing may leave, as far as known here."""
        return max(0.0, self._books.blocked_until - asyncio.get_running_loop().time())

    def _enter(self) -> float:
        """Return the time. On another event loop begin anew, but for what Redis has to know."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self._me = self._books.open()
            self._line: Line[_Want, _Answer] = Line()
            self._outlook, self._firsts = SlidingWindow(self.limit, self.window), list[float]()
            self._go_back()
            self._courier: asyncio.Task[None] | None = None
            self._bell = asyncio.Event()
            self._call_ended: asyncio.Future[None] = loop.create_future()
        return loop.time()

    # --- the line

    async def _acquire(self, priority: Priority, want: _Want) -> _Answer:
        place = self._line.join(priority, want)
        self._wake()
        try:
            async with asyncio.timeout_at(want.deadline):
                return await place.future
        except TimeoutError:
            await self._abandon(place)
            return self._refusal(place, ahead=0)
        except asyncio.CancelledError:
            await self._abandon(place)
            raise

    async def _abandon(self, place: _Place) -> None:
        """Leave the line; what was granted in the same moment goes back."""
        self._line.leave(place)
        self._wake()
        if place.future.done() and not place.future.cancelled():
            answer = place.future.result()
            if isinstance(answer, _Permit):
                await self.release(answer, sent=False)

    def _grant(self, want: _Want, alone: Permit | None = None) -> _Permit:
        self._books.took(want.name, want.own)
        return _Permit(want, alone)

    def _in_line(self) -> list[_Place]:
        places = chain.from_iterable(map(self._line.places, Priority))
        return [place for place in places if not place.future.done()]

    # --- the courier

    def _wake(self) -> asyncio.Task[None]:
        """Have Redis called now, or as soon as the call under way has ended."""
        self._bell.set()
        if self._courier is None or self._courier.done():
            self._courier = asyncio.create_task(self._carry(), name="RedisLimiter")
        return self._courier

    async def _tell(self) -> None:
        """Wait until Redis knows all there is to tell, or is lost."""
        while self._books.untold:
            either = {self._wake(), self._call_ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._lost:
                return

    async def _carry(self) -> None:
        """Call Redis as long as there is anything to tell, to ask or to renew."""
        while True:
            self._bell.clear()
            pause = await self._call()
            self._call_ended.set_result(None)
            self._call_ended = asyncio.get_running_loop().create_future()
            if self._courier is not None and self._courier.cancelling():
                return  # redis-py writes by asyncio.wait_for: before 3.12 that may swallow a cancel
            if not (
                self._bell.is_set()
                or self._line
                or self._books.untold
                or self._books.live
                or (self._lost and self._alone)
            ):
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._bell.wait()

    async def _call(self) -> float:
        """Call Redis once; return the seconds until the next call, if nobody wakes us before."""
        kinds: Counter[tuple[Priority, int]] = Counter()
        places: list[_Place] = []
        for place in self._in_line():  # of each kind no more than could be served at once
            kind = place.priority, place.wants.own
            kinds[kind] += 1
            if kinds[kind] <= self.limit:
                places.append(place)
        wants = [(place.priority, place.wants.own, place.wants.name) for place in places]
        try:
            async with asyncio.timeout(self.timeout):
                reply = await self._books.call(wants)
        except Exception as error:  # noqa: BLE001 - whatever it was, those in line must hear of it
            await self._on_loss(f"{type(error).__name__}: {error}".removesuffix(": "), places)
            return self._heartbeat
        if self._lost:
            _log.warning("Redis answers again")
            self._go_back()
        for place in (places[number - 1] for number in reply.granted):
            permit = self._grant(place.wants)
            if place.future.done():  # cancelled meanwhile
                await self.release(permit, sent=False)
            else:
                self._line.serve(place, permit)
        now = asyncio.get_running_loop().time()
        self._look_out(reply, now)
        pause = min(max(0.0, self._books.renew_at - now), self._heartbeat)
        return min(pause, reply.wait) if self._line else pause

    # --- deadlines

    def _look_out(self, reply: Reply, now: float) -> None:
        """Take down when slots come free, and refuse who cannot have one in time."""
        self._firsts = [now + first for first in reply.firsts]
        self._outlook = SlidingWindow(self.limit, self.window)
        for held in reply.held:
            self._outlook.take()
            self._outlook.hold(now + held - self.window)
        if self._books.untold:
            return  # slots given back, perhaps: the next call follows at once
        ahead = 0
        for place in self._in_line():
            deadline = place.wants.deadline
            if deadline is not None and deadline < self._available_at(place, ahead):
                self._line.serve(place, self._refusal(place, ahead))
                self._wake()  # Redis must know that it waits no more
            elif place.wants.own == 1:  # with a limit of its own it may be overtaken
                ahead += 1

    def _available_at(self, place: _Place, ahead: int) -> float:
        """Return the earliest time of a slot for one with so many in front, as things stand."""
        nth = ahead + (self.reserve if place.priority is Priority.NORMAL else 0)
        at = self._outlook.available_at(nth, asyncio.get_running_loop().time())
        own = place.wants.own
        return max(at, self._books.blocked_until, *self._firsts[own - 1 : own])

    def _refusal(self, place: _Place, ahead: int) -> RequestNotSentError:
        now = asyncio.get_running_loop().time()
        available_in = max(0.0, self._available_at(place, ahead) - now)
        return RequestNotSentError(
            "not sent: the shared rate limit has no slot before the deadline, "
            f"the next one comes free in {available_in:.1f} s at the earliest",
            available_in=available_in,
        )

    # --- without Redis

    async def _on_loss(self, reason: str, asked: Sequence[_Place]) -> None:
        """Pass on that a call failed. What it asked for may have been granted all the same."""
        for place in asked[: max(0, _ENOUGH - self._books.untold)]:
            self._books.ended(place.wants.name, place.wants.own, sent=False)
        self._books.renew_at = -math.inf
        if not self._lost:
            self._lost = True
            _log.warning("Redis does not answer: %s", reason)
            if self._alone is not None:
                await self._alone.begin(max(self._books.silence, self.blocked_for()))
        for place in self._in_line():
            error = RequestNotSentError(
                f"not sent: the Redis that keeps the rate limit does not answer ({reason}); "
                "nothing has happened, it is safe to call again"
            )
            self._line.serve(place, None if self._alone else error)

    def _go_back(self) -> None:
        """Ask Redis again."""
        self._lost = False
        if self._alone is not None and self._alone.end():
            # The others know nothing of what was sent.
            self._books.block(asyncio.get_running_loop().time() + self._books.silence)
            self._books.renew_at = -math.inf


def _check(passes: bool, expected: str) -> None:  # noqa: FBT001
    if not passes:
        raise ConfigurationError(f"RedisLimiter: {expected}")
