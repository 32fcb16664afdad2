"""State machine of a position (a trade or a deal): when it can be closed, and when it is.

Nothing runs in the background: call `advance` before reading a state. Times are seconds on the
sandbox's clock.
"""

from __future__ import annotations

import enum
from typing import Protocol

import attrs


class Phase(enum.Enum):
    """State of a position; trades and deals have their own status codes for it."""

    PENDING = enum.auto()  # entry not filled yet
    OPEN = enum.auto()
    CLOSING = enum.auto()  # close accepted
    SELLING = enum.auto()  # closing order placed at the exchange
    CANCELLING = enum.auto()
    CLOSED = enum.auto()
    CANCELLED = enum.auto()
    FAILED = enum.auto()


TERMINAL = frozenset({Phase.CLOSED, Phase.CANCELLED, Phase.FAILED})
ACTIVE = frozenset(Phase) - TERMINAL


def _phase_of(lifecycle: Lifecycle) -> Phase:
    return lifecycle.phase


@attrs.define
class Lifecycle:
    """State of one position; all its transitions are in here."""

    delay: float
    """Seconds from the acceptance of a close or cancellation to its completion."""
    fails: bool = False
    """Whether a close ends in failure."""
    phase: Phase = Phase.OPEN
    accepted_at: float | None = None
    ended_at: float | None = None
    changed_at: float | None = attrs.field(init=False, default=None)
    """Time of the last transition; None if there was none."""
    _initial_phase: Phase = attrs.field(
        init=False, default=attrs.Factory(_phase_of, takes_self=True)
    )

    def close(self, now: float) -> bool:
        """Accept a close at market; return False if the position is not open."""
        return self._accept(now, frozenset({Phase.OPEN}), Phase.CLOSING)

    def cancel(self, now: float) -> bool:
        """Accept a cancellation; return False if it is closing, being cancelled, or over."""
        return self._accept(now, frozenset({Phase.PENDING, Phase.OPEN}), Phase.CANCELLING)

    def advance(self, now: float) -> None:
        """Apply the transitions due by now."""
        if self.accepted_at is None or self.ended_at is not None:
            return
        halfway, due = self.accepted_at + self.delay / 2, self.accepted_at + self.delay
        if self.phase is Phase.CLOSING and now >= halfway:
            self.phase, self.changed_at = Phase.SELLING, halfway
        if now < due:
            return
        self.ended_at = self.changed_at = due
        if self.phase is Phase.CANCELLING:
            self.phase = Phase.CANCELLED
        else:
            self.phase = Phase.FAILED if self.fails else Phase.CLOSED

    def at(self, time: float) -> Lifecycle:
        """Return the state as of an earlier time; itself if it has not changed since."""
        accepted_at, changed_at = self.accepted_at, self.changed_at
        if accepted_at is None or changed_at is None or changed_at <= time:
            return self
        past = Lifecycle(self.delay, self.fails, self._initial_phase)
        if accepted_at <= time:
            cancelled = self.phase in {Phase.CANCELLING, Phase.CANCELLED}
            (past.cancel if cancelled else past.close)(accepted_at)
            past.advance(time)
        return past

    def _accept(self, now: float, allowed: frozenset[Phase], then: Phase) -> bool:
        self.advance(now)
        if self.phase not in allowed:
            return False
        self.phase, self.accepted_at, self.changed_at = then, now, now
        return True


class Position(Protocol):
    """The part of a trade or deal that the ledger uses."""

    @property
    def lifecycle(self) -> Lifecycle:
        """Its state."""
        ...

    @property
    def code(self) -> str:
        """Its status code in the API."""
        ...
