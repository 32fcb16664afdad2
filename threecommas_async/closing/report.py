"""The true answer for every id: what became of it, and what to do next."""

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
    """What became of one close."""

    ACCEPTED = "accepted"
    """The server accepted it: the trade is closing."""
    CLOSED = "closed"
    """A read confirmed that the trade is closed."""
    ALREADY_CLOSED = "already_closed"
    """It was closing or closed before this close came."""
    NOT_FOUND = "not_found"
    """No such trade for this key."""
    REJECTED = "rejected"
    """The server refused, and a read shows the trade as it was. See `error`."""
    FAILED = "failed"
    """Closing ended in failure. Look at the exchange; `error` has the server's text."""
    UNKNOWN = "unknown"
    """It may have happened, and no read could tell. Read the trade before anything else."""
    NOT_SENT = "not_sent"
    """Nothing was carried out for this trade. Safe to close again."""


_SETTLED = frozenset({CloseState.ACCEPTED, CloseState.CLOSED, CloseState.ALREADY_CLOSED})


@frozen
class CloseOutcome(Generic[T_co]):
    """What became of one id.

    Attributes:
        trade_id: the id handed in.
        state: what became of it.
        trade: the entity as last seen, None if it never was.
        error: why it is not closing or closed, None when it is.
        attempts: POSTs (or cancels) made for it.
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
        """True when the trade is known to be closing or closed."""
        return self.state in _SETTLED


@frozen
class CloseReport(Generic[T_co]):
    """One outcome for every id handed in, in the order they were handed in (duplicates once).

    The last three attributes are for `close_all` only, which is handed no ids but finds them.

    Attributes:
        outcomes: the outcomes.
        unlisted: why the last listing, which is to show that nothing closable is left, has not
            been made: it failed, or the time for it has not come yet. Then there may be trades that
            no outcome speaks of.
        unmatched: no open trade passes the filters, though others are open; its text says which.
            A mistyped pair must not look like success, so `ok` is then false.
        skipped: what is active and was left alone on purpose: entries not filled (NOT_SENT, unless
            they were to be cancelled), and what was closing already (ALREADY_CLOSED). They are no
            part of `len`, iteration, `ok` and `leftovers`.
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
        """Return the outcome of an id; KeyError if it was not handed in."""
        return self._by_id[trade_id]

    def __contains__(self, trade_id: object) -> bool:
        return trade_id in self._by_id

    @property
    def ok(self) -> bool:
        """True when every trade is known to be closing or closed, and there was what was meant."""
        if self.unlisted is not None or self.unmatched is not None:
            return False
        return all(outcome.ok for outcome in self.outcomes)

    @property
    def counts(self) -> Mapping[CloseState, int]:
        """How many ended in each state; a state that did not occur counts 0."""
        return Counter(outcome.state for outcome in self.outcomes)

    @property
    def leftovers(self) -> tuple[int, ...]:
        """The ids not known to be closing or closed, ready for the next `close_many`."""
        return tuple(outcome.trade_id for outcome in self.outcomes if not outcome.ok)

    def raise_for_failures(self) -> None:
        """Raise what went wrong, if anything did.

        Raises:
            ExceptionGroup: one error for each trade not known to be closing or closed, with a note
                that names the trade and its state.
        """
        errors = [_noted(outcome) for outcome in self.outcomes if not outcome.ok]
        msg = f"{len(errors)} of {len(self)} not known to be closing or closed"
        if self.unlisted is not None:
            errors.append(self.unlisted)
            msg += ", and it is not known whether others are open"
        if self.unmatched is not None:
            errors.append(self.unmatched)
            msg += ", and no open trade passes the filters"
        if errors:
            raise ExceptionGroup(msg, errors)


def _noted(outcome: CloseOutcome[object]) -> ThreeCommasError:
    # A copy: what stopped a batch is the reason of many outcomes, and each has a note of its own.
    error = copy.copy(outcome.error) if outcome.error else OutcomeUnknownError("no error is known")
    error.__notes__ = list(getattr(error, "__notes__", ()))
    error.__cause__ = outcome.error.__cause__ if outcome.error else None
    error.add_note(f"{outcome.trade_id}: {outcome.state.value}")
    return error
