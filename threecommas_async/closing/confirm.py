"""Waits until entities that are closing are closed.

Entities are read from list pages at the priority of ordinary reads, with growing pauses, so that
closes under way are not slowed down. `Confirmation` decides what the reads of one entity mean for
its outcome. `CloseMany` uses it for `confirm=True`, and `wait_closed` without closing anything.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Generic, Never, TypeVar

from attrs import evolve

from ..endpoint import Priority
from ..errors import CloseFailedError, OutcomeUnknownError, RequestNotSentError, ThreeCommasError
from .lookup import Reader
from .one import NOT_FOUND_READS, is_not_found
from .phase import Phase
from .registry import READS_MAY_LAG
from .report import CloseOutcome, CloseState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .target import Target

__all__ = ["Confirmation", "poll", "wait_closed"]

T = TypeVar("T")

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
# How many reads in a row must show an entity open, the last of them after reads may lag, before its
# accepted close is taken not to have happened.
_OPEN_READS = 3


async def poll(
    reader: Reader[T],
    ids: Iterable[int],
    is_settled: Callable[[int, T | ThreeCommasError], bool],
    *,
    pause: float = _FIRST_PAUSE,
) -> None:
    """Read the entities again and again until each is settled, then close the reader.

    Args:
        reader: reads the kind of entity.
        ids: the entities to read.
        is_settled: called with an id and the entity, or the error that prevented reading it;
            returns whether that id need not be read again.
        pause: seconds before the first read. Each later pause is twice as long, up to 30 s.
    """
    pending = set(ids)

    def on_result(entity_id: int, result: T | ThreeCommasError) -> None:
        if is_settled(entity_id, result):
            pending.discard(entity_id)

    try:
        while pending:
            await asyncio.sleep(pause)
            await reader.read_many(set(pending), on_result, Priority.NORMAL)
            pause = min(max(pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
    finally:
        await reader.aclose()


class Confirmation(Generic[T]):
    """The outcome of one entity, updated by each read of it.

    Args:
        target: the kind of entity.
        outcome: the outcome so far.
        accepted: whether a close was just accepted, so that the entity must not stay open.
    """

    def __init__(
        self, target: Target[T], outcome: CloseOutcome[T], *, accepted: bool = True
    ) -> None:
        self.outcome: CloseOutcome[T] = outcome
        """The current outcome."""
        self.settled: bool = False
        """Whether the outcome is final."""
        self._target = target
        self._open_reads = self._not_found_reads = 0
        now = asyncio.get_running_loop().time()
        self._open_is_true_from = now + READS_MAY_LAG if accepted else math.inf

    def update(self, result: T | ThreeCommasError) -> None:
        """Update the outcome with the entity, or with the error that prevented reading it."""
        if isinstance(result, ThreeCommasError):
            self._not_found_reads = self._not_found_reads + 1 if is_not_found(result) else 0
            if self._not_found_reads >= NOT_FOUND_READS:
                self._settle(CloseState.NOT_FOUND, self.outcome.trade, result)
            return
        self._not_found_reads = 0
        self._open_reads = self._open_reads + 1 if self._target.is_closable(result) else 0
        entity_id, phase = self.outcome.trade_id, self._target.phase(result)
        if phase is Phase.CLOSED:
            self._settle(CloseState.CLOSED, result, None)
        elif phase is Phase.FAILED:
            error: ThreeCommasError = CloseFailedError(
                entity_id, self._target.failure(result), noun=self._target.noun
            )
            self._settle(CloseState.FAILED, result, error)
        elif self._stays_open():
            noun, name = self._target.noun, self._target.name(entity_id)
            if self.outcome.state is CloseState.ALREADY_CLOSED:
                text = f"{name}: it was seen closing, yet the {noun} is open again; look at it"
            else:
                text = f"{name}: the close was accepted, yet the {noun} stays open; look at it"
                self._target.registry.mark_in_doubt(entity_id)
            self._settle(CloseState.UNKNOWN, result, OutcomeUnknownError(text))

    def _stays_open(self) -> bool:
        now = asyncio.get_running_loop().time()
        # A later close of it may have been accepted meanwhile, which reads do not show yet.
        closed_again = self._target.registry.recently_accepted(self.outcome.trade_id)
        return (
            self._open_reads >= _OPEN_READS and now >= self._open_is_true_from and not closed_again
        )

    def _settle(self, state: CloseState, entity: T | None, error: ThreeCommasError | None) -> None:
        self.outcome = evolve(self.outcome, state=state, trade=entity, error=error)
        self.settled = True


async def wait_closed(
    target: Target[T], ids: Sequence[int], timeout: float | None
) -> tuple[CloseOutcome[T], ...]:
    """Read the entities until each is closed or failed, or the timeout is over; close nothing.

    Args:
        target: the kind of entity.
        ids: the entities to wait for.
        timeout: maximum seconds to wait; None to wait without limit.
    """
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    confirmations = {
        i: Confirmation[T](target, _not_read_outcome(target, i), accepted=False) for i in ids
    }

    def is_settled(entity_id: int, result: T | ThreeCommasError) -> bool:
        one = confirmations[entity_id]
        one.update(result)
        if not one.settled:
            one.outcome = _provisional_outcome(target, one.outcome, result)
        one.outcome = evolve(one.outcome, elapsed=loop.time() - started_at)
        return one.settled or (one.outcome.error is not None and one.outcome.error.stops_everything)

    try:
        async with asyncio.timeout(timeout):
            await poll(Reader(target), ids, is_settled, pause=0.0)
    except TimeoutError:
        pass  # the outcomes show what is not closed yet
    return tuple(one.outcome for one in confirmations.values())


def _not_read_outcome(target: Target[T], entity_id: int) -> CloseOutcome[Never]:
    error = OutcomeUnknownError(f"{target.name(entity_id)}: it could not be read in time")
    return CloseOutcome(entity_id, CloseState.UNKNOWN, None, error)


def _provisional_outcome(
    target: Target[T], previous: CloseOutcome[T], result: T | ThreeCommasError
) -> CloseOutcome[T]:
    """Return the outcome of an entity that is not over and for which no close was sent here."""
    if isinstance(result, ThreeCommasError):
        return previous if previous.ok else evolve(previous, error=result)
    entity_id, phase = previous.trade_id, target.phase(result)
    if phase is Phase.CLOSING:
        return CloseOutcome(entity_id, CloseState.ACCEPTED, result)
    error = RequestNotSentError(
        f"{target.name(entity_id)}: still {phase.value}, and no close was sent"
    )
    return CloseOutcome(entity_id, CloseState.NOT_SENT, result, error)
