"""The limits a server enforces: windows, penalties, bans. Pure; the time is an argument.

The server counts what arrives. It is the judge of the client's limiter, so it shares nothing
with it: a request counts whether or not it is let in, authorised or understood.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .answers import LimitBody

Policy: TypeAlias = Literal["rolling", "fixed"]

LONGEST_BAN = 259_200.0  # three days


class Cause(enum.Enum):
    """Why a request was refused without being looked at."""

    LIMIT = "limit"
    """It was one too many in the window; the penalty starts with it."""
    PENALTY = "penalty"
    """It came while a penalty was running."""
    BLOCK = "block"
    """It came while a block ran that an injected fault had started."""
    BAN = "ban"
    """It came from a banned address, or is the offence that brought the ban."""


@attrs.frozen
class Quota:
    """`requests` per `window` seconds; one more brings a penalty of `penalty` seconds."""

    requests: int = attrs.field(validator=attrs.validators.ge(1))
    window: float = attrs.field(validator=attrs.validators.gt(0))
    penalty: float = attrs.field(validator=attrs.validators.ge(0))


LISTED = Quota(40, 10.0, 10.0)
DEALS = Quota(120, 60.0, 60.0)

ENDPOINT_QUOTAS: Mapping[str, Quota] = {
    "list_smart_trades": LISTED,
    "list_deals": DEALS,
    "get_deal": DEALS,
}
"""The documented limits of single endpoints, by operation."""


@attrs.frozen
class RateLimit:
    """How the sandbox limits its caller. All spans are seconds on the sandbox's clock."""

    requests: int = attrs.field(default=100, validator=attrs.validators.ge(1))
    """Requests that a window holds; all of them count, also unauthorised ones."""
    window: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    penalty: float = attrs.field(default=300.0, validator=attrs.validators.ge(0))
    """How long everything is refused after one request too many."""
    policy: Policy = attrs.field(
        default="rolling", validator=attrs.validators.in_(("rolling", "fixed"))
    )
    """`rolling` counts back from every request; `fixed` windows start with a first request."""
    ban_after: int = attrs.field(default=50, validator=attrs.validators.ge(1))
    """Requests sent into one block after which the address is banned (418).

    The default is lenient: what was in flight when the block began counts as well.
    """
    ban: float = attrs.field(default=120.0, validator=attrs.validators.ge(0))
    """Length of the first ban; every further one is twice as long, up to three days."""
    bodies: tuple[LimitBody, ...] = attrs.field(
        default=("text", "json", "html"),
        validator=(
            attrs.validators.min_len(1),
            attrs.validators.deep_iterable(attrs.validators.in_(("text", "json", "html"))),
        ),
    )
    """Bodies of the 429 answers, taken in turn."""
    retry_after: tuple[LimitBody, ...] = ("html",)
    """Bodies that come with a `Retry-After` header; the HTML page has no other way to tell."""
    endpoints: bool = True
    """Whether the limits of single endpoints (lists, deals) hold as well."""


@attrs.frozen
class Refusal:
    """A request turned away: with which status, why, and until when."""

    status: Literal[418, 429]
    cause: Cause
    until: float


class _Window(Protocol):
    def add(self, now: float) -> int:
        """Count one more request and tell how many the window now holds."""
        ...


class _RollingWindow:
    """Counts the requests of the `span` seconds that end now: after `now - span`, up to `now`."""

    def __init__(self, span: float) -> None:
        self._span = span
        self._arrivals: deque[float] = deque()

    def add(self, now: float) -> int:
        while self._arrivals and self._arrivals[0] <= now - self._span:
            self._arrivals.popleft()
        self._arrivals.append(now)
        return len(self._arrivals)


class _FixedWindow:
    """Counts in windows of `span` seconds, each opened by the first request after the last."""

    def __init__(self, span: float) -> None:
        self._span = span
        self._opened = float("-inf")
        self._count = 0

    def add(self, now: float) -> int:
        if now >= self._opened + self._span:
            self._opened, self._count = now, 0
        self._count += 1
        return self._count


class _Gate:
    """One quota with its window and the penalty that runs."""

    def __init__(self, quota: Quota, policy: Policy) -> None:
        self._quota = quota
        self._window: _Window = (
            _RollingWindow(quota.window) if policy == "rolling" else _FixedWindow(quota.window)
        )
        self.until = float("-inf")

    def arrive(self, now: float) -> Cause | None:
        count = self._window.add(now)
        if now < self.until:
            return Cause.PENALTY
        if count > self._quota.requests:
            self.until = now + self._quota.penalty
            return Cause.LIMIT
        return None


_GRAVITY = (Cause.LIMIT, Cause.PENALTY, Cause.BLOCK)


class Limiter:
    """Decides of every arriving request whether it is looked at. State only, no clock."""

    def __init__(self, limit: RateLimit | None) -> None:
        self._limit = limit
        self._general: _Gate | None = None
        self._endpoints: dict[str, _Gate] = {}
        if limit is not None:
            quota = Quota(limit.requests, limit.window, limit.penalty)
            self._general = _Gate(quota, limit.policy)
            if limit.endpoints:
                self._endpoints = {
                    operation: _Gate(own, limit.policy)
                    for operation, own in ENDPOINT_QUOTAS.items()
                }
        self._blocked_until = self._banned_until = float("-inf")
        self._offences = 0
        self._bans = 0

    def arrive(self, now: float, operation: str = "") -> Refusal | None:
        """Count a request that arrives `now`; the refusal if it is to be turned away."""
        # Every window counts every request, also one that is refused for another reason.
        found = [
            (cause, gate.until)
            for gate in (self._general, self._endpoints.get(operation))
            if gate is not None and (cause := gate.arrive(now)) is not None
        ]
        if now < self._blocked_until:
            found.append((Cause.BLOCK, self._blocked_until))
        if now < self._banned_until:
            return Refusal(418, Cause.BAN, self._banned_until)
        if not found:
            return None
        cause = min((cause for cause, _ in found), key=_GRAVITY.index)
        if self._offends(cause):
            return Refusal(418, Cause.BAN, self._next_ban(now))
        return Refusal(429, cause, max(until for _, until in found))

    def block(self, until: float) -> None:
        """Refuse everything until then, as after somebody else used up the quota."""
        self._blocked_until = max(self._blocked_until, until)

    def ban(self, until: float) -> None:
        """Ban the address until then."""
        self._banned_until = max(self._banned_until, until)

    def _offends(self, cause: Cause) -> bool:
        """Count the request as an offence if it came during a block; True if that is enough."""
        if cause is Cause.LIMIT:
            self._offences = 0
            return False
        self._offences += 1
        return self._limit is not None and self._offences >= self._limit.ban_after

    def _next_ban(self, now: float) -> float:
        length = 0.0 if self._limit is None else self._limit.ban * 2**self._bans
        self._bans += 1
        self._offences = 0
        self.ban(now + min(length, LONGEST_BAN))
        return self._banned_until
