"""The books of a budget, which are in Redis, and what one process has to enter in them."""

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

__all__ = ["GRACE", "PATIENCE", "Books", "Connection", "Lease", "Reply"]

PATIENCE = 3.0
"""Seconds after which a process that waited, and was not heard of since, is forgotten."""
GRACE = 0.1
"""Seconds for which a slot that has come free is left to the one whose part it is."""

_SCRIPT: Final = Path(__file__).with_name("script.lua").read_text(encoding="utf-8")
_SHA: Final = sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
_GIVEN_BACK: Final = -1.0  # in the place of the seconds that a permit is kept beyond its window
_ROUNDING: Final = 0.001  # seconds; Redis counts them since 1970


class Connection(Protocol):
    """What is used of a Redis client: `redis.asyncio.Redis` and `RedisCluster` have it."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as theirs
        """Send a command and return its answer."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


@frozen(kw_only=True)
class Reply:
    """What a call came to. Times are seconds from now."""

    born: str
    """When the books were begun."""
    block: float
    """How long nothing may leave."""
    wait: float
    """How long nothing changes by itself for those who were not served."""
    granted: Sequence[int]
    """Which wants were granted, counted from 1."""
    rests: Sequence[Sequence[float]]
    """When the slots of each budget come free that are not, in order. That of a request under way
    is kept for a lease and a window, but comes free a window after its answer, or at once."""


@define
class Lease:
    """What this process knows of a permit that may be under way."""

    own: int
    """Number of the endpoint's own budget."""
    good_until: float
    """Until when, by `uptime`, a request may still be sent on it."""


