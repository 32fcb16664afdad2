"""`RedisLimiter`: the wait queue of one process, and the task that syncs it with Redis."""

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
from .clock import uptime
from .fallback import LocalShare
from .store import Connection, Lease, RedisStore, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from ..rate_limit import SlidingWindow

__all__ = ["HEARTBEAT", "RedisLimiter"]

HEARTBEAT = 1.0
"""Maximum seconds between calls to Redis while anything waits."""
BLOCK_POLL = 0.1
"""Maximum seconds between calls while this process has permits.

Shorter, to learn soon of a block that another process has met.
"""
_MAX_RETURNED: Final = 1000
"""Maximum number of permits to return after an outage that may have been granted meanwhile.

The others expire.
"""


class _Permit(Permit):
    __slots__ = ("lease", "local", "name")

    def __init__(
        self, name: str, lease: Lease, windows: tuple[SlidingWindow, ...], local: Permit | None
    ) -> None:
        super().__init__(windows)
        self.name = name
        self.lease = lease
        self.local = local  # the permit of the local share, if it was granted during an outage

    def usable(self) -> bool:
        return uptime() <= self.lease.usable_until


# What a waiter gets. None: Redis is unreachable, use the local share.
_Result: TypeAlias = _Permit | RequestNotSentError | None
_Waiter: TypeAlias = Waiter[int, _Result]  # its kind is the number of its endpoint's own budget


