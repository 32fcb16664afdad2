"""Filter, sort and page lists by the documented parameters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

import attrs

from .answers import RefusalError, invalid
from .lifecycle import ACTIVE, TERMINAL, Phase
from .trades import CODES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from .clock import Clock
    from .deals import Bot, Deal
    from .lifecycle import Lifecycle
    from .markets import Market
    from .trades import SmartTrade

TRADE_GROUPS = {
    "all": frozenset(Phase),
    "active": ACTIVE,
    "finished": TERMINAL,
    "successfully_finish": frozenset({Phase.CLOSED}),
    "cancelled": frozenset({Phase.CANCELLED}),
    "failed": frozenset({Phase.FAILED}),
}
"""Phases by the parameter `status` of the trade list; which belong to which is not documented."""

DEAL_GROUPS = {
    "active": ACTIVE,
    "finished": TERMINAL,
    "completed": frozenset({Phase.CLOSED}),
    "cancelled": frozenset({Phase.CANCELLED}),
    "failed": frozenset({Phase.FAILED}),
}
"""Phases by the parameter `scope` of the deal list."""

_STATUS_RANK = {code: rank for rank, (code, _) in enumerate(sorted(CODES.values()))}
_NEVER = float("-inf")


@attrs.frozen
class Query:
    """Parameters of a list request. Reading an invalid one raises `RefusalError`."""

    values: Mapping[str, str]

    def text(self, name: str) -> str | None:
        """Return a parameter; None if it is absent or empty."""
        return self.values.get(name) or None

    def number(self, name: str, default: int, *, minimum: int = 0) -> int:
        """Return an integer."""
        value = self.text(name)
        if value is None:
            return default
        if not (value.isascii() and value.isdigit()) or int(value) < minimum:
            raise _invalid_parameter(name, f"must be a whole number, {minimum} or more")
        return int(value)

    def choice(self, name: str, default: str, allowed: Collection[str]) -> str:
        """Return one of the allowed values."""
        value = self.text(name) or default
        if value not in allowed:
            raise _invalid_parameter(name, "is not included in the list")
        return value

    def time(self, name: str) -> datetime | None:
        """Return an ISO 8601 time; without an offset it is UTC."""
        value = self.text(name)
        if value is None:
            return None
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            raise _invalid_parameter(name, "is not a date") from None
        return time if time.tzinfo else time.replace(tzinfo=UTC)


def _invalid_parameter(name: str, message: str) -> RefusalError:
    return RefusalError(invalid(400, **{name: message}))


class _Listed(Protocol):
    """The part of trades and deals that lists use."""

    id: int
    market: Market
    lifecycle: Lifecycle
    created_at: float


_T = TypeVar("_T", bound=_Listed)


def select_trades(
    trades: Iterable[SmartTrade], query: Query, now: float, clock: Clock
) -> list[SmartTrade]:
    """Return one page of smart trades."""
    phases = TRADE_GROUPS[query.choice("status", "all", TRADE_GROUPS)]
    account, kind, pair = query.text("account_id"), query.text("type"), query.text("pair")
    found = [
        trade
        for trade in _filtered(trades, query, phases, clock)
        if account in {None, str(trade.account.id)}
        and kind in {None, trade.kind}
        and pair in {None, trade.market.pair}
    ]
    # The default order is that of the real server, with its pitfall: sorted by status, the list
    # shifts between pages while trades close.
    keys: dict[str, Callable[[SmartTrade], float]] = {
        **_TIMES,
        "status": lambda trade: _STATUS_RANK[trade.code],
        "profit": lambda trade: float(trade.profit(now)),
        "profit_percentage": lambda trade: float(trade.profit(now) / trade.entry_total),
    }
    size = min(query.number("per_page", 10, minimum=1), 100)
    first = (query.number("page", 1, minimum=1) - 1) * size
    return _sorted(found, query, keys, "order_by", "status")[first : first + size]


def select_deals(
    deals: Iterable[Deal], bot: Bot, query: Query, now: float, clock: Clock
) -> list[Deal]:
    """Return one page of deals, all of which belong to the bot."""
    phases = frozenset(Phase)
    if query.text("scope"):
        phases = DEAL_GROUPS[query.choice("scope", "", DEAL_GROUPS)]
    account, bot_id = query.text("account_id"), query.text("bot_id")
    if account not in {None, str(bot.account_id)} or bot_id not in {None, str(bot.id)}:
        deals = ()
    found = _filtered(deals, query, phases, clock)
    keys: dict[str, Callable[[Deal], float]] = {
        **_TIMES,
        "profit": lambda deal: float(deal.profit(now)),
        "profit_percentage": lambda deal: float(deal.profit(now) / deal.volume),
    }
    size = min(query.number("limit", 50, minimum=1), 1000)
    first = query.number("offset", 0)
    return _sorted(found, query, keys, "order", "created_at")[first : first + size]


def _changed_at(listed: _Listed) -> float:
    changed_at = listed.lifecycle.changed_at
    return listed.created_at if changed_at is None else changed_at


def _ended_at(listed: _Listed) -> float:
    return _NEVER if listed.lifecycle.ended_at is None else listed.lifecycle.ended_at


_TIMES: dict[str, Callable[[_Listed], float]] = {
    "created_at": lambda listed: listed.created_at,
    "updated_at": _changed_at,
    "closed_at": _ended_at,
}


def _filtered(
    listed: Iterable[_T], query: Query, phases: frozenset[Phase], clock: Clock
) -> list[_T]:
    """Apply the filters that trade and deal lists share."""
    base, quote = query.text("base"), query.text("quote")
    since, until = query.time("from"), query.time("to")
    return [
        one
        for one in listed
        if one.lifecycle.phase in phases
        and base in {None, one.market.base}
        and quote in {None, one.market.quote}
        and (since is None or clock.utc(one.created_at) >= since)
        and (until is None or clock.utc(one.created_at) <= until)
    ]


def _sorted(
    found: list[_T],
    query: Query,
    keys: Mapping[str, Callable[[_T], float]],
    parameter: str,
    default: str,
) -> list[_T]:
    """Sort by the key that the parameter names, then by id, so that the order is deterministic."""
    key = keys[query.choice(parameter, default, keys)]
    descending = query.choice("order_direction", "DESC", ("ASC", "DESC")) == "DESC"
    return sorted(found, key=lambda one: (key(one), one.id), reverse=descending)
