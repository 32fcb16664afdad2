"""Closing: what is sent, what is read, and what is told of each position.

Decided here: whether a close may leave, what its answer means for the position, when it is made
again, and when everything stops. Not decided here: how a request travels (`http`), when there is a
slot for it (`rate_limit`), and what the API calls things (`resources`).
"""

from .all import CloseAll
from .confirm import wait_closed
from .handle import CloseBatch
from .many import CloseMany
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
from .scope import Match, Scope
from .target import Target
from .watch import Watch

__all__ = [
    "CloseAll",
    "CloseBatch",
    "CloseMany",
    "CloseOutcome",
    "CloseRegistry",
    "CloseReport",
    "CloseState",
    "Match",
    "Phase",
    "Scope",
    "Target",
    "Watch",
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
]
