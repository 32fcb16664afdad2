"""The books of a budget, which are in Redis, and what one process has to enter in them."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import frozen
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..endpoint import Bucket, Priority

__all__ = ["GRACE", "PATIENCE", "Books", "Connection", "Reply"]

PATIENCE = 3.0
"""Seconds after which a process that waited, and was not heard of since, is forgotten."""
GRACE = 0.1
"""Seconds for which a slot that has come free is left to the one whose part it is."""

_SCRIPT: Final = Path(__file__).with_name("script.lua").read_text(encoding="utf-8")
_SHA: Final = sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
_GIVEN_BACK: Final = -1.0  # in the place of the seconds that a permit is kept beyond its window


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
    held: Sequence[float]
    """When each slot that is not free comes free at the earliest, in order."""
    firsts: Sequence[float]
    """When each budget has a slot at the earliest."""


class Books:
    """Collects what Redis has to know, and tells it with the next call.

    Budgets have numbers: 1 is the general one, and stands also for "no limit of its own".
    """

    def __init__(
        self, redis: str | Connection, key: str, general: Bucket, reserve: int, lease: float
    ) -> None:
        self._url = redis if isinstance(redis, str) else None
        self._connection = _connect(redis) if isinstance(redis, str) else redis
        self._key = key
        self._budgets = [general]
        self._reserve = reserve
        self._lease = lease
        self._me = ""
        self._live: dict[str, int] = {}
        self._born = ""
        self._heard_at = -math.inf
        # Not confirmed by Redis: permits with their budget and the seconds to keep them beyond
        # their window, and the end of a block.
        self._untold: dict[str, tuple[int, float]] = {}
        self._untold_block = -math.inf
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
        return self._budgets.index(bucket) + 1

    def took(self, permit: str, own: int) -> None:
        """Note that a request may be under way from now on."""
        self._live[permit] = own

    def ended(self, permit: str, own: int, *, sent: bool, tell: bool = True) -> None:
        """Note that its attempt has ended."""
        self._live.pop(permit, None)
        if tell:
            self._untold[permit] = (own, 0.0 if sent else _GIVEN_BACK)

    def block(self, until: float) -> None:
        """Note that nothing may leave before then."""
        self.blocked_until = max(self.blocked_until, until)
        self._untold_block = max(self._untold_block, until)

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
        now = asyncio.get_running_loop().time()
        if now >= self.renew_at:
            self.renew_at = now + self._lease / 3
            self._untold |= {permit: (own, self._lease) for permit, own in self._live.items()}
        permits, block = self._untold.copy(), self._untold_block
        reply = await self._run(wants, now)
        self._untold = {
            name: told for name, told in self._untold.items() if permits.get(name) != told
        }
        if self._untold_block == block:
            self._untold_block = -math.inf
        now = self._heard_at = asyncio.get_running_loop().time()
        if self._born not in {"", reply.born}:
            # It has forgotten. Tell again until when all is blocked, and what is under way.
            self._untold_block = self.blocked_until
            self.renew_at = now
        self._born = reply.born
        until = now + reply.block if reply.block else -math.inf
        self.blocked_until = max(until, self._untold_block)
        return reply

    async def _run(self, wants: Sequence[tuple[Priority, int, str]], now: float) -> Reply:
        memory = self._lease + self.silence  # what is older does not matter any more
        names = "state", "waiting", *(budget.name for budget in self._budgets)
        message = {
            "me": self._me,
            "budgets": [{"limit": b.limit, "window": b.window} for b in self._budgets],
            "reserve": self._reserve,
            "lease": self._lease,
            "silence": self.silence,
            "patience": PATIENCE,
            "grace": min(GRACE, self._budgets[0].window / 50),
            "ttl": 2 * memory,
            "born": self._born if now < self._heard_at + memory else "",
            "block": max(0.0, self._untold_block - now),
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
