"""What the closes of one kind of entity know of each other, within one client.

Three things would send a close twice although each call does everything right: a second call for
an id while the first is under way, a new call for an id that an earlier one left in question, and
a read so soon after an accepted close that it still shows the trade open. So an id is noted before
its close leaves and is taken out only by an outcome that settles it, closes of one id take turns,
and an accepted close is remembered for a while: one that was answered with a 2xx, be it one that
could not be understood, and one that a read has shown to have happened.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from ..ownership import Owner
from .report import CloseOutcome, CloseState
from .turnstile import Turnstile

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

__all__ = ["READS_MAY_LAG", "CloseRegistry", "ClosingAll", "Turn"]

T = TypeVar("T")

READS_MAY_LAG: Final = 30.0
"""Seconds after an accepted close in which a read that still shows the entity open proves nothing.

How far reads lag behind writes is not documented.
"""

# How many closes may begin in one turn of the event loop; a thousand would hold it for 30 ms.
_BEGIN_A_TURN = 20

# What tells what has become of the entity itself, whoever closed it. (A close that was not sent or
# was refused tells of itself alone.)
_TELLING = frozenset(
    {
        CloseState.ACCEPTED,
        CloseState.CLOSED,
        CloseState.ALREADY_CLOSED,
        CloseState.FAILED,
        CloseState.NOT_FOUND,
    }
)

_ACCEPTED = frozenset({CloseState.ACCEPTED, CloseState.CLOSED})


class Turn(Generic[T]):
    """The right to close one id, and those who wait for it."""

    __slots__ = ("entity_id", "waiting")

    def __init__(self, entity_id: int) -> None:
        self.entity_id = entity_id
        self.waiting: Sequence[asyncio.Future[CloseOutcome[T] | None]] = ()


class ClosingAll:
    """One request that closes many entities at once."""

    def __init__(self) -> None:
        self.refused = False
        """It is known that it closed none."""


class CloseRegistry(Generic[T]):
    """The ids whose last close is in question, the turns of those under way, the accepted ones."""

    def __init__(self) -> None:
        self._in_question: set[int] = set()
        self._leaving: set[int] = set()
        """Those whose turn it is and whose close has left, or is about to."""
        self._in_requests_for_all = Counter[int]()
        self._accepted_at: dict[int, float] = {}
        self._turns: dict[int, Turn[T]] = {}
        self._turnstile = Turnstile(_BEGIN_A_TURN)
        self._owner = Owner("the client")

    def __contains__(self, entity_id: int) -> bool:
        """Return whether the last close of this id may have been carried out, for all we know."""
        return (
            entity_id in self._leaving
            or entity_id in self._in_question
            or entity_id in self._in_requests_for_all
        )

    def note(self, entity_id: int) -> None:
        """Note that the close whose turn it is is about to leave."""
        self._leaving.add(entity_id)

    def settle(self, entity_id: int) -> None:
        """Take down that this close was not carried out; what others left in question stays so."""
        self._leaving.discard(entity_id)

    @contextmanager
    def closing_all(self, entity_ids: Sequence[int]) -> Generator[ClosingAll]:
        """Keep ids in question while one request for all of them is under way.

        In the end they stay in question, unless the request was refused. What other closes of
        them find out meanwhile settles those, not this one.
        """
        request = ClosingAll()
        self._in_requests_for_all.update(entity_ids)
        try:
            yield request
        finally:
            self._in_requests_for_all -= Counter(entity_ids)
            if not request.refused:
                self._in_question.update(entity_ids)

    def accepted(self, entity_id: int) -> bool:
        """Return whether a close was accepted so lately that reads may not show it yet."""
        return self._may_lag(self._accepted_at.get(entity_id, -math.inf))

    def reopen(self, entity_id: int) -> None:
        """Put an id in question whose accepted close does not seem to have happened."""
        self._accepted_at.pop(entity_id, None)
        self._in_question.add(entity_id)

    def accept(self, entity_id: int) -> None:
        """Remember for a while that a close of this id was accepted."""
        self._accepted_at.pop(entity_id, None)  # so that the oldest stay in front
        while self._accepted_at:
            oldest = next(iter(self._accepted_at))
            if self._may_lag(self._accepted_at[oldest]):
                break
            del self._accepted_at[oldest]
        self._accepted_at[entity_id] = asyncio.get_running_loop().time()

    def _may_lag(self, accepted_at: float) -> bool:
        return asyncio.get_running_loop().time() < accepted_at + READS_MAY_LAG

    def enter(self) -> None:
        """Begin anew on another event loop: those who waited on the one before are gone with it.

        Raises:
            ConfigurationError: used in another process, or on an event loop beside the first.
        """
        if self._owner.enter():
            self._turns.clear()
            self._turnstile = Turnstile(_BEGIN_A_TURN)

    async def take_turn(self, entity_id: int) -> Turn[T] | CloseOutcome[T]:
        """Wait until no other close of this id is under way.

        Returns:
            The turn, to be ended with `end_turn`, whatever happens; or what became of the close
            before this one, where that settles it for this one too.
        """
        self.enter()
        await self._turnstile.enter()
        while (before := self._turns.get(entity_id)) is not None:
            future: asyncio.Future[CloseOutcome[T] | None] = (
                asyncio.get_running_loop().create_future()
            )
            before.waiting = [*before.waiting, future]
            if (outcome := await future) is not None:
                return outcome
        turn: Turn[T] = Turn(entity_id)
        self._turns[entity_id] = turn
        return turn

    def end_turn(
        self, turn: Turn[T], outcome: CloseOutcome[T] | None, *, closed: bool = True
    ) -> None:
        """Let the others who want to close this id go on.

        Args:
            turn: the turn.
            outcome: what became of the close; None when it was cut short. What had left then stays
                in question.
            closed: whether it was to be closed; what was cancelled may have been entered, and is
                then to be closed.
        """
        entity_id = turn.entity_id
        self._take_down(entity_id, outcome, closed=closed)
        if self._turns.get(entity_id) is not turn:
            return  # its event loop was closed in mid-run, and another one is used now
        del self._turns[entity_id]
        told = outcome if outcome is not None and outcome.state in _TELLING else None
        for future in turn.waiting:
            if not future.done():
                future.set_result(told)

    def _take_down(self, entity_id: int, outcome: CloseOutcome[T] | None, *, closed: bool) -> None:
        """Take down what became of a close for those that come after it."""
        left = entity_id in self._leaving
        self._leaving.discard(entity_id)
        if outcome is None:
            if left:
                self._in_question.add(entity_id)
        elif outcome.state is CloseState.UNKNOWN:
            if outcome.attempts or not self.accepted(entity_id):  # else it only could not be read
                self._in_question.add(entity_id)
        elif outcome.state is CloseState.NOT_FOUND and self.accepted(entity_id):
            self._in_question.add(entity_id)  # reads that lag may not know the entity either
        elif outcome.state in _TELLING:
            self._in_question.discard(entity_id)
            if closed and outcome.state in _ACCEPTED:
                self.accept(entity_id)
