"""The result of closing: one outcome per id, and the report that holds all of them.

Each outcome says what is known about the entity, not merely how its request was answered. What
is not known is reported as UNKNOWN, never as success or failure.
"""

from __future__ import annotations

import copy
from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import field, frozen

from ..errors import InvalidRequestError, OutcomeUnknownError, ThreeCommasError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["CloseOutcome", "CloseReport", "CloseState"]

T_co = TypeVar("T_co", covariant=True)


class CloseState(Enum):
    """What is known about one entity after its close."""

    ACCEPTED = "accepted"
    """The server accepted it: the trade is closing."""
    CLOSED = "closed"
    """A read confirmed that the trade is closed."""
    ALREADY_CLOSED = "already_closed"
    """It was closing or closed before this close was sent."""
    NOT_FOUND = "not_found"
    """No such trade for this key."""
    REJECTED = "rejected"
    """The server refused, and a read shows the trade unchanged. See `error`."""
    FAILED = "failed"
    """Closing ended in failure. Look at the exchange; `error` has the server's text."""
    UNKNOWN = "unknown"
    """It may have been carried out, and no read could show it. Read the trade before a repeat."""
    NOT_SENT = "not_sent"
    """Nothing was carried out for this trade. Safe to close again."""


_SETTLED = frozenset({CloseState.ACCEPTED, CloseState.CLOSED, CloseState.ALREADY_CLOSED})


@frozen
class CloseOutcome(Generic[T_co]):
    """The outcome of one id.

    Attributes:
        trade_id: the id that was passed in.
        state: what is known about the trade.
        trade: the trade or deal as last seen; None if it was never seen.
        error: why it is not closing or closed; None if it is.
        attempts: number of close (or cancel) requests sent for it.
        elapsed: seconds from the start of the call or batch until this was known.
    """

    trade_id: int
    state: CloseState
    trade: T_co | None = field(default=None, repr=False)
    error: ThreeCommasError | None = None
    attempts: int = 0
    elapsed: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the trade is known to be closing or closed."""
        return self.state in _SETTLED


@frozen
class CloseReport(Generic[T_co]):
    """One outcome for every id, in the order in which they were passed in (duplicates once).

    The last three attributes are set by `close_all` only, which takes no ids but lists them.

    Attributes:
        outcomes: the outcomes.
        unlisted: why the final listing, which has to show that nothing closable is left, is
            missing: it failed, or it was not made yet. There may then be open trades without an
            outcome. None once it was made.
        unmatched: set if no open trade passes the filters although others are open; its text names
            those. A mistyped pair must not look like success, so `ok` is then False.
        skipped: active trades that were left unchanged on purpose: those whose entry is not filled
            (NOT_SENT, unless they were to be cancelled), and those that were closing already
            (ALREADY_CLOSED). They do not count in `len`, iteration, `ok` and `leftovers`.
    """

    outcomes: tuple[CloseOutcome[T_co], ...]
    unlisted: ThreeCommasError | None = None
    unmatched: InvalidRequestError | None = None
    skipped: tuple[CloseOutcome[T_co], ...] = ()
    _by_id: Mapping[int, CloseOutcome[T_co]] = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        by_id = {outcome.trade_id: outcome for outcome in self.outcomes}
        object.__setattr__(self, "_by_id", by_id)  # how attrs itself sets a frozen attribute

    def __len__(self) -> int:
        return len(self.outcomes)

    def __iter__(self) -> Iterator[CloseOutcome[T_co]]:
        return iter(self.outcomes)

    def __getitem__(self, trade_id: int) -> CloseOutcome[T_co]:
        """Return the outcome of an id; raise KeyError if it has none."""
        return self._by_id[trade_id]

    def __contains__(self, trade_id: object) -> bool:
        return trade_id in self._by_id

    @property
    def ok(self) -> bool:
        """Whether every trade is known to be closing or closed, and none may have been missed."""
        if self.unlisted is not None or self.unmatched is not None:
            return False
        return all(outcome.ok for outcome in self.outcomes)

    @property
    def counts(self) -> Mapping[CloseState, int]:
        """The number of outcomes in each state; 0 for a state that did not occur."""
        return Counter(outcome.state for outcome in self.outcomes)

    @property
    def leftovers(self) -> tuple[int, ...]:
        """The ids not known to be closing or closed, ready for the next `close_many`."""
        return tuple(outcome.trade_id for outcome in self.outcomes if not outcome.ok)

    def raise_for_failures(self) -> None:
        """Raise the errors of all outcomes that are not `ok`; do nothing if there are none.

        Raises:
            ExceptionGroup: one error for each trade that is not known to be closing or closed, with
                a note that names the trade and its state; `unlisted` and `unmatched` are added.
        """
        errors = [_error_with_note(outcome) for outcome in self.outcomes if not outcome.ok]
        msg = f"{len(errors)} of {len(self)} not known to be closing or closed"
        if self.unlisted is not None:
            errors.append(self.unlisted)
            msg += ", and it is not known whether others are open"
        if self.unmatched is not None:
            errors.append(self.unmatched)
            msg += ", and no open trade passes the filters"
        if errors:
            raise ExceptionGroup(msg, errors)


def _error_with_note(outcome: CloseOutcome[object]) -> ThreeCommasError:
    # Copied because the error that stopped a batch is shared by many outcomes, each with its own
    # note.
    error = copy.copy(outcome.error) if outcome.error else OutcomeUnknownError("no error is known")
    error.__notes__ = list(getattr(error, "__notes__", ()))
    error.__cause__ = outcome.error.__cause__ if outcome.error else None
    error.add_note(f"{outcome.trade_id}: {outcome.state.value}")
    return error
