"""What a status means for closing.

Only the top-level status decides. `closed_at` and `finished` have been seen on open trades
(https://github.com/3commas-io/3commas-official-api-docs/issues/117), and `position.status`
"panic_sell_pending" means a forced entry. No list of codes is documented and no example shows a
trade that closed normally, so codes nobody knows are judged by their wording, with care.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from .models.codes import DealStatusCode as DealCode
from .models.codes import SmartTradeStatusCode as Code

if TYPE_CHECKING:
    from .models.deal import Deal
    from .models.smart_trade import SmartTrade

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
    """A code nobody knows, and nothing in it to go by."""


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
    DealCode.BASE_ORDER_PLACED: Phase.NOT_ENTERED,
    DealCode.BOUGHT: Phase.OPEN,
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

_CLOSED_WORDS = frozenset(
    {"finished", "finish", "closed", "sold", "completed", "cancelled", "liquidated"}
)
_CLOSING_WORDS = ("pending", "in_progress", "order_placed")


def smart_trade_phase(trade: SmartTrade) -> Phase:
    """Return where a smart trade stands."""
    code = str(trade.status.code)
    known = _SMART_TRADE_PHASES.get(code)
    if known is not None:
        return known
    if trade.data.panic_sell_available:
        return Phase.OPEN
    return _phase_by_wording(code)


def smart_trade_is_closable(trade: SmartTrade) -> bool:
    """Tell whether a smart trade is open and can be closed at market now."""
    if smart_trade_phase(trade) is not Phase.OPEN:
        return False
    return trade.data.panic_sell_available is not False


def smart_trade_is_cancellable(trade: SmartTrade) -> bool:
    """Tell whether a smart trade has no position yet and can be cancelled now."""
    not_entered = smart_trade_phase(trade) is Phase.NOT_ENTERED
    return not_entered and trade.data.cancel_available is True


def deal_phase(deal: Deal) -> Phase:
    """Return where a deal stands."""
    known = _DEAL_PHASES.get(deal.status)
    if known is not None:
        return known
    return Phase.OPEN if deal.panic_sellable else _phase_by_wording(deal.status)


def deal_is_closable(deal: Deal) -> bool:
    """Tell whether a deal is open and can be closed at market now."""
    return deal_phase(deal) is Phase.OPEN and deal.panic_sellable is not False


def _phase_by_wording(code: str) -> Phase:
    words = code.split("_")
    if words[-1] in _CLOSED_WORDS and "partially" not in words:
        return Phase.CLOSED
    if code.endswith(_CLOSING_WORDS):
        return Phase.CLOSING
    return Phase.UNCLEAR
