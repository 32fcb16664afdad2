"""Rate limits as the server enforces them: windows, penalties, bans. Pure: time is an argument.

Every request that arrives counts, whether or not it is refused, authorized or understood. No code
is shared with the client's limiter, because this checks it.

https://developers.3commas.io/general-information/limits
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

MAX_BAN = 259_200.0
"""Maximum seconds of a ban: three days."""


class Cause(enum.Enum):
    """Why a request was refused before being authorized."""

    LIMIT = "limit"
    """It exceeded the limit of the window; the penalty starts with it."""
    PENALTY = "penalty"
    """It arrived during a penalty."""
    BLOCK = "block"
    """It arrived during a block started by an injected fault."""
    BAN = "ban"
    """It arrived during a ban, or caused one."""


@attrs.frozen
class Quota:
    """`requests` per `window` seconds; exceeding it costs a penalty of `penalty` seconds."""

    requests: int = attrs.field(validator=attrs.validators.ge(1))
    window: float = attrs.field(validator=attrs.validators.gt(0))
    penalty: float = attrs.field(validator=attrs.validators.ge(0))


TRADE_LIST_QUOTA = Quota(40, 10.0, 10.0)
DEAL_QUOTA = Quota(120, 60.0, 60.0)

ENDPOINT_QUOTAS: Mapping[str, Quota] = {
    "list_smart_trades": TRADE_LIST_QUOTA,
    "list_deals": DEAL_QUOTA,
    "get_deal": DEAL_QUOTA,
}
"""Documented limits of single endpoints, by operation.

https://developers.3commas.io/general-information/limits
"""


@attrs.frozen
class RateLimit:
    """Limits that the sandbox enforces. Durations are seconds on the sandbox's clock."""

    requests: int = attrs.field(default=100, validator=attrs.validators.ge(1))
    """Maximum requests per window; all requests count, including unauthorized ones."""
    window: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    penalty: float = attrs.field(default=300.0, validator=attrs.validators.ge(0))
    """Seconds for which all requests are refused after the limit was exceeded."""
    policy: Policy = attrs.field(
        default="rolling", validator=attrs.validators.in_(("rolling", "fixed"))
    )
    """`rolling`: the window ends at each request; `fixed`: it starts with the first request."""
    ban_after: int = attrs.field(default=50, validator=attrs.validators.ge(1))
    """Number of requests during one penalty or block after which the address is banned (418).

    The default is lenient, because requests in flight when the block starts count, too.
    """
    ban: float = attrs.field(default=120.0, validator=attrs.validators.ge(0))
    """Seconds of the first ban; each further one is twice as long, up to three days."""
    bodies: tuple[LimitBody, ...] = attrs.field(
        default=("text", "json", "html"),
        validator=(
            attrs.validators.min_len(1),
            attrs.validators.deep_iterable(attrs.validators.in_(("text", "json", "html"))),
        ),
    )
    """Bodies of the 429 answers, taken in turn."""
    retry_after: tuple[LimitBody, ...] = ("html",)
    """Bodies sent with a `Retry-After` header; the HTML page does not show the time otherwise."""
    endpoints: bool = True
    """Whether the limits of single endpoints (lists, deals) are enforced as well."""


@attrs.frozen
class Refusal:
    """Refusal of a request: its status, its cause, and the time it ends."""

    status: Literal[418, 429]
    cause: Cause
    until: float


class _Window(Protocol):
    def add(self, now: float) -> int:
        """Count one more request; return the number in the window."""
        ...


class _RollingWindow:
    """Counts the requests after `now - span`, up to and including `now`."""

    def __init__(self, span: float) -> None:
        self._span = span
        self._arrivals: deque[float] = deque()

    def add(self, now: float) -> int:
        while self._arrivals and self._arrivals[0] <= now - self._span:
            self._arrivals.popleft()
        self._arrivals.append(now)
        return len(self._arrivals)


class _FixedWindow:
    """Counts in windows of `span` seconds; the first request after one ends starts the next."""

    def __init__(self, span: float) -> None:
        self._span = span
        self._started_at = float("-inf")
        self._count = 0

    def add(self, now: float) -> int:
        if now >= self._started_at + self._span:
            self._started_at, self._count = now, 0
        self._count += 1
        return self._count


class _QuotaState:
    """A quota with its window and its current penalty."""

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


_SEVERITY = (Cause.LIMIT, Cause.PENALTY, Cause.BLOCK)


class Limiter:
    """Decides whether an arriving request is refused. It has state but no clock."""

    def __init__(self, limit: RateLimit | None) -> None:
        self._limit = limit
        self._general: _QuotaState | None = None
        self._endpoints: dict[str, _QuotaState] = {}
        if limit is not None:
            quota = Quota(limit.requests, limit.window, limit.penalty)
            self._general = _QuotaState(quota, limit.policy)
            if limit.endpoints:
                self._endpoints = {
                    operation: _QuotaState(own, limit.policy)
                    for operation, own in ENDPOINT_QUOTAS.items()
                }
        self._blocked_until = self._banned_until = float("-inf")
        self._offences = 0
        self._bans = 0

    def arrive(self, now: float, operation: str = "") -> Refusal | None:
        """Count a request that arrives `now`; return the refusal if it is refused."""
        # Every window counts the request, even if it is refused for another reason.
        refusals = [
            (cause, state.until)
            for state in (self._general, self._endpoints.get(operation))
            if state is not None and (cause := state.arrive(now)) is not None
        ]
        if now < self._blocked_until:
            refusals.append((Cause.BLOCK, self._blocked_until))
        if now < self._banned_until:
            return Refusal(418, Cause.BAN, self._banned_until)
        if not refusals:
            return None
        cause = min((cause for cause, _ in refusals), key=_SEVERITY.index)
        if self._count_offence(cause):
            return Refusal(418, Cause.BAN, self._next_ban(now))
        return Refusal(429, cause, max(until for _, until in refusals))

    def block(self, until: float) -> None:
        """Refuse all requests until then, as if another client had used up the limit."""
        self._blocked_until = max(self._blocked_until, until)

    def ban(self, until: float) -> None:
        """Ban the address until then."""
        self._banned_until = max(self._banned_until, until)

    def _count_offence(self, cause: Cause) -> bool:
        """Count a request during a penalty or block; return whether it causes a ban."""
        if cause is Cause.LIMIT:
            self._offences = 0
            return False
        self._offences += 1
        return self._limit is not None and self._offences >= self._limit.ban_after

    def _next_ban(self, now: float) -> float:
        length = 0.0 if self._limit is None else self._limit.ban * 2**self._bans
        self._bans += 1
        self._offences = 0
        self.ban(now + min(length, MAX_BAN))
        return self._banned_until
