"""One rate limit, and one cooldown, for many processes and hosts: `RedisLimiter`.

Needs the extra `redis`, and a Redis (5 or newer, Valkey too) that all of them reach.

The rule is that of `rate_limit`: a slot is taken before a request is sent and comes free one
window after its answer came. The books are in Redis, and a script changes them, so that each
change is atomic, and all times are those of one clock, that of Redis.

* Each budget (the general one, and one for each endpoint with a limit of its own) is a sorted set
  of permits, by the time at which they expire. One on its way expires a `lease` and a window from
  now, and its process renews it while it lives; one answered, a window from then. So a crash frees
  its slots late, never early.
* Who has to wait is in a sorted set too, for a few seconds unless it shows up again. While a close
  waits anywhere, reads get nothing; among processes that wait, what is free is divided.
* Each process has one courier with one call under way at a time. A call tells Redis everything
  that has happened since the last one and asks for everybody in line. Hence a thousand that wait
  cost no more calls than one, a permit granted to a task that is gone comes back with the next
  call, and nobody who has an answer in hand is held up by Redis.
* Whoever asks again, because the answer was lost, is given the permit that it already holds.
* A Redis that has forgotten (restarted empty, flushed) is found out by the time of its birth that
  the processes remember. Then nothing is sent for one window, and what is under way is told again.

docs/sharing.md tells how to use it and what it does not protect from.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import secrets
from collections import Counter
from hashlib import sha1
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, cast

from attrs import evolve

from .endpoint import Priority
from .errors import ConfigurationError, RequestNotSentError
from .rate_limit import Permit, SlidingWindow, SlidingWindowLimiter
from .waiting import Line, Place

try:
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import NoScriptError
except ImportError:
    msg = "RedisLimiter needs an extra: pip install 'threecommas-async[redis]'"
    raise ImportError(msg) from None

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from .endpoint import Bucket

__all__ = ["Connection", "RedisLimiter"]

_log = logging.getLogger("threecommas_async")

HEARTBEAT: Final = 1.0
"""Seconds after which a process that waits asks again at the latest."""
PATIENCE: Final = 3.0
"""Seconds after which a process that waited and is not heard of any more is forgotten."""
PAUSE: Final = 0.02
"""Seconds that a process leaves to another one whose turn it is."""

_GIVEN_BACK: Final = -1.0  # instead of the seconds that a permit is kept beyond its window

# Times are whole microseconds. Budget 1 is the general one; a want without a limit of its own
# names budget 1 for it, which changes nothing.
_SCRIPT: Final = """
local q = cjson.decode(ARGV[1])
local state, waiting = KEYS[1], KEYS[2]
local function permits(budget) return KEYS[budget + 2] end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- What the process has to tell.
local function keep(id, own, longer)
  for _, b in ipairs({1, own}) do
    redis.call('ZADD', permits(b), now + longer + q.budgets[b][2], id)
  end
end
for _, permit in ipairs(q.permits) do
  local id, own, longer = unpack(permit)
  if longer >= 0 then keep(id, own, longer) else
    redis.call('ZREM', permits(1), id)
    redis.call('ZREM', permits(own), id)
  end
end
local born, blocked = unpack(redis.call('HMGET', state, 'born', 'blocked'))
born = tonumber(born or now)
blocked = math.max(tonumber(blocked or 0), now + q.block)
if q.born > 0 and q.born ~= born then blocked = math.max(blocked, born + q.silence) end
redis.call('HSET', state, 'born', born, 'blocked', blocked)

-- What is free, and who else waits.
local free = {}
for b, budget in ipairs(q.budgets) do
  redis.call('ZREMRANGEBYSCORE', permits(b), '-inf', now)
  free[b] = budget[1] - redis.call('ZCARD', permits(b))
end
redis.call('ZREMRANGEBYSCORE', waiting, '-inf', now)
local others = {[0] = 0, [1] = 0}
for _, name in ipairs(redis.call('ZRANGE', waiting, 0, -1)) do
  local priority = tonumber(name:sub(1, 1))
  if name:sub(3) ~= q.me then others[priority] = others[priority] + 1 end
