"""What the closes of one kind of entity know of each other, within one client.

Three things would send a close twice although each call does everything right: a second call for
an id while the first is under way, a new call for an id that an earlier one left in question, and
a read so soon after an accepted close that it still shows the trade open. So an id is noted before
its close leaves and is taken out only by an outcome that settles it, closes of one id take turns,
and an accepted close is remembered for a while.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final, Generic, TypeVar

from .outcomes import CloseOutcome, CloseState
from .ownership import Owner
from .waiting import Turnstile

__all__ = ["READS_MAY_LAG", "CloseRegistry", "Turn"]

T = TypeVar("T")

READS_MAY_LAG: Final = 30.0
"""Seconds after an accepted close in which a read that still shows the entity open proves nothing.

How far reads lag behind writes is not documented.
"""

# So many closes begin in one turn of the event loop; a thousand would hold it for 30 ms.
_BEGIN_A_TURN = 20

_TAKEN_OVER = frozenset(
    {
        CloseState.ACCEPTED,
        CloseState.CLOSED,
        CloseState.ALREADY_CLOSED,
        CloseState.FAILED,
        CloseState.NOT_FOUND,
    }
)


class Turn(Generic[T]):
    """The right to close one id, and those who wait for it."""

    __slots__ = ("entity_id", "waiting")

    def __init__(self, entity_id: int) -> None:
        self.entity_id = entity_id
        self.waiting: list[asyncio.Future[CloseOutcome[T] | None]] = []


class CloseRegistry(Generic[T]):
    """The ids whose last close is in question, the turns of those under way, the accepted ones."""

    def __init__(self) -> None:
        self._in_question: set[int] = set()
        self._accepted: dict[int, tuple[float, T | None]] = {}
        self._turns: dict[int, Turn[T]] = {}
        self._turnstile = Turnstile(_BEGIN_A_TURN)
        self._owner = Owner("a client")

    def __contains__(self, entity_id: int) -> bool:
        """Tell whether the last close of this id may have been carried out, for all we know."""
        return entity_id in self._in_question

    def note(self, entity_id: int) -> bool:
        """Note that a close of this id is about to leave; return whether that is news."""
        known = entity_id in self._in_question
        self._in_question.add(entity_id)
        return not known

    def settle(self, entity_id: int) -> None:
        """Take an id out: it is known what became of its last close."""
        self._in_question.discard(entity_id)

    def accepted_lately(self, entity_id: int) -> bool:
        """Tell whether a close was accepted so lately that reads may not show it yet."""
        accepted_at, _ = self._accepted.get(entity_id, (-math.inf, None))
        return asyncio.get_running_loop().time() < accepted_at + READS_MAY_LAG

    def as_accepted(self, entity_id: int) -> T | None:
        """Return the entity as the accepted close answered it."""
        return self._accepted[entity_id][1]

    def accept(self, entity_id: int, entity: T | None) -> None:
        """Remember for a while that a close of this id was accepted."""
        now = asyncio.get_running_loop().time()
        self._accepted.pop(entity_id, None)  # so that the oldest stay in front
        while self._accepted:
            oldest = next(iter(self._accepted))
            if now < self._accepted[oldest][0] + READS_MAY_LAG:
                break
            del self._accepted[oldest]
        self._accepted[entity_id] = now, entity

    def reopen(self, entity_id: int) -> None:
        """Put an id in question whose accepted close does not seem to have happened."""
        self._accepted.pop(entity_id, None)
        self._in_question.add(entity_id)

    async def take_turn(self, entity_id: int) -> Turn[T] | CloseOutcome[T]:
        """Wait until no other close of this id is under way.

        Returns:
            The turn, to be ended with `end_turn`, whatever happens; or what became of the close
            before this one, where that settles it for this one too.
        """
        if self._owner.enter():  # those who waited on another event loop are gone with it
            self._turns.clear()
            self._accepted.clear()
            self._turnstile = Turnstile(_BEGIN_A_TURN)
        await self._turnstile.enter()
        while (before := self._turns.get(entity_id)) is not None:
            future: asyncio.Future[CloseOutcome[T] | None] = (
                asyncio.get_running_loop().create_future()
            )
            before.waiting.append(future)
            if (outcome := await future) is not None:
                return outcome
        turn: Turn[T] = Turn(entity_id)
        self._turns[entity_id] = turn
        return turn

    def end_turn(self, turn: Turn[T], outcome: CloseOutcome[T] | None) -> None:
        """Let the others who want to close this id go on.

        Args:
            turn: the turn.
            outcome: what became of the close; None when it was cut short. What had left then stays
                in question.
        """
        entity_id = turn.entity_id
        if outcome is not None:
            if outcome.state is CloseState.UNKNOWN:
                self.reopen(entity_id)
            else:
                self.settle(entity_id)
            if outcome.state is CloseState.ACCEPTED:
                self.accept(entity_id, outcome.trade)
        if self._turns.get(entity_id) is not turn:
            return  # its event loop was closed in mid-run, and another one is used now
        del self._turns[entity_id]
        told = outcome if outcome is not None and outcome.state in _TAKEN_OVER else None
        for future in turn.waiting:
            if not future.done():
                future.set_result(told)
