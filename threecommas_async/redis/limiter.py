"""`RedisLimiter`: the line of one process, and the courier between it and Redis."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from itertools import chain, count
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from ..endpoint import Bucket, Priority
from ..errors import ConfigurationError, RequestNotSentError
from ..logs import log
from ..ownership import Owner
from ..rate_limit import Permit, SlidingWindowLimiter, Waiter, WaitQueue
from .alone import Alone
from .books import Books, Connection, Lease, Reply
from .clock import uptime

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from ..rate_limit import SlidingWindow

__all__ = ["HEARTBEAT", "RedisLimiter"]

HEARTBEAT = 1.0
"""Seconds after which a process calls again while it waits."""
LOOK = 0.1
"""The same while it has permits, so that it soon knows of a block that another process has met."""
_ENOUGH: Final = 1000  # doubtful permits to give back when Redis answers again; the rest expires


class _Permit(Permit):
    __slots__ = ("alone", "lease", "name")

    def __init__(
        self, name: str, lease: Lease, accounts: tuple[SlidingWindow, ...], alone: Permit | None
    ) -> None:
        super().__init__(accounts)
        self.name = name
        self.lease = lease
        self.alone = alone  # what stands for it where it was given out without Redis

    def usable(self) -> bool:
        return uptime() <= self.lease.good_until


# What someone in line is told. None: Redis is lost, go on alone.
_Answer: TypeAlias = _Permit | RequestNotSentError | None
_Waiter: TypeAlias = Waiter[int, _Answer]  # its kind is the number of its endpoint's own budget


class RedisLimiter:
    """The limiter of many processes: strict in every rolling window, closes first.

    Use it as an async context manager, around the clients that use it: in the end it tells Redis
    what came free last, and closes the connection. All who share a budget need the same settings.
    One limiter serves one event loop at a time, in one process: make one in each.

    Args:
        redis: a URL (`redis://`, `rediss://` or `unix://`), or a client, which is never closed.
        limit: requests per window. 100 is the documented default; plans allow 5, 50 or 120.
        window: length of the window in seconds.
        penalty: seconds nothing is sent after a 429 that does not say how long; documented: 300.
        reserve: slots that only closes may take; default a tenth of the limit, rounded down.
        key: the name of the budget: who uses the same name in the same Redis shares. Its keys
            begin with it, for all to see who have access, so it must not be the API key.
        lease: seconds for which the permits of a process are kept that has crashed or does not
            reach Redis. A living process renews them, however long an attempt takes. No request is
            begun on one that was not renewed for half of that time, so the other half has to be
            longer than an attempt takes.
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
        self._owner = Owner("the rate limiter")
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
        # Whoever asks for a slot while one courier is ending begins another.
        while self._courier is not None and not self._courier.done():
            self._courier.cancel()
            await asyncio.wait({self._courier})
        for waiter in self._queue.front(len(self._queue)):
            self._queue.serve(waiter, RequestNotSentError("not sent: the rate limiter was closed"))
        # Before the connection is closed, which takes time: whoever asks then opens a new one.
        self._owner = Owner("the rate limiter")
        await self._books.close()

    async def acquire(
        self, priority: Priority, *, bucket: Bucket | None = None, deadline: float | None = None
    ) -> Permit:
        """Wait for a slot, see `RateLimiter.acquire`.

        Raises:
            RequestNotSentError: no slot before the deadline, or no Redis.
            ConfigurationError: another process or event loop uses it.
        """
        self._enter()
        own = self._books.number(bucket)
        while True:
            if self._alone and (alone := await self._alone.acquire(priority, bucket, deadline)):
                return self._grant(f"{self._me}:alone-{next(self._names)}", own, uptime(), alone)
            answer = await self._acquire(priority, own, deadline)
            if isinstance(answer, RequestNotSentError):
                raise answer
            if answer is not None:
                return answer

    async def release(self, permit: Permit, *, sent: bool, late: float = 0.0) -> None:
        """End an attempt, see `RateLimiter.release`. Redis is told in the background.

        It never suspends, so that nobody with an answer in hand can be cancelled here.
        """
        try:
            now = self._enter()
        except RuntimeError:
            return  # the event loop was closed in mid-run; the permit expires by itself
        permit = cast("_Permit", permit)
        permit.end(now, sent=sent, late=late)
        known = True
        if self._alone is not None and permit.alone is not None:
            await self._alone.release(permit.alone, sent=sent, late=late)
            known = not self._lost
        self._books.ended(permit.name, permit.lease.own, sent=sent, late=late, tell=known)
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
        if self._owner.enter():
            self._me = self._books.open()
            self._names = count()
            self._queue: WaitQueue[int, _Answer] = WaitQueue()
            self._newcomers: list[tuple[_Waiter, float]] = []
            self._outlooks: dict[int, SlidingWindow] = {}
            self._go_back()
            self._courier: asyncio.Task[None] | None = None
            self._bell = asyncio.Event()
            self._call_ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        return self._owner.time()

    # --- the line

    async def _acquire(self, priority: Priority, own: int, deadline: float | None) -> _Answer:
        waiter = self._queue.join(priority, own)
        timer = None
        if deadline is not None:
            self._newcomers.append((waiter, deadline))
            timer = asyncio.get_running_loop().call_at(deadline, self._refuse, waiter)
        self._wake()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            await self._abandon(waiter)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def _abandon(self, waiter: _Waiter) -> None:
        """Leave the line; what was granted in the same moment goes back."""
        self._queue.leave(waiter)
        self._wake()
        if waiter.future.done() and not waiter.future.cancelled():
            answer = waiter.future.result()
            if isinstance(answer, _Permit):
                await self.release(answer, sent=False)

    def _grant(self, name: str, own: int, since: float, alone: Permit | None = None) -> _Permit:
        accounts = self._books.accounts(own)
        for account in accounts:
            account.take()
        return _Permit(name, self._books.took(name, own, since), accounts, alone)

    def _name(self, waiter: _Waiter) -> str:
        """Return what the permit is called that a place is to get."""
        return f"{self._me}:{waiter.arrival}"

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
                or self._queue
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
        waiters = self._queue.front(self.limit)  # of each kind no more than could be served at once
        # The books know closes and the rest; who goes first among the closes is decided here.
        wants = [
            (max(waiter.priority, Priority.CLOSE), waiter.kind, self._name(waiter))
            for waiter in waiters
        ]
        since = uptime()
        try:
            async with asyncio.timeout(self.timeout):
                reply = await self._books.call(wants)
        except Exception as error:  # noqa: BLE001 - whatever it was, those in line must hear of it
            await self._on_loss(f"{type(error).__name__}: {error}".removesuffix(": "), waiters)
            return self._heartbeat
        if self._lost:
            log.warning("Redis answers again")
            self._go_back()
        for waiter in (waiters[number - 1] for number in reply.granted):
            permit = self._grant(self._name(waiter), waiter.kind, since)
            if waiter.future.done():  # cancelled meanwhile
                await self.release(permit, sent=False)
            else:
                self._queue.serve(waiter, permit)
        now = self._owner.time()
        self._look_out(reply, now)
        pause = min(
            max(0.0, self._books.renew_at - now),
            min(LOOK, self._heartbeat) if self._books.live else self._heartbeat,
        )
        if self._queue:
            pause = min(pause, reply.wait, self._books.floor(reply, now) - now)
        return pause

    # --- deadlines

    def _look_out(self, reply: Reply, now: float) -> None:
        """Take down when slots come free, and refuse newcomers who cannot have one in time."""
        budgets = range(1, len(reply.rests) + 1)
        self._outlooks = {number: self._books.outlook(reply, number, now) for number in budgets}
        if self._books.untold:
            return  # slots given back, perhaps: the next call follows at once
        newcomers, self._newcomers = self._newcomers, []
        for waiter, deadline in newcomers:
            if deadline < self._not_before(waiter, now):
                self._refuse(waiter)

    def _windows(self, waiter: _Waiter, ahead: int) -> list[tuple[SlidingWindow, int]]:
        """Return what bounds one in line, and how many slots of each are not for it.

        For each of its budgets that is what Redis has said of it, and this process's own account.
        """
        kept = self.reserve if waiter.priority is Priority.NORMAL else 0
        numbers = sorted({1, waiter.kind})
        windows = chain(
            ((number, self._outlooks.get(number)) for number in numbers),
            zip(numbers, self._books.accounts(waiter.kind), strict=True),
        )
        return [(it, kept + ahead if number == 1 else 0) for number, it in windows if it]

    def _not_before(self, waiter: _Waiter, now: float) -> float:
        """Return before when one in line certainly gets no slot.

        Those ahead may leave at any moment, and so may the slots of requests under way come back.
        """
        bounds = (window.not_before(kept, now) for window, kept in self._windows(waiter, ahead=0))
        return max(self._books.blocked_until, *bounds)

    def _refusal(self, waiter: _Waiter) -> RequestNotSentError:
        now = self._owner.time()
        # With a limit of its own, one in line may be overtaken.
        ahead = sum(self._queue.of_kind(p, 1) for p in Priority if p <= waiter.priority)
        times = (window.available_at(nth, now) for window, nth in self._windows(waiter, ahead))
        available_in = max(0.0, max(self._books.blocked_until, *times) - now)
        return RequestNotSentError(
            "not sent: the shared rate limit has no slot before the deadline, "
            f"the next one comes free in {available_in:.1f} s as things stand",
            available_in=available_in,
        )

    def _refuse(self, waiter: _Waiter) -> None:
        """Tell one in line that it gets no slot before its deadline."""
        if not waiter.future.done():
            self._queue.leave(waiter)
            self._queue.serve(waiter, self._refusal(waiter))
            self._wake()  # Redis must know that it waits no more

    # --- without Redis

    async def _on_loss(self, reason: str, asked: Sequence[_Waiter]) -> None:
        """Pass on that a call failed. What it asked for may have been granted all the same."""
        for waiter in asked[: max(0, _ENOUGH - self._books.untold)]:
            self._books.ended(self._name(waiter), waiter.kind, sent=False)
        self._books.renew_at = -math.inf
        if not self._lost:
            self._lost = True
            log.warning("Redis does not answer: %s", reason)
            if self._alone is not None:
                await self._alone.begin(max(self._books.silence, self.blocked_for()))
        for waiter in self._queue.front(len(self._queue)):
            error = RequestNotSentError(
                f"not sent: the Redis that keeps the rate limit does not answer ({reason}); "
                "nothing has happened, it is safe to call again"
            )
            self._queue.serve(waiter, None if self._alone else error)

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