end

-- Give it out. `turn` is this process's part of what is free.
local kept, turn = {[0] = 0, [1] = q.reserve}, {}
for p = 0, 1 do turn[p] = math.ceil((free[1] - kept[p]) / (others[p] + 1)) end
local granted, left, yields = {}, {[0] = 0, [1] = 0}, false
for i, want in ipairs(q.wants) do
  local p, own, id = unpack(want)
  local has = redis.call('ZSCORE', permits(1), id)
  local room = free[1] > kept[p] and free[own] > 0
  local first = turn[p] > 0 and (p == 0 or others[0] + left[0] == 0)
  if now >= blocked and (has or room and first) then
    keep(id, own, q.lease)
    granted[#granted + 1] = i
    if not has then
      free[1] = free[1] - 1
      if own > 1 then free[own] = free[own] - 1 end
      turn[p] = turn[p] - 1
    end
  else
    yields = yields or room and (p == 0 or left[0] == 0)
    left[p] = left[p] + 1
  end
end
for p = 0, 1 do
  local name = p .. ':' .. q.me
  if left[p] > 0 then redis.call('ZADD', waiting, now + q.patience, name)
  else redis.call('ZREM', waiting, name) end
end

-- When something changes by itself.
local wait, firsts, held = q.patience, {}, {}
for b in ipairs(q.budgets) do
  local first = redis.call('ZRANGE', permits(b), 0, 0, 'WITHSCORES')[2]
  if first then wait = math.min(wait, first - now) end
  firsts[b] = first and free[b] < 1 and math.min(first - now, q.budgets[b][2]) or 0
end
if now < blocked then wait = math.min(blocked - now, q.patience)
elseif yields then wait = math.min(wait, q.pause)
elseif #granted > 0 and others[0] + others[1] > 0 then wait = wait + q.pause end
if q.outlook then
  for i, score in ipairs(redis.call('ZRANGE', permits(1), 0, -1, 'WITHSCORES')) do
    -- One on its way may be answered now, and is free a window later.
    if i % 2 == 0 then held[i / 2] = math.min(score - now, q.budgets[1][2]) end
  end
end
local block = math.max(blocked - now, 0)
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, math.ceil((q.ttl + block) / 1000)) end
return {born, block, wait, granted, held, firsts}
"""
_SHA: Final = sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()


class Connection(Protocol):
    """What is asked of a Redis client: `redis.asyncio.Redis` and `RedisCluster` have it."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as theirs
        """Send a command and return its answer."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


class _Want(NamedTuple):
    id: str
    own: int  # number of the budget of its endpoint's own, 1 without
    deadline: float | None


class _Permit(Permit):
    __slots__ = ("alone", "id", "own")

    def __init__(self, want: _Want, alone: Permit | None = None) -> None:
        super().__init__()
        self.id = want.id
        self.own = want.own
        self.alone = alone  # set where it was given out without Redis


_Answer = _Permit | RequestNotSentError | None  # None: Redis is lost, so go on alone
_Waiting = Place[_Want, _Answer]


class _Reply(NamedTuple):
    born: int
    block: float
    wait: float
    granted: Sequence[int]
    held: Sequence[float]
    firsts: Sequence[float]


class RedisLimiter:
    """The limiter of many processes: strict in every rolling window, closes first.

    Use it as an async context manager, around the clients that use it, so that the slots given back
    last reach Redis and the connection is closed. All that share a budget must have the same
    settings. In one process one limiter serves one event loop at a time.

    Args:
        redis: a URL (`redis://`, `rediss://`, `unix://`), or a client that stays yours.
        limit: requests per window. 100 is the documented default; plans allow 5, 50 or 120.
        window: length of the window in seconds.
        penalty: seconds nothing is sent after a 429 that does not say how long; documented: 300.
        reserve: slots that only closes may take; default a tenth of the limit, rounded down.
        key: name of the budget, with which its keys in Redis begin. Who has the same name shares.
            Everyone with access to Redis can read it, so it must not be the API key.
        lease: seconds for which a process may be silent before the requests it had under way are
            taken to have ended. Longer than the longest attempt is safe in any case.
        on_lost: "raise": without Redis nothing is sent, and whoever asks for a slot is told so.
            "share": without Redis nothing is sent for one window, then this process keeps to its
            share until Redis answers again, and then nothing is sent for one window again.
        share: this process's part of the limit without Redis, such as 0.5 for one of two.
        timeout: seconds after which a Redis that does not answer counts as lost.

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
        checked = SlidingWindowLimiter(limit, window, penalty, reserve)
        self.limit, self.window = checked.limit, checked.window
        self.penalty, self.reserve = checked.penalty, checked.reserve
        _check(0 < lease < math.inf, "lease must be a positive number of seconds")
        _check(0 < timeout < math.inf, "timeout must be a positive number of seconds")
        _check(on_lost in {"raise", "share"}, 'on_lost must be "raise" or "share"')
        _check((on_lost == "share") == (share is not None), 'on_lost="share" and share go together')
        self.key, self.lease, self.timeout, self.share = key, lease, timeout, share
        self._alone = None if share is None else self._limiter_of_its_own(share)
        self._connect = _from_url(redis) if isinstance(redis, str) else None
        self._redis = None if isinstance(redis, str) else redis

        self._numbers = count()
        self._budgets: dict[Bucket | None, int] = {None: 1}
        self._blocked_until = -math.inf
        self._born = 0
        self._heard_at = self._renew_at = -math.inf
        # What Redis does not know yet: permits by id, with the seconds to keep them beyond their
        # window, and a block.
        self._untold: dict[str, tuple[int, float]] = {}
        self._block_untold = -math.inf
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lost = self._used_alone = False

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(key={self.key!r}, limit={self.limit}, window={self.window}, "
            f"penalty={self.penalty}, reserve={self.reserve}, lease={self.lease}, "
            f"share={self.share})"
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # ------------------------------------------------------------------ the protocol

    async def acquire(
        self, priority: Priority, *, bucket: Bucket | None = None, deadline: float | None = None
    ) -> Permit:
        """Wait for a slot, see `RateLimiter.acquire`.

        Raises:
            RequestNotSentError: no slot before the deadline, or no Redis.
        """
        self._enter()
        own = self._budgets.setdefault(bucket, len(self._budgets) + 1)
        while True:
            want = _Want(f"{self._me}:{next(self._numbers)}", own, deadline)
            if self._alone is not None and self._lost:
                answer = await self._acquire_alone(self._alone, priority, bucket, want)
            else:
                answer = await self._acquire(priority, want)
            if isinstance(answer, RequestNotSentError):
                raise answer
            if answer is not None:
                return answer

    async def release(self, permit: Permit, *, sent: bool) -> None:
        """End an attempt, see `RateLimiter.release`. Redis is told in the background."""
        self._enter()
        await self._release(cast("_Permit", permit), sent=sent)

    async def block(self, seconds: float) -> None:
        """Let nothing leave for this long, anywhere. Returns when Redis knows, or is lost."""
        until = self._enter() + seconds
        self._blocked_until = max(self._blocked_until, until)
        self._block_untold = max(self._block_untold, until)
        if self._alone is not None:
            await self._alone.block(seconds)
        while self._block_untold >= until and await self._next_call():
            pass

    def blocked_for(self) -> float:
        """Return for how many seconds from now nothing may leave, as far as this process knows."""
        return max(0.0, self._blocked_until - asyncio.get_running_loop().time())

    async def aclose(self) -> None:
        """Tell Redis what it does not know yet, and close the connection if it is ours."""
        self._enter()
        while (self._untold or self._block_untold > -math.inf) and await self._next_call():
            pass
        if self._courier is not None:
            self._courier.cancel()
            await asyncio.wait({self._courier})
        self._answer_all(RequestNotSentError("not sent: the rate limiter was closed"))
        if self._connect is not None and self._redis is not None:
            await self._redis.aclose()
        self._loop = None

    # ------------------------------------------------------------------ waiting

    def _enter(self) -> float:
        """Return the time. On another event loop, begin anew, but for what Redis has to know."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self._me = secrets.token_hex(6)  # a new one after a fork, too
            self._line: Line[_Want, _Answer] = Line()
            self._live: dict[str, _Permit] = {}
            self._courier: asyncio.Task[None] | None = None
            self._bell = asyncio.Event()
            self._call_ended: asyncio.Future[bool] = loop.create_future()
            self._back: asyncio.Future[None] = loop.create_future()
            self._lost = self._waits = False
            if self._connect is not None:
                self._redis = self._connect()
        return loop.time()

    async def _acquire(self, priority: Priority, want: _Want) -> _Answer:
        place = self._line.join(priority, want)
        self._wake()
        try:
            async with asyncio.timeout_at(want.deadline):
                return await place.future
        except TimeoutError:
            await self._abandon(place)
            available_in = self._available_at(place, 0) - asyncio.get_running_loop().time()
        except asyncio.CancelledError:
            await self._abandon(place)
            raise
        return _refusal(available_in)

    async def _abandon(self, place: _Waiting) -> None:
        """Leave the line; a permit that was granted in the same moment goes back."""
        self._line.leave(place)
        if place.future.done() and not place.future.cancelled():
            answer = place.future.result()
            if isinstance(answer, _Permit):
                await self._release(answer, sent=False)
        self._wake()

    async def _release(self, permit: _Permit, *, sent: bool) -> None:
        """Never suspends: nobody with an answer in hand can be cancelled here."""
        self._live.pop(permit.id, None)
        if self._alone is not None and permit.alone is not None:
            await self._alone.release(permit.alone, sent=sent)
            if self._lost:
                return  # Redis never heard of it
        self._untold[permit.id] = (permit.own, 0.0 if sent else _GIVEN_BACK)
        self._wake()

    # ------------------------------------------------------------------ the courier

    def _wake(self) -> asyncio.Task[None]:
        """Have Redis called now."""
        self._bell.set()
        if self._courier is None or self._courier.done():
            self._courier = asyncio.create_task(self._carry(), name="RedisLimiter")
        return self._courier

    async def _next_call(self) -> bool:
        """Wait for the end of the next call, and tell whether Redis answered it."""
        courier, ended = self._wake(), self._call_ended
        await asyncio.wait({courier, ended}, return_when=asyncio.FIRST_COMPLETED)
        return ended.done() and ended.result()

    async def _carry(self) -> None:
        """Call Redis whenever there is something to tell or to ask, one call at a time."""
        while (
            len(self._line)
            or self._live
            or self._untold
            or self._block_untold > -math.inf
            or self._waits
            or (self._lost and self._alone is not None)
        ):
            self._bell.clear()
            idle = await self._call()
            self._call_ended.set_result(not self._lost)
            self._call_ended = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(idle):
                    await self._bell.wait()
            except TimeoutError:
                pass

    async def _call(self) -> float:
        """Call Redis once; return after how many seconds to call again, unless woken."""
        now = asyncio.get_running_loop().time()
        if now >= self._renew_at:
            self._renew_at = now + self.lease / 3
            self._untold |= {permit.id: (permit.own, self.lease) for permit in self._live.values()}
        places = self._who_asks()
        untold, block_until = self._untold.copy(), self._block_untold
        try:
            async with asyncio.timeout(self.timeout):
                reply = await self._exchange(now, places)
        except Exception as error:  # noqa: BLE001 - whatever it was, it must not kill the courier
            return await self._on_lost(error, places)
        now = self._heard_at = asyncio.get_running_loop().time()
        self._untold = {id: op for id, op in self._untold.items() if untold.get(id) != op}
        if self._block_untold == block_until:
            self._block_untold = -math.inf
        self._on_answer(reply.born, now)
        self._blocked_until = now + reply.block if reply.block else -math.inf
        self._blocked_until = max(self._blocked_until, self._block_untold)
        for i in reply.granted:
            await self._grant(places[i - 1])
        self._waits = len(places) > len(reply.granted)
        self._look_out(reply, now)
        until_renewal = max(0.0, self._renew_at - now) if self._live else math.inf
        return min(reply.wait, self._heartbeat(), until_renewal) if self._waits else ...