class Books:
    """Collects what Redis has to know, and tells it with the next call.

    Budgets have numbers: 1 is the general one, and stands also for "no limit of its own".

    Beside it, this process keeps an account of what it sent itself and of the blocks that it met
    itself, on its own clock: a floor that holds whatever becomes of Redis and its clock.
    """

    def __init__(
        self, redis: str | Connection, key: str, general: Bucket, reserve: int, lease: float
    ) -> None:
        self._url = redis if isinstance(redis, str) else None
        self._connection = _connect(redis) if isinstance(redis, str) else redis
        self._key = key
        self._budgets = [general]
        self._accounts: list[SlidingWindow] = [SlidingWindow(general.limit, general.window)]
        self._reserve = reserve
        self._lease = lease
        self._me = ""
        self._live: dict[str, Lease] = {}
        self._born = ""
        self._heard_at = -math.inf
        # Not confirmed by Redis: permits with their budget and the seconds to keep them beyond
        # their window, and the end of a block.
        self._untold: dict[str, tuple[int, float]] = {}
        self._untold_block = -math.inf
        self._met_until = -math.inf  # the end of the blocks that this process met itself
        self.renew_at = -math.inf
        """When the permits of requests under way have to be told again."""
        self.blocked_until = -math.inf
        """Until when nothing may leave, as far as known here."""

    def open(self) -> str:
        """Begin on another event loop, perhaps in another process; return the name for it."""
        if self._url is not None:
            self._connection = _connect(self._url)
        self._me = secrets.token_hex(6)
        self._live.clear()
        now = asyncio.get_running_loop().time()
        self._accounts = [account.settled(now) for account in self._accounts]
        return self._me

    async def close(self) -> None:
        """Close the connection, unless it was given."""
        if self._url is not None:
            await self._connection.aclose()

    def number(self, bucket: Bucket | None) -> int:
        """Return the number of an endpoint's own budget."""
        if bucket is None:
            return 1
        if bucket not in self._budgets:
            self._budgets.append(bucket)
            self._accounts.append(SlidingWindow(bucket.limit, bucket.window))
        return self._budgets.index(bucket) + 1

    def accounts(self, own: int) -> tuple[SlidingWindow, ...]:
        """Return what this process sent itself: in general, and of an endpoint's own budget."""
        return tuple(self._accounts[number - 1] for number in sorted({1, own}))

    def took(self, permit: str, own: int, since: float) -> Lease:
        """Note that a request may be under way from now on, with what was asked for at `since`."""
        self._live[permit] = lease = Lease(own, since + self._lease / 2)
        return lease

    def ended(
        self, permit: str, own: int, *, sent: bool, late: float = 0.0, tell: bool = True
    ) -> None:
        """Note that its attempt has ended, and how late the server may still come to count it."""
        self._live.pop(permit, None)
        if tell:
            self._untold[permit] = (own, late if sent else _GIVEN_BACK)

    def block(self, until: float) -> None:
        """Note that nothing may leave before then."""
        self._met_until = max(self._met_until, until)
        self._untold_block = max(self._untold_block, until)
        self.blocked_until = max(self.blocked_until, until)

    @property
    def untold(self) -> int:
        """How much there is that Redis does not know."""
        return len(self._untold) + (self._untold_block > -math.inf)

    @property
    def live(self) -> int:
        """How many requests may be under way."""
        return len(self._live)

    @property
    def silence(self) -> float:
        """Seconds after which the server has forgotten every request."""
        return max(budget.window for budget in self._budgets)

    async def call(self, wants: Sequence[tuple[Priority, int, str]]) -> Reply:
        """Tell Redis all that is new, and ask for permits (priority, own budget, name)."""
        now, since = asyncio.get_running_loop().time(), uptime()
        renewed: list[Lease] = []
        if now >= self.renew_at:
            self.renew_at = now + self._lease / 3
            renewed = list(self._live.values())
            self._untold |= {permit: (it.own, self._lease) for permit, it in self._live.items()}
        permits, block = self._untold.copy(), self._untold_block
        reply = await self._run(wants, now)
        self._untold = {
            name: told for name, told in self._untold.items() if permits.get(name) != told
        }
        if self._untold_block == block:
            self._untold_block = -math.inf
        for lease in renewed:
            # One that was too old may have expired, and its slot been given to somebody else.
            if lease.good_until >= since:
                lease.good_until = since + self._lease / 2
        now = self._heard_at = asyncio.get_running_loop().time()
        if self._born not in {"", reply.born}:
            # It has forgotten. Tell again until when all is blocked, and what is under way.
            self._untold_block = self.blocked_until
            self.renew_at = now
        self._born = reply.born
        until = now + reply.block if reply.block else -math.inf
        self.blocked_until = max(until, self._untold_block, self._met_until)
        return reply

    def outlook(self, reply: Reply, number: int, now: float) -> SlidingWindow:
        """Return what a reply that came at `now` says of a budget's slots."""
        budget = self._budgets[number - 1]
        outlook = SlidingWindow(budget.limit, budget.window)
        for rest in reply.rests[number - 1]:
            outlook.take()
            if rest <= budget.window + _ROUNDING:
                outlook.hold(now + rest - budget.window)
        return outlook

    def floor(self, reply: Reply, now: float) -> float:
        """Return when this process's own account changes, where that alone is in the way.

        Infinity otherwise, which is the rule: Redis frees a slot a little later.
        """
        return min(
            (
                account.next_expiry(now)
                for account, rests in zip(self._accounts, reply.rests, strict=False)
                if account.free(now) < account.limit - len(rests)
            ),
            default=math.inf,
        )

    async def _run(self, wants: Sequence[tuple[Priority, int, str]], now: float) -> Reply:
        memory = self._lease + self.silence  # what is older does not matter any more
        names = "state", "waiting", *(budget.name for budget in self._budgets)
        message = {
            "me": self._me,
            "budgets": [
                {"limit": it.limit, "window": it.window, "room": max(0, it.free(now))}
                for it in self._accounts
            ],
            "reserve": self._reserve,
            "lease": self._lease,
            "silence": self.silence,
            "patience": PATIENCE,
            "grace": min(GRACE, self._budgets[0].window / 50),
            "ttl": 2 * memory,
            "born": self._born if now < self._heard_at + memory else "",
            "block": max(0.0, self._untold_block - now, self._met_until - now),
            "permits": [(name, *told) for name, told in self._untold.items()],
            "wants": wants,
        }
        arguments = (
            len(names),
            *(f"{{{self._key}}}:{name}" for name in names),  # {}: one node of a cluster has all
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
        # A connection that broke while it was idle is replaced at once.
        return Redis.from_url(url, retry=Retry(NoBackoff(), 1))  # pyright: ignore[reportUnknownMemberType] # its **kwargs
    except ValueError:
        pass  # its text may repeat a part of the password
    raise ConfigurationError("the URL of Redis must be like rediss://:password@host:6379/0")
