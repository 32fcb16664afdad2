"""The shared state in Redis, and the updates that this process has yet to send to it."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import define, frozen
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError

from ..errors import ConfigurationError
from ..rate_limit import SlidingWindow
from .clock import uptime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..endpoint import Bucket, Priority

__all__ = ["GRACE", "PATIENCE", "Connection", "Lease", "RedisStore", "Reply"]

PATIENCE = 3.0
"""Seconds without a call after which a waiting process no longer counts as waiting."""
GRACE = 0.1
"""Seconds for which a freed slot stays reserved for the process whose turn it is."""

_SCRIPT: Final = Path(__file__).with_name("script.lua").read_text(encoding="utf-8")
_SHA: Final = sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
_UNUSED: Final = -1.0  # sent instead of the seconds to keep a permit: forget it at once
_ROUNDING: Final = 0.001  # seconds; Redis counts them since 1970


class Connection(Protocol):
    """The methods used of a Redis client; `redis.asyncio.Redis` and `RedisCluster` have them."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as theirs
        """Send a command and return its reply."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


@frozen(kw_only=True)
class Reply:
    """Reply of the script. Times are seconds from now."""

    born: str
    """When the data in Redis was created; another value means that Redis lost its data."""
    block: float
    """How long nothing may be sent."""
    wait: float
    """How long it makes no sense for those not served to ask again."""
    granted: Sequence[int]
    """Positions, from 1, of the requested permits that were granted."""
    rests: Sequence[Sequence[float]]
    """For each budget, how long each taken slot stays taken, in ascending order. A request in
    flight counts with its lease and a window; its slot comes free earlier, one window after its
    response, or at once if it was not sent."""


@define
class Lease:
    """What this process knows of a permit whose request may be in flight."""

    budget: int
    """Number of the endpoint's own budget."""
    usable_until: float
    """The time, on the clock `uptime`, until which a request may still be sent on it."""


