"""Serialize smart trades as in the documented examples.

https://developers.3commas.io/smart-trades/smart-trade-entity
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from .lifecycle import TERMINAL, Phase
from .markets import rounded, text
from .trades import CODES, FEE, WITH_PROFIT

if TYPE_CHECKING:
    from .answers import JSON
    from .clock import Clock
    from .trades import SmartTrade

FAILURE = "The exchange refused the order: insufficient balance"

_NOT_OVER = frozenset({"force_process_available"})
_FLAGS = {
    Phase.PENDING: _NOT_OVER
    | {"editable", "add_funds_available", "force_start_available", "cancel_available"},
    Phase.OPEN: _NOT_OVER
    | {"editable", "panic_sell_available", "cancel_available"}
    | {"add_funds_available", "reduce_funds_available"},
    Phase.CLOSING: _NOT_OVER,
    Phase.SELLING: _NOT_OVER,
    Phase.CANCELLING: _NOT_OVER,
    # Over but not `finished`, as in all recorded answers with these states.
    Phase.CLOSED: frozenset[str](),
    Phase.CANCELLED: frozenset[str](),
    Phase.FAILED: frozenset[str](),
}
"""The flags in `data` that are true in a phase."""


def smart_trade_json(trade: SmartTrade, now: float, clock: Clock) -> dict[str, JSON]:
    """Return the current state of a trade."""
    return {
        "id": trade.id,
        "version": 2,
        "account": trade.account.as_json(),
        "pair": trade.market.pair,
        "instant": False,
        "status": _trade_status(trade),
        "leverage": {"enabled": False},
        "position": _position(trade),
        "take_profit": _take_profit(trade),
        "stop_loss": _stop_loss(trade),
        "reduce_funds": {"steps": []},
        "market_close": _market_close(trade, now),
        "note": trade.note,
        "note_raw": trade.note or None,
        "skip_enter_step": False,
        "data": _data(trade, now, clock),
        "profit": _profit(trade, now),
        "margin": {"amount": None, "total": None},
        "is_position_not_filled": not trade.entered,
    }


def inner_trades_json(trade: SmartTrade, clock: Clock) -> list[JSON]:
    """Return the trades of a smart trade: its entry, and its take-profit targets if any."""
    entered = trade.entry_total if trade.entered else Decimal(0)
    trades: list[JSON] = [
        _inner_trade(
            trade,
            clock,
            id=trade.id * 10,
            order_side=trade.side,
            order_type=trade.order_type,
            trade_purpose="position",
            status="finished" if trade.entered else "order_placed",
            initial_price=text(trade.price),
            realised_amount=text(trade.units if trade.entered else Decimal(0)),
            realised_total=text(entered),
            realised_percentage="100.0" if trade.entered else "0.0",
            realised_price=text(trade.price) if trade.entered else None,
            average_price=text(trade.price) if trade.entered else None,
        )
    ]
    for number in _targets(trade):
        price = _target_price(trade, number)
        trades.append(
            _inner_trade(
                trade,
                clock,
                id=trade.id * 10 + number,
                order_side="sell" if trade.side == "buy" else "buy",
                order_type="limit",
                trade_purpose="take_profit",
                status="order_placed",
                initial_price=text(price),
                order_price=text(price),
                position_percentage=text(_step_percentage(trade)),
                cancelable=True,
                force_processable=True,
            )
        )
    return trades


def _status_json(code: str, title: str) -> dict[str, JSON]:
    return {"type": code, "basic_type": code, "title": title}


def _trade_status(trade: SmartTrade) -> dict[str, JSON]:
    status = _status_json(*CODES[trade.lifecycle.phase])
    if trade.lifecycle.phase is Phase.FAILED:
        status["error"] = FAILURE
    return status


def _position(trade: SmartTrade) -> dict[str, JSON]:
    editable = trade.lifecycle.phase is Phase.PENDING
    position: dict[str, JSON] = {
        "type": trade.side,
        "editable": False,
        "units": {"value": text(trade.units), "editable": False},
        "price": {
            "value": text(trade.entry_price),
            "value_without_commission": text(trade.price),
            "editable": editable,
        },
        "total": {"value": text(trade.entry_total)},
        "order_type": trade.order_type,
        "status": _status_json("finished", "Finished")
        if trade.entered
        else _status_json("order_placed", "Placed"),
    }
    if trade.order_type == "conditional":
        position["conditional"] = {
            "editable": False,
            "price": {"value": text(trade.price), "type": "bid"},
            "order_type": "limit",
            "trailing": {"enabled": False, "percent": None},
        }
    return position


def _targets(trade: SmartTrade) -> range:
    """Return the numbers of the take-profit steps; none after a cancellation or failure.

    The API's examples omit the steps in these states.
    """
    gone = trade.lifecycle.phase in {Phase.CANCELLED, Phase.FAILED}
    return range(1, 1 if gone else trade.targets + 1)


def _target_price(trade: SmartTrade, number: int) -> Decimal:
    step = Decimal("0.1") * number
    return rounded(trade.price * (1 + step if trade.side == "buy" else 1 - step))


def _step_percentage(trade: SmartTrade) -> Decimal:
    """Return the percentage of the position that each take-profit step closes."""
    return Decimal(100) / trade.targets


def _take_profit(trade: SmartTrade) -> dict[str, JSON]:
    if not trade.entered:
        status = _status_json("idle", "Pending")
    elif trade.lifecycle.phase is Phase.CLOSED:
        status = _status_json("cancelled", "Cancelled")
    else:
        status = _status_json("order_placed", "Placed")
    placed = trade.entered and trade.lifecycle.phase is not Phase.CLOSED
    steps: list[JSON] = []
    for number in _targets(trade):
        price, units = _target_price(trade, number), trade.units / trade.targets
        steps.append(
            {
                "id": trade.id * 10 + number,
                "order_type": "limit",
                "editable": trade.lifecycle.phase not in TERMINAL,
                "units": {"value": text(units) if trade.entered else None},
                "price": {"type": "last", "value": text(price), "percent": None},
                "volume": text(_step_percentage(trade)),
                "total": text(units * price) if trade.entered else None,
                "trailing": {"enabled": False, "percent": None},
                "status": status,
                "closed_at": None,
                "data": {"cancelable": True, "panic_sell_available": placed},
                "position": number,
            }
        )
    return {"enabled": trade.targets > 0, "price_type": "value", "steps": steps}


def _stop_loss(trade: SmartTrade) -> dict[str, JSON]:
    if not trade.stop_loss or trade.lifecycle.phase is Phase.CANCELLED:
        return {"enabled": False}
    level = rounded(trade.price * Decimal("0.9" if trade.side == "buy" else "1.1"))
    return {
        "enabled": True,
        "price_type": "value",
        "breakeven": False,
        "order_type": "market",
        "editable": True,
        "price": {"value": None, "percent": None},
        "conditional": {
            "price": {"value": text(level), "type": "last", "percent": None},
            "trailing": {"enabled": False, "percent": None},
        },
        "timeout": {"enabled": False, "value": None},
        "status": _status_json("to_process" if trade.entered else "idle", "Pending"),
    }


def _market_close(trade: SmartTrade, now: float) -> dict[str, JSON]:
    """Return the market close: an empty object until it has completed."""
    if trade.lifecycle.phase is not Phase.CLOSED:
        return {}
    price = trade.exit_price(now)
    return {
        "id": trade.id * 10 + 9,
        "type": "market",
        "status": _status_json("panic_sold", "Closed at Market Price"),
        "units": {"value": text(trade.units)},
        "price": {"value": text(price), "value_without_commission": text(trade.last(now))},
        "total": {"value": text(trade.units * price)},
    }


def _data(trade: SmartTrade, now: float, clock: Clock) -> dict[str, JSON]:
    flags, closed = _FLAGS[trade.lifecycle.phase], trade.lifecycle.phase is Phase.CLOSED
    exit_price = trade.exit_price(now)
    changed_at = trade.lifecycle.changed_at
    data: dict[str, JSON] = {
        "editable": "editable" in flags,
        "current_price": trade.market.ticker(now).as_json(),
        "target_price_type": "price",
        "orderbook_price_currency": trade.market.quote,
        "base_order_finished": True,  # even before the entry, as in all examples
        "missing_funds_to_close": "0.0",
        "liquidation_price": None,
        "average_enter_price": text(trade.entry_price) if trade.entered else None,
        "average_close_price": text(exit_price) if closed else None,
        "average_enter_price_without_commission": text(trade.price) if trade.entered else None,
        "average_close_price_without_commission": text(trade.last(now)) if closed else None,
        "panic_sell_available": "panic_sell_available" in flags,
        "add_funds_available": "add_funds_available" in flags,
        "reduce_funds_available": "reduce_funds_available" in flags,
        "force_start_available": "force_start_available" in flags,
        "force_process_available": "force_process_available" in flags,
        "cancel_available": "cancel_available" in flags,
        "finished": False,  # true only after a target or the stop loss
        "base_position_step_finished": trade.entered,
        "entered_amount": text(trade.units) if trade.entered else "0.0",
        "entered_total": text(trade.entry_total) if trade.entered else "0.0",
        "closed_amount": text(trade.units) if closed else "0.0",
        "closed_total": text(trade.units * exit_price) if closed else "0.0",
        # A number or a string: the API has been seen to send both.
        "commission": float(FEE) if trade.id % 2 else text(FEE),
        "created_at": clock.iso(trade.created_at),
        "updated_at": clock.iso(trade.created_at if changed_at is None else changed_at),
        "type": trade.kind,
    }
    if trade.lifecycle.ended_at is not None:
        data["closed_at"] = clock.iso(trade.lifecycle.ended_at)
    return data


def _profit(trade: SmartTrade, now: float) -> dict[str, JSON]:
    if trade.lifecycle.phase not in WITH_PROFIT:
        return {"volume": None, "usd": None, "percent": "0.0", "roe": None}
    profit = trade.profit(now)
    return {
        "volume": text(profit),
        "usd": text(rounded(profit * trade.market.usd)),
        "percent": text((profit / trade.entry_total * 100).quantize(Decimal("0.01"))),
        "roe": None,
    }


def _inner_trade(trade: SmartTrade, clock: Clock, **fields: JSON) -> dict[str, JSON]:
    """Return one trade of a smart trade; `fields` override those of an unfilled order."""
    return {
        "average_price": None,
        "follow_price_type": "last",
        "initial_amount": text(trade.units),
        "initial_total": text(trade.units * trade.price),
        "order_price": None,
        "pair": trade.market.pair,
        "position_percentage": None,
        "realised_amount": "0.0",
        "realised_total": None,
        "take_profit_percentage": None,
        "trail_percentage": None,
        "trail_value": None,
        "trailing_enabled": False,
        "trailing_last_price": None,
        "trailing_last_price_updated_at": None,
        "trigger_condition": None,
        "trigger_price": None,
        "trigger_price_percentage": None,
        "trigger_type": "none",
        "created_at": clock.iso(trade.created_at),
        "updated_at": clock.iso(trade.created_at),
        "realised_percentage": "0.0",
        "realised_price": None,
        "cancelable": False,
        "force_processable": False,
        **fields,
    }
