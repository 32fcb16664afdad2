"""Closing positions, each exactly once.

This package decides whether a close may be sent, what its answer means for the position, when it is
repeated, and when a whole batch stops. It does not know how a request is sent (`http`), when the
rate limit has a slot for it (`rate_limit`), or the endpoints of the API (`resources`).

`one` closes one entity, `many` a list of ids, `all` whatever a listing shows (sorted in `scope`),
`bulk` the deals of a bot with one request. `registry` keeps closes of the same entity apart,
`turnstile` lets a few begin at a time. `lookup`, `confirm` and `watch` read entities. `target` is
what has to be known of a kind of entity, `phase` where one stands. `handle` is what the caller
gets, and `report` what the caller learns.
"""

from .all import CloseAll
from .confirm import wait_closed
from .handle import CloseBatch
from .many import CloseMany
from .one import close_one, error_to_raise, interrupted_outcome, is_not_found
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
    "error_to_raise",
    "interrupted_outcome",
    "is_not_found",
    "smart_trade_is_cancellable",
    "smart_trade_is_closable",
    "smart_trade_phase",
    "wait_closed",
]
