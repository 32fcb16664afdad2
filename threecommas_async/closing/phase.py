"""What a status means for closing.

Only the top-level status decides. `closed_at` and `finished` have been seen on open trades
(https://github.com/3commas-io/3commas-official-api-docs/issues/117), and `position.status`
"panic_sell_pending" means a forced entry. No list of codes is documented. A code that nobody here
knows never means closing or closed, whatever it sounds like: `bought_safety_pending` is an open
position. It is open where the entity's own flag says that it can be sold, else it is unclear.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from ..models.codes import DealStatusCode as DealCode
from ..models.codes import SmartTradeStatusCode as Code
from ..models.codes import TradeStatusCode as TradeCode

if TYPE_CHECKING:
    from ..models.deal import Deal
    from ..models.smart_trade import SmartTrade

__all__ = [
    "Phase",
    "deal_is_closable",
    "deal_phase",
    "smart_trade_is_cancellable",
    "smart_trade_is_closable",
    "smart_trade_phase",
]


class Phase(Enum):
    """Where an entity stands on the way to being closed."""

    NOT_ENTERED = "not entered"
    """No position yet: there is nothing to close, it can be cancelled."""
    OPEN = "open"
    CLOSING = "closing"
    """A close or cancel was accepted and is under way."""
    CLOSED = "closed"
    """Over, one way or another."""
    FAILED = "failed"
    """Over, and something is left to look at on the exchange."""
    UNCLEAR = "unclear"
    """A code that nobody here knows, and no flag that says it can be sold."""


_SMART_TRADE_PHASES: dict[str, Phase] = {
    Code.CREATED: Phase.NOT_ENTERED,
    Code.WAITING_POSITION: Phase.NOT_ENTERED,
    Code.WAITING_TARGETS: Phase.OPEN,
    Code.PENDING_REDUCE_FUNDS: Phase.OPEN,
    Code.PANIC_SELL_PENDING: Phase.CLOSING,
    Code.PANIC_SELL_IN_PROGRESS: Phase.CLOSING,
    Code.STOP_LOSS_IN_PROGRESS: Phase.CLOSING,
    Code.CANCELLATION_PENDING: Phase.CLOSING,
    Code.CANCELLATION_IN_PROGRESS: Phase.CLOSING,
    Code.FINISHED: Phase.CLOSED,
    Code.PANIC_SOLD: Phase.CLOSED,
    Code.STOP_LOSS_FINISHED: Phase.CLOSED,
    Code.CANCELLED: Phase.CLOSED,
    Code.FAILED: Phase.FAILED,
}

_DEAL_PHASES: dict[str, Phase] = {
    DealCode.CREATED: Phase.NOT_ENTERED,
    DealCode.BASE_ORDER_PLACED: Phase.NOT_ENTERED,
    DealCode.BOUGHT: Phase.OPEN,
    # An order of an open position is on its way to the exchange.
    DealCode.BOUGHT_SAFETY_PENDING: Phase.OPEN,
    DealCode.BOUGHT_TAKE_PROFIT_PENDING: Phase.OPEN,
    DealCode.TTP_ACTIVATED: Phase.OPEN,
    # Its take-profit order is on the exchange, or its closing condition is met: open until filled.
    DealCode.TTP_ORDER_PLACED: Phase.OPEN,
    DealCode.CLOSE_STRATEGY_ACTIVATED: Phase.OPEN,
    DealCode.PANIC_SELL_PENDING: Phase.CLOSING,
    DealCode.PANIC_SELL_ORDER_PLACED: Phase.CLOSING,
    DealCode.CANCEL_PENDING: Phase.CLOSING,
    DealCode.STOP_LOSS_PENDING: Phase.CLOSING,
    DealCode.STOP_LOSS_ORDER_PLACED: Phase.CLOSING,
    DealCode.COMPLETED: Phase.CLOSED,
    DealCode.STOP_LOSS_FINISHED: Phase.CLOSED,
    DealCode.PANIC_SOLD: Phase.CLOSED,
    DealCode.CANCELLED: Phase.CLOSED,
    DealCode.LIQUIDATED: Phase.CLOSED,
    DealCode.SETTLED: Phase.CLOSED,
    DealCode.FAILED: Phase.FAILED,
}


def smart_trade_phase(trade: SmartTrade) -> Phase:
    """Return where a smart trade stands."""
    sellable = trade.data.panic_sell_available is True
    code = str(trade.status.code)
    if code == Code.STOP_LOSS_IN_PROGRESS and sellable:
        # A stop of limit type that misses stays like that: the position is there to be closed.
        return Phase.OPEN
    return _SMART_TRADE_PHASES.get(code, Phase.OPEN if sellable else Phase.UNCLEAR)


def smart_trade_is_closable(trade: SmartTrade) -> bool:
    """Return whether a smart trade is open and can be closed at market now."""
    if smart_trade_phase(trade) is not Phase.OPEN:
        return False
    return trade.data.panic_sell_available is not False


def smart_trade_is_cancellable(trade: SmartTrade) -> bool:
    """Return whether a smart trade has no position yet and can be cancelled now.

    One has been seen at `waiting_position` whose entry was finished, with
    `is_position_not_filled` false: what a cancel does to such a position is not known.
    """
    entered = trade.is_position_not_filled is False
    if trade.is_position_not_filled is None:
        entered = trade.position.status.basic_type == TradeCode.FINISHED
    not_entered = smart_trade_phase(trade) is Phase.NOT_ENTERED and not entered
    return not_entered and trade.data.cancel_available is True


def deal_phase(deal: Deal) -> Phase:
    """Return where a deal stands."""
    return _DEAL_PHASES.get(deal.status, Phase.OPEN if deal.panic_sellable else Phase.UNCLEAR)


def deal_is_closable(deal: Deal) -> bool:
    """Return whether a deal is open and can be closed at market now."""
    return deal_phase(deal) is Phase.OPEN and deal.panic_sellable is not False