class RedisLimiter:
    """A rate limiter shared by many processes: strict in every rolling window, closes first.

    Use it as an async context manager around the clients that share it: on exit it sends the last
    updates to Redis and closes the connection. All processes that share a budget need the same
    settings. A limiter belongs to one process and to one event loop at a time: make one in each.

    https://developers.3commas.io/general-information/limits

    Args:
        redis: a URL (`redis://`, `rediss://` or `unix://`), or a client, which is never closed.
        limit: requests per window. 100 is the documented default; plans allow 5, 50 or 120.
        window: length of the window in seconds.
        penalty: seconds nothing is sent after a 429 that does not say how long; documented: 300.
        reserve: slots that only closes may take; default a tenth of the limit, rounded down.
        key: name of the budget. All limiters with the same name in the same Redis share it. The
            names of the keys in Redis contain it, so it must not be the API key.
        lease: seconds for which Redis keeps the permits of a process that has crashed or cannot
            reach it. A living process renews them, however long an attempt takes. No request is
            started on a permit that was not renewed for half of that time, so the other half has
            to be longer than an attempt takes.
        on_lost: what to do when Redis does not answer. "raise": refuse every request before it is
            sent. "share": send nothing for one window, then use this process's share; when Redis
            answers again, send nothing for another window.
        share: this process's fraction of the limit during an outage, such as 0.5 for one of two.
        timeout: seconds without an answer after which Redis counts as lost.

    Raises:
        ConfigurationError: a setting is out of range, or settings contradict each other.
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
        self._local_share = None if share is None else LocalShare(whole, share)
        self.limit: int = whole.limit
        self.window: float = whole.window
        self.penalty: float = whole.penalty
        self.reserve: int = whole.reserve
        self.key: str = key
        self.lease: float = lease
        self.share: float | None = share
        self.timeout: float = timeout
        general = Bucket("general", limit, self.window, self.penalty)
        self._store = RedisStore(redis, key, general, self.reserve, lease)
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
        """Send the pending updates to Redis, and close the connection if it came from a URL.

        The limiter may be used again.
        """
        self._enter()
        await self._flush()
        # In a loop: an `acquire` while one sync task is ending starts another.
        while self._sync_task is not None and not self._sync_task.done():
            self._sync_task.cancel()
            await asyncio.wait({self._sync_task})
        for waiter in self._queue.front(len(self._queue)):
            self._queue.serve(waiter, RequestNotSentError("not sent: the rate limiter was closed"))
        # Before the connection is closed, which takes time: an `acquire` meanwhile opens a new one.
        self._owner = Owner("the rate limiter")
        await self._store.close()

    async def acquire(
        self, priority: Priority, *, bucket: Bucket | None = None, deadline: float | None = None
    ) -> Permit:
        """Wait for a slot, see `RateLimiter.acquire`.

        Raises:
            RequestNotSentError: no slot comes free before the deadline, or Redis is unreachable.
            ConfigurationError: the limiter belongs to another process or event loop.
        """
        self._enter()
        budget = self._store.budget_number(bucket)
        while True:
            local = self._local_share and await self._local_share.acquire(
                priority, bucket, deadline
            )
            if local:
                name = f"{self._process_id}:local-{next(self._local_names)}"
                return self._grant(name, budget, uptime(), local)
            result = await self._acquire(priority, budget, deadline)
            if isinstance(result, RequestNotSentError):
                raise result
            if result is not None:
                return result

    async def release(self, permit: Permit, *, sent: bool, late: float = 0.0) -> None:
        """End an attempt, see `RateLimiter.release`. Redis is updated in the background.

        Never suspends, so that a task that has its response cannot be cancelled here.
        """
        try:
            now = self._enter()
        except RuntimeError:
            return  # the event loop was closed in mid-run; the permit expires by itself
        permit = cast("_Permit", permit)
        permit.end(now, sent=sent, late=late)
        report = True
        if self._local_share is not None and permit.local is not None:
            await self._local_share.release(permit.local, sent=sent, late=late)
            report = not self._lost
        self._store.end_lease(permit.name, permit.lease.budget, sent=sent, late=late, report=report)
        self._wake()

    async def block(self, seconds: float) -> None:
        """Send nothing for this many seconds, in any process.

        Returns when Redis has confirmed it or is unreachable.
        """
        self._store.block(self._enter() + seconds)
        if self._local_share is not None:
            await self._local_share.block(seconds)
        await self._flush()

    def blocked_for(self) -> float:
        """Return for how many seconds nothing may be sent, as far as this process knows."""
        return max(0.0, self._store.blocked_until - asyncio.get_running_loop().time())

    def _enter(self) -> float:
        """Return the time. On another event loop, start anew but keep the updates for Redis."""
        if self._owner.enter():
            self._process_id = self._store.open()
            self._local_names = count()
            self._queue: WaitQueue[int, _Result] = WaitQueue()
            self._new_deadlines: list[tuple[_Waiter, float]] = []
            self._forecasts: dict[int, SlidingWindow] = {}
            self._end_outage()
            self._sync_task: asyncio.Task[None] | None = None
            self._wakeup = asyncio.Event()
            self._call_ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        return self._owner.time()

    # --- the wait queue

    async def _acquire(self, priority: Priority, budget: int, deadline: float | None) -> _Result:
        waiter = self._queue.join(priority, budget)
        timer = None
        if deadline is not None:
            self._new_deadlines.append((waiter, deadline))
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
        """Leave the queue; release a permit that was granted at the same moment."""
        self._queue.leave(waiter)
        self._wake()
        if waiter.future.done() and not waiter.future.cancelled():
            result = waiter.future.result()
            if isinstance(result, _Permit):
                await self.release(result, sent=False)

    def _grant(self, name: str, budget: int, since: float, local: Permit | None = None) -> _Permit:
        windows = self._store.local_windows(budget)
        for window in windows:
            window.take()
        return _Permit(name, self._store.start_lease(name, budget, since), windows, local)

    def _permit_name(self, waiter: _Waiter) -> str:
        return f"{self._process_id}:{waiter.arrival}"

    # --- the background task that calls Redis

    def _wake(self) -> asyncio.Task[None]:
        """Call Redis now, or as soon as the call under way has ended."""
        self._wakeup.set()
        if self._sync_task is None or self._sync_task.done():
            self._sync_task = asyncio.create_task(self._sync(), name="RedisLimiter")
        return self._sync_task

    async def _flush(self) -> None:
        """Wait until Redis has confirmed all pending updates or is unreachable."""
        while self._store.pending:
            either = {self._wake(), self._call_ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._lost:
                return

    async def _sync(self) -> None:
        """Call Redis as long as there are updates, waiters or leases to renew."""
        while True:
            self._wakeup.clear()
            pause = await self._call()
            self._call_ended.set_result(None)
            self._call_ended = asyncio.get_running_loop().create_future()
            if self._sync_task is not None and self._sync_task.cancelling():
                return  # redis-py calls asyncio.wait_for, which may swallow a cancel before 3.12
            if not (
                self._wakeup.is_set()
                or self._queue
                or self._store.pending
                or self._store.in_flight
                or (self._lost and self._local_share)
            ):
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wakeup.wait()

    async def _call(self) -> float:
        """Call Redis once; return the maximum seconds until the next call."""
        waiters = self._queue.front(self.limit)  # no more of each kind than could be served at once
        # Redis knows two priorities only; the order among the closes is decided here.
        wants = [
            (max(waiter.priority, Priority.CLOSE), waiter.kind, self._permit_name(waiter))
            for waiter in waiters
        ]
        since = uptime()
        try:
            async with asyncio.timeout(self.timeout):
                reply = await self._store.call(wants)
        except Exception as error:  # noqa: BLE001 - whatever it is, no waiter may be left hanging
            await self._on_loss(f"{type(error).__name__}: {error}".removesuffix(": "), waiters)
            return self._heartbeat
        if self._lost:
            log.warning("Redis answers again")
            self._end_outage()
        for waiter in (waiters[number - 1] for number in reply.granted):
            permit = self._grant(self._permit_name(waiter), waiter.kind, since)
            if waiter.future.done():  # cancelled during the call
                await self.release(permit, sent=False)
            else:
                self._queue.serve(waiter, permit)
        now = self._owner.time()
        self._check_deadlines(reply, now)
        pause = min(
            max(0.0, self._store.renew_at - now),
            min(BLOCK_POLL, self._heartbeat) if self._store.in_flight else self._heartbeat,
        )
        if self._queue:
            next_local = self._store.next_local_expiry(reply, now)
            pause = min(pause, reply.wait, next_local - now)
        return pause

    # --- deadlines

    def _check_deadlines(self, reply: Reply, now: float) -> None:
        """Update the forecasts, and refuse new waiters that cannot get a slot in time."""
        budgets = range(1, len(reply.rests) + 1)
        self._forecasts = {budget: self._store.forecast(reply, budget, now) for budget in budgets}
        if self._store.pending:
            return  # these may return slots, and the call that sends them follows at once
        new_deadlines, self._new_deadlines = self._new_deadlines, []
        for waiter, deadline in new_deadlines:
            if deadline < self._not_before(waiter, now):
                self._refuse(waiter)

    def _windows(self, waiter: _Waiter, ahead: int) -> list[tuple[SlidingWindow, int]]:
        """Return the windows that limit a waiter, each with the slots that it has to leave.

        For each of its budgets: the forecast from the last reply, and this process's own window.
        """
        reserve = self.reserve if waiter.priority is Priority.NORMAL else 0
        budgets = sorted({1, waiter.kind})
        windows = chain(
            ((budget, self._forecasts.get(budget)) for budget in budgets),
            zip(budgets, self._store.local_windows(waiter.kind), strict=True),
        )
        return [
            (window, reserve + ahead if budget == 1 else 0) for budget, window in windows if window
        ]

    def _not_before(self, waiter: _Waiter, now: float) -> float:
        """Return the earliest time at which a waiter could get a slot.

        Waiters ahead may be cancelled, and requests in flight return their slots, at any moment:
        neither is counted.
        """
        bounds = (window.not_before(kept, now) for window, kept in self._windows(waiter, ahead=0))
        return max(self._store.blocked_until, *bounds)

    def _refusal(self, waiter: _Waiter) -> RequestNotSentError:
        now = self._owner.time()
        # Waiters for a limit of their own do not count: this one may overtake them.
        ahead = sum(self._queue.of_kind(p, 1) for p in Priority if p <= waiter.priority)
        times = (window.available_at(nth, now) for window, nth in self._windows(waiter, ahead))
        available_in = max(0.0, max(self._store.blocked_until, *times) - now)
        return RequestNotSentError(
            "not sent: the shared rate limit has no slot before the deadline, "
            f"the next one comes free in {available_in:.1f} s as things stand",
            available_in=available_in,
        )

    def _refuse(self, waiter: _Waiter) -> None:
        """Fail a waiter that gets no slot before its deadline."""
        if not waiter.future.done():
            self._queue.leave(waiter)
            self._queue.serve(waiter, self._refusal(waiter))
            self._wake()  # Redis must learn that it no longer waits

    # --- outages

    async def _on_loss(self, reason: str, requested: Sequence[_Waiter]) -> None:
        """Fail all waiters, or send them to the local share, after a call has failed.

        The permits that it requested may have been granted all the same, so they are returned.
        """
        for waiter in requested[: max(0, _MAX_RETURNED - self._store.pending)]:
            self._store.end_lease(self._permit_name(waiter), waiter.kind, sent=False)
        self._store.renew_at = -math.inf
        if not self._lost:
            self._lost = True
            log.warning("Redis does not answer: %s", reason)
            if self._local_share is not None:
                await self._local_share.start(max(self._store.silence, self.blocked_for()))
        for waiter in self._queue.front(len(self._queue)):
            error = RequestNotSentError(
                f"not sent: the Redis that keeps the rate limit does not answer ({reason}); "
                "nothing has happened, it is safe to call again"
            )
            self._queue.serve(waiter, None if self._local_share else error)

    def _end_outage(self) -> None:
        """Use Redis again."""
        self._lost = False
        if self._local_share is not None and self._local_share.stop():
            # The other processes know nothing of what was sent.
            self._store.block(asyncio.get_running_loop().time() + self._store.silence)
            self._store.renew_at = -math.inf


def _check(passes: bool, expected: str) -> None:  # noqa: FBT001
    if not passes:
        raise ConfigurationError(f"RedisLimiter: {expected}")
