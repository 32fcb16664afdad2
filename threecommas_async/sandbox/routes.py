"""The operations of the sandbox: paths, permissions and handlers.

A handler is a synchronous function from the exchange and a call to an answer.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Literal, TypeAlias, cast
from urllib.parse import parse_qsl

import attrs

from .answers import Answer, RefusalError, error, invalid, ok
from .deals import bot_json, deal_detail_json, deal_json
from .exchange import as_of
from .listing import Query, select_deals, select_trades
from .trade_json import inner_trades_json, smart_trade_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .answers import JSON
    from .deals import Deal
    from .exchange import Exchange
    from .trades import SmartTrade

PREFIX = "/public/api"

Permission: TypeAlias = Literal[
    "SMART_TRADES_READ",
    "SMART_TRADES_WRITE",
    "BOTS_READ",
    "BOTS_WRITE",
    "ACCOUNTS_READ",
    "ACCOUNTS_WRITE",
]


@attrs.frozen(kw_only=True)
class Call:
    """The part of a request that handlers use."""

    id: int | None
    """The id in the path; None if there is none or it is not a number."""
    query: str
    body: bytes
    now: float
    as_of: float
    """Time whose state a read shows: `now`, or earlier if reads lag."""

    @property
    def parameters(self) -> dict[str, str]:
        """Parameters of query and body; the query takes precedence."""
        return {**_body_parameters(self.body), **dict(parse_qsl(self.query))}


Handler: TypeAlias = "Callable[[Exchange, Call], Answer]"


def _compiled(route: Route) -> re.Pattern[str]:
    return re.compile(PREFIX + re.escape(route.path).replace(r"\{id\}", "([^/]+)"))


@attrs.frozen
class Route:
    """One operation: its path, its required permission and its handler."""

    method: str
    path: str
    operation: str
    """Name in the API description."""
    permission: Permission | None
    handler: Handler
    closes: bool = attrs.field(default=False, kw_only=True)
    """Whether it closes at market."""
    pattern: re.Pattern[str] = attrs.field(
        init=False, repr=False, default=attrs.Factory(_compiled, takes_self=True)
    )


def match(method: str, path: str) -> tuple[Route | None, int | None]:
    """Return the operation at a path, and the id in the path."""
    for route in ROUTES:
        found = route.pattern.fullmatch(path)
        if found is not None and route.method == method:
            return route, _id(found.group(1)) if found.groups() else None
    return None, None


def _id(raw: str) -> int | None:
    return int(raw) if raw.isascii() and raw.isdigit() else None


def _body_parameters(body: bytes) -> Mapping[str, str]:
    """Parse a body as JSON, else as a form; keep the string values."""
    text = body.decode(errors="replace")
    try:
        values: object = json.loads(text)
    except ValueError:
        return dict(parse_qsl(text))
    if not isinstance(values, dict):
        return {}
    known = cast("dict[str, object]", values)
    return {name: value for name, value in known.items() if isinstance(value, str)}


def validate(_exchange: Exchange, _call: Call) -> Answer:
    """Confirm the credentials; they were checked before this is called."""
    return ok({"valid": True})


def change_mode(_exchange: Exchange, call: Call) -> Answer:
    """Switch between real and paper trading; without effect in the sandbox."""
    mode = call.parameters.get("mode")
    if mode not in {"real", "paper"}:
        return invalid(400, mode="is not included in the list")
    return ok({"mode": mode}, status=201)


def list_smart_trades(exchange: Exchange, call: Call) -> Answer:
    """List one page of smart trades."""
    exchange.advance(call.now)
    query = Query(call.parameters)
    trades = [as_of(trade, call.as_of) for trade in exchange.trades.values()]
    page = select_trades(trades, query, call.now, exchange.clock)
    return ok([smart_trade_json(trade, call.now, exchange.clock) for trade in page])


def get_smart_trade(exchange: Exchange, call: Call) -> Answer:
    """Show a smart trade."""
    trade = as_of(_trade(exchange, call, missing=400), call.as_of)
    return ok(smart_trade_json(trade, call.now, exchange.clock))


def cancel_smart_trade(exchange: Exchange, call: Call) -> Answer:
    """Start to cancel a smart trade."""
    trade = _trade(exchange, call, missing=400)
    if not trade.lifecycle.cancel(call.now):
        return invalid(422, base=f"Cannot be cancelled in status {trade.code}")
    return ok(smart_trade_json(trade, call.now, exchange.clock))


def close_smart_trade(exchange: Exchange, call: Call) -> Answer:
    """Start to close a smart trade at market."""
    trade = _trade(exchange, call, missing=404)
    if not trade.lifecycle.close(call.now):
        return invalid(422, base=f"Cannot be closed in status {trade.code}")
    return ok(smart_trade_json(trade, call.now, exchange.clock), status=201, applied=(trade.id,))


def set_note(exchange: Exchange, call: Call) -> Answer:
    """Set the note of a smart trade."""
    trade = _trade(exchange, call, missing=404)
    note = call.parameters.get("note")
    if note is None:
        return invalid(400, note="is missing")
    trade.note = note
    return ok(smart_trade_json(trade, call.now, exchange.clock), status=201)


def list_trades_of_smart_trade(exchange: Exchange, call: Call) -> Answer:
    """List the trades of a smart trade."""
    trade = as_of(_trade(exchange, call, missing=404), call.as_of)
    return ok(inner_trades_json(trade, exchange.clock))


def list_deals(exchange: Exchange, call: Call) -> Answer:
    """List one page of deals."""
    exchange.advance(call.now)
    query, clock = Query(call.parameters), exchange.clock
    deals = [as_of(deal, call.as_of) for deal in exchange.deals.values()]
    page = select_deals(deals, exchange.bot, query, call.now, clock)
    return ok([deal_json(deal, exchange.bot, call.now, clock) for deal in page])


def get_deal(exchange: Exchange, call: Call) -> Answer:
    """Show a deal."""
    deal = as_of(_deal(exchange, call), call.as_of)
    return ok(deal_detail_json(deal, exchange.bot, call.now, exchange.clock))


def panic_sell_deal(exchange: Exchange, call: Call) -> Answer:
    """Start to close a deal at market."""
    deal = _deal(exchange, call)
    if not deal.lifecycle.close(call.now):
        return invalid(422, base=f"Cannot be closed in status {deal.code}")
    body = deal_detail_json(deal, exchange.bot, call.now, exchange.clock)
    return ok(body, status=201, applied=(deal.id,))


def get_bot(exchange: Exchange, call: Call) -> Answer:
    """Show the bot with its open deals."""
    return ok(_bot(exchange, call))


def panic_sell_all_deals(exchange: Exchange, call: Call) -> Answer:
    """Start to close every deal of the bot at market, and disable the bot."""
    _bot(exchange, call)
    closed = tuple(deal.id for deal in exchange.deals.values() if deal.lifecycle.close(call.now))
    exchange.bot.is_enabled = False
    return ok(_bot(exchange, call), status=201, applied=closed)


def _trade(exchange: Exchange, call: Call, *, missing: int) -> SmartTrade:
    trade = exchange.trades.get(call.id or 0)
    if trade is None:
        raise RefusalError(error(missing, "Not found", "Smart Trade not found"))
    trade.lifecycle.advance(call.now)
    return trade


def _deal(exchange: Exchange, call: Call) -> Deal:
    deal = exchange.deals.get(call.id or 0)
    if deal is None:
        raise RefusalError(error(404, "not_found", "Not Found"))
    deal.lifecycle.advance(call.now)
    return deal


def _bot(exchange: Exchange, call: Call) -> dict[str, JSON]:
    if call.id != exchange.bot.id:
        raise RefusalError(error(404, "not_found", "Not Found"))
    exchange.advance(call.now)
    deals = [as_of(deal, call.as_of) for deal in exchange.deals.values()]
    return bot_json(exchange.bot, deals, call.now, exchange.clock)


def answer_of_another(exchange: Exchange, route: Route, call: Call) -> Answer | None:
    """Return the answer to the same call for another trade or deal; None if there is no other.

    A call with side effects is not executed: the other trade or deal is only shown.
    """
    show = get_smart_trade if call.id in exchange.trades else get_deal
    ids = list(exchange.trades if call.id in exchange.trades else exchange.deals)
    if call.id not in ids or len(ids) == 1:
        return None
    another = attrs.evolve(call, id=ids[ids.index(call.id) - 1])
    if route.method == "GET":
        return route.handler(exchange, another)
    return attrs.evolve(show(exchange, another), status=201 if route.method == "POST" else 200)


ROUTES = (
    Route("GET", "/ver1/validate", "validate_credentials", None, validate),
    Route("POST", "/ver1/users/change_mode", "change_user_mode", None, change_mode),
    Route("GET", "/v2/smart_trades", "list_smart_trades", "SMART_TRADES_READ", list_smart_trades),
    Route("GET", "/v2/smart_trades/{id}", "get_smart_trade", "SMART_TRADES_READ", get_smart_trade),
    Route(
        "DELETE",
        "/v2/smart_trades/{id}",
        "cancel_smart_trade",
        "SMART_TRADES_WRITE",
        cancel_smart_trade,
    ),
    Route(
        "POST",
        "/v2/smart_trades/{id}/close_by_market",
        "close_smart_trade_by_market",
        "SMART_TRADES_WRITE",
        close_smart_trade,
        closes=True,
    ),
    Route(
        "POST",
        "/v2/smart_trades/{id}/set_note",
        "set_smart_trade_note",
        "SMART_TRADES_WRITE",
        set_note,
    ),
    Route(
        "GET",
        "/v2/smart_trades/{id}/trades",
        "list_smart_trade_trades",
        "SMART_TRADES_READ",
        list_trades_of_smart_trade,
    ),
    Route("GET", "/ver1/deals", "list_deals", "BOTS_READ", list_deals),
    Route("GET", "/ver1/deals/{id}/show", "get_deal", "BOTS_READ", get_deal),
    Route(
        "POST",
        "/ver1/deals/{id}/panic_sell",
        "panic_sell_deal",
        "BOTS_WRITE",
        panic_sell_deal,
        closes=True,
    ),
    Route("GET", "/ver1/bots/{id}/show", "get_dca_bot", "BOTS_READ", get_bot),
    Route(
        "POST",
        "/ver1/bots/{id}/panic_sell_all_deals",
        "panic_sell_all_dca_bot_deals",
        "BOTS_WRITE",
        panic_sell_all_deals,
        closes=True,
    ),
)
"""All operations of the sandbox."""
