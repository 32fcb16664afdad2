"""The life of a position, trade or deal alike: when it can be closed, and when it is.

Nothing runs in the background. Whoever looks calls `settle` first, and what was due by then has
happened. Times are seconds on the sandbox's clock.
"""

from __future__ import annotations

import enum
from typing import Protocol

import attrs


class Phase(enum.Enum):
    """Where a position stands; trades and deals have their own codes for these."""

    PENDING = enum.auto()  # entry not filled yet
    OPEN = enum.auto()
    CLOSING = enum.auto()  # the close is accepted
    SELLING = enum.auto()  # the order of the close is at the exchange
    CANCELLING = enum.auto()
    CLOSED = enum.auto()
    CANCELLED = enum.auto()
    FAILED = enum.auto()


OVER = frozenset({Phase.CLOSED, Phase.CANCELLED, Phase.FAILED})
ACTIVE = frozenset(Phase) - OVER


def _phase_of(life: Life) -> Phase:
    return life.phase


@attrs.define
class Life:
    """One position's life, the only place in which its phase changes."""

    delay: float
    """Seconds between the acceptance of a close or cancellation and its end."""
    fails: bool = False
    """Whether closing it is to end in failure."""
    phase: Phase = Phase.OPEN
    accepted_at: float | None = None
    ended_at: float | None = None
    changed_at: float | None = attrs.field(init=False, default=None)
    """When the phase changed last; None if it never did."""
    _first: Phase = attrs.field(init=False, default=attrs.Factory(_phase_of, takes_self=True))

    def close(self, now: float) -> bool:
        """Accept a close at market; False, and nothing is done, unless the position is open."""
        return self._accept(now, frozenset({Phase.OPEN}), Phase.CLOSING)

    def cancel(self, now: float) -> bool:
        """Accept a cancellation; False, and nothing is done, once the end has begun."""
        return self._accept(now, frozenset({Phase.PENDING, Phase.OPEN}), Phase.CANCELLING)

    def settle(self, now: float) -> None:
        """Let happen what was due by now."""
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

    def at(self, time: float) -> Life:
        """Return the life as it stood at a time that is past; itself if that is how it stands."""
        accepted_at, changed_at = self.accepted_at, self.changed_at
        if accepted_at is None or changed_at is None or changed_at <= time:
            return self
        past = Life(self.delay, self.fails, self._first)
        if accepted_at <= time:
            cancelled = self.phase in {Phase.CANCELLING, Phase.CANCELLED}
            (past.cancel if cancelled else past.close)(accepted_at)
            past.settle(time)
        return past

    def _accept(self, now: float, allowed: frozenset[Phase], then: Phase) -> bool:
        self.settle(now)
        if self.phase not in allowed:
            return False
        self.phase, self.accepted_at, self.changed_at = then, now, now
        return True


class Position(Protocol):
    """What the ledger needs to know of a trade or deal."""

    @property
    def life(self) -> Life:
        """Its life so far."""
        ...

    @property
    def code(self) -> str:
        """Its status code as the API writes it."""
        ...
