"""What a status means for closing.

Only the top-level status decides. `closed_at` and `finished` have been seen on open trades
(https://github.com/3commas-io/3commas-official-api-docs/issues/117), and `position.status`
"panic_sell_pending" means a forced entry. No list of codes is documented and no example shows a
trade that closed normally, so codes nobody knows are judged by their wording, with care.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from .models.codes import SmartTradeStatusCode as Code

if TYPE_CHECKING:
    from .models.smart_trade import SmartTrade

__all__ = ["Phase", "smart_trade_is_closable", "smart_trade_phase"]


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


_PHASES: dict[str, Phase] = {
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

_CLOSED_WORDS = ("finished", "finish", "closed", "sold", "completed", "cancelled", "liquidated")
_CLOSING_WORDS = ("pending", "in_progress", "order_placed")


def smart_trade_phase(trade: SmartTrade) -> Phase:
    """Return where a smart trade stands."""
    code = str(trade.status.code)
    known = _PHASES.get(code)
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


def _phase_by_wording(code: str) -> Phase:
    if code.endswith(_CLOSED_WORDS):
        return Phase.CLOSED
    if code.endswith(_CLOSING_WORDS):
        return Phase.CLOSING
    return Phase.UNCLEAR
