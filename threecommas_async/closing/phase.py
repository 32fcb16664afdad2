"""Maps the status codes of the API to phases on the way to being closed.

Only the top-level status decides. `closed_at` and `finished` have been seen on open trades
(https://github.com/3commas-io/3commas-official-api-docs/issues/117), and `position.status`
"panic_sell_pending" means a forced entry. The API documents no list of codes. An unknown code never
counts as closing or closed, whatever its name suggests: `bought_safety_pending` is an open
position. It counts as open if the entity's own flag says that it can be sold, else as unclear.
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
    """There is no position yet, so it can be cancelled but not closed."""
    OPEN = "open"
    CLOSING = "closing"
    """A close or cancel was accepted and is under way."""
    CLOSED = "closed"
    """The position is closed, or was cancelled."""
    FAILED = "failed"
    """It ended in failure; something may be left on the exchange."""
    UNCLEAR = "unclear"
    """The code is unknown, and no flag says that the position can be sold."""

    @property
    def is_final(self) -> bool:
        """Whether it stays as it is."""
        return self in {Phase.CLOSED, Phase.FAILED}

    @property
    def is_ending(self) -> bool:
        """Whether it is closing, or final."""
        return self is Phase.CLOSING or self.is_final


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
    # An order of the open position is being placed on the exchange.
    DealCode.BOUGHT_SAFETY_PENDING: Phase.OPEN,
    DealCode.BOUGHT_TAKE_PROFIT_PENDING: Phase.OPEN,
    DealCode.TTP_ACTIVATED: Phase.OPEN,
    # The take-profit order is placed, or the closing condition is met: open until it is filled.
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
    """Return the phase of a smart trade."""
    sellable = trade.data.panic_sell_available is True
    code = str(trade.status.code)
    if code == Code.STOP_LOSS_IN_PROGRESS and sellable:
        # A limit stop that was not filled keeps this status, and the position can still be closed.
        return Phase.OPEN
    return _SMART_TRADE_PHASES.get(code, Phase.OPEN if sellable else Phase.UNCLEAR)


def smart_trade_is_closable(trade: SmartTrade) -> bool:
    """Return whether a smart trade is open and can be closed at market now."""
    if smart_trade_phase(trade) is not Phase.OPEN:
        return False
    return trade.data.panic_sell_available is not False


def smart_trade_is_cancellable(trade: SmartTrade) -> bool:
    """Return whether a smart trade has no position yet and can be cancelled now.

    The status alone is not enough: a trade has been seen at `waiting_position` whose entry was
    filled (`is_position_not_filled` was false). What a cancel does to a position is not documented.
    """
    entered = trade.is_position_not_filled is False
    if trade.is_position_not_filled is None:
        entered = trade.position.status.basic_type == TradeCode.FINISHED
    not_entered = smart_trade_phase(trade) is Phase.NOT_ENTERED and not entered
    return not_entered and trade.data.cancel_available is True


def deal_phase(deal: Deal) -> Phase:
    """Return the phase of a deal."""
    return _DEAL_PHASES.get(deal.status, Phase.OPEN if deal.panic_sellable else Phase.UNCLEAR)


def deal_is_closable(deal: Deal) -> bool:
    """Return whether a deal is open and can be closed at market now."""
    return deal_phase(deal) is Phase.OPEN and deal.panic_sellable is not False
