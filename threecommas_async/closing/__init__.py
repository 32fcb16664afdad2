"""Closing: what is sent, what is read, and what is told of each position.

Decided here: whether a close may leave, what its answer means for the position, when it is made
again, and when everything stops. Not decided here: how a request travels (`http`), when there is a
slot for it (`rate_limit`), and what the API calls things (`resources`).
"""

from .all import Match, Scope, Sweep
from .confirm import wait_closed, watch
from .lookup import Reader
from .many import CloseBatch
from .one import close_one, error_of, interrupted, is_missing
from .phase import (
    Phase,
    deal_is_closable,
    deal_phase,
    smart_trade_is_cancellable,
    smart_trade_is_closable,
    smart_trade_phase,
)
from .registry import CloseRegistry
from .report import CloseOutcome, CloseReport, CloseState

__all__ = [
    "CloseBatch",
    "CloseOutcome",
    "CloseRegistry",
    "CloseReport",
    "CloseState",
    "Match",
    "Phase",
    "Reader",
    "Scope",
    "Sweep",
    "close_one",
    "deal_is_closable",
    "deal_phase",
    "error_of",
    "interrupted",
    "is_missing",
    "smart_trade_is_cancellable",
    "smart_trade_is_closable",
    "smart_trade_phase",
    "wait_closed",
    "watch",
]