class RedisStore:
    """Collects updates for Redis and sends them with the next call.

    Budgets are numbered: 1 is the general one, and also stands for "no limit of its own".

    In addition, this process tracks what it sent and the blocks it met itself, on its own clock.
    These local limits hold whatever happens to Redis and its clock.
    """

    def __init__(
        self, redis: str | Connection, key: str, general: Bucket, reserve: int, lease: float
    ) -> None:
        self._url = redis if isinstance(redis, str) else None
        self._connection = _connect(redis) if isinstance(redis, str) else redis
        self._key = key
        self._budgets = [general]
        self._local_windows: list[SlidingWindow] = [SlidingWindow(general.limit, general.window)]
        self._reserve = reserve
        self._lease = lease
        self._process_id = ""
        self._leases: dict[str, Lease] = {}
        self._born = ""
        self._last_reply_at = -math.inf
        # Updates that Redis has not confirmed: by permit, the number of its budget and the seconds
        # to keep it beyond its window; and the end of a block.
        self._pending_permits: dict[str, tuple[int, float]] = {}
        self._pending_block = -math.inf
        self._local_block = -math.inf  # the end of the blocks that this process met itself
        self.renew_at: float = -math.inf
        """When the permits of requests in flight have to be renewed."""
        self.blocked_until: float = -math.inf
        """Until when nothing may be sent, as far as this process knows."""

    def open(self) -> str:
        """Start on another event loop; return a new random id for this process."""
        if self._url is not None:
            self._connection = _connect(self._url)
        self._process_id = secrets.token_hex(6)
        self._leases.clear()
        now = asyncio.get_running_loop().time()
        self._local_windows = [window.settled(now) for window in self._local_windows]
        return self._process_id

    async def close(self) -> None:
        """Close the connection, unless it was passed in."""
        if self._url is not None:
            await self._connection.aclose()

    def budget_number(self, bucket: Bucket | None) -> int:
        """Return the number of an endpoint's own budget; register it on first use."""
        if bucket is None:
            return 1
        if bucket not in self._budgets:
            self._budgets.append(bucket)
            self._local_windows.append(SlidingWindow(bucket.limit, bucket.window))
        return self._budgets.index(bucket) + 1

    def local_windows(self, budget: int) -> tuple[SlidingWindow, ...]:
        """Return the windows over what this process sent: the general one and the budget's own."""
        return tuple(self._local_windows[number - 1] for number in sorted({1, budget}))

    def start_lease(self, permit: str, budget: int, since: float) -> Lease:
        """Record that a request may be in flight on a permit requested at `since` (`uptime`)."""
        self._leases[permit] = lease = Lease(budget, since + self._lease / 2)
        return lease

    def end_lease(
        self, permit: str, budget: int, *, sent: bool, late: float = 0.0, report: bool = True
    ) -> None:
        """Record that an attempt has ended.

        Args:
            permit: name of the permit.
            budget: number of the endpoint's own budget.
            sent: whether the request may have reached the server.
            late: seconds from now within which the server may still come to count it.
            report: whether to send this to Redis.
        """
        self._leases.pop(permit, None)
        if report:
            self._pending_permits[permit] = (budget, late if sent else _UNUSED)

    def block(self, until: float) -> None:
        """Record that nothing may be sent before `until` (event loop time)."""
        self._local_block = max(self._local_block, until)
        self._pending_block = max(self._pending_block, until)
        self.blocked_until = max(self.blocked_until, until)

    @property
    def pending(self) -> int:
        """Number of updates that Redis has not confirmed."""
        return len(self._pending_permits) + (self._pending_block > -math.inf)

    @property
    def in_flight(self) -> int:
        """Number of permits whose requests may be in flight."""
        return len(self._leases)

    @property
    def silence(self) -> float:
        """Seconds after which the server no longer counts any earlier request."""
        return max(budget.window for budget in self._budgets)

    async def call(self, wants: Sequence[tuple[Priority, int, str]]) -> Reply:
        """Send all pending updates and request permits (priority, own budget, name)."""
        now, since = asyncio.get_running_loop().time(), uptime()
        renewed: list[Lease] = []
        if now >= self.renew_at:
            self.renew_at = now + self._lease / 3
            renewed = list(self._leases.values())
            self._pending_permits |= {
                permit: (lease.budget, self._lease) for permit, lease in self._leases.items()
            }
        sent_permits, sent_block = self._pending_permits.copy(), self._pending_block
        reply = await self._run_script(wants, now)
        self._pending_permits = {
            name: update
            for name, update in self._pending_permits.items()
            if sent_permits.get(name) != update
        }
        if self._pending_block == sent_block:
            self._pending_block = -math.inf
        for lease in renewed:
            # An older one may have expired in Redis, and its slot been granted to another process.
            if lease.usable_until >= since:
                lease.usable_until = since + self._lease / 2
        now = self._last_reply_at = asyncio.get_running_loop().time()
        if self._born not in {"", reply.born}:
            # Redis lost its data: send the block and the requests in flight again.
            self._pending_block = self.blocked_until
            self.renew_at = now
        self._born = reply.born
        until = now + reply.block if reply.block else -math.inf
        self.blocked_until = max(until, self._pending_block, self._local_block)
        return reply

    def forecast(self, reply: Reply, budget: int, now: float) -> SlidingWindow:
        """Return a window with the slots of a budget as of a reply that arrived at `now`."""
        bucket = self._budgets[budget - 1]
        forecast = SlidingWindow(bucket.limit, bucket.window)
        for rest in reply.rests[budget - 1]:
            forecast.take()
            if rest <= bucket.window + _ROUNDING:
                forecast.hold(now + rest - bucket.window)
        return forecast

    def next_local_expiry(self, reply: Reply, now: float) -> float:
        """Return when a local window frees a slot that Redis already considers free.

        Usually infinity: Redis frees a slot a little later than the local window.
        """
        return min(
            (
                window.next_expiry(now)
                for window, rests in zip(self._local_windows, reply.rests, strict=False)
                if window.free(now) < window.limit - len(rests)
            ),
            default=math.inf,
        )

    async def _run_script(self, wants: Sequence[tuple[Priority, int, str]], now: float) -> Reply:
        retention = self._lease + self.silence  # nothing older influences a decision
        names = "state", "waiting", *(budget.name for budget in self._budgets)
        message = {
            "me": self._process_id,
            "budgets": [
                {"limit": it.limit, "window": it.window, "room": max(0, it.free(now))}
                for it in self._local_windows
            ],
            "reserve": self._reserve,
            "lease": self._lease,
            "silence": self.silence,
            "patience": PATIENCE,
            "grace": min(GRACE, self._budgets[0].window / 50),
            "ttl": 2 * retention,
            "born": self._born if now < self._last_reply_at + retention else "",
            "block": max(0.0, self._pending_block - now, self._local_block - now),
            "permits": [(name, *update) for name, update in self._pending_permits.items()],
            "wants": wants,
        }
        arguments = (
            len(names),
            *(f"{{{self._key}}}:{name}" for name in names),  # {} keeps them on one cluster node
            json.dumps(message),
        )
        try:
            answer = await self._connection.execute_command("EVALSHA", _SHA, *arguments)
        except NoScriptError:
            answer = await self._connection.execute_command("EVAL", _SCRIPT, *arguments)
        return Reply(**json.loads(answer))


def _connect(url: str) -> Connection:
    """Return a client for a URL, which connects when it is first used."""
    try:
        # One retry, so that a connection that broke while idle is replaced at once.
        return Redis.from_url(url, retry=Retry(NoBackoff(), 1))  # pyright: ignore[reportUnknownMemberType] # its **kwargs
    except ValueError:
        pass  # its text may repeat a part of the password
    raise ConfigurationError("the URL of Redis must be like rediss://:password@host:6379/0")
