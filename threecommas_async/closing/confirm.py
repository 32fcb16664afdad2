"""Waiting until what is closing is closed: by list pages, at read priority, ever less often."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Generic, Never, TypeVar

from attrs import evolve

from ..endpoint import Priority
from ..errors import CloseFailedError, OutcomeUnknownError, RequestNotSentError, ThreeCommasError
from .lookup import Reader
from .one import MISSING_AGAIN, is_missing
from .phase import Phase
from .registry import READS_MAY_LAG
from .report import CloseOutcome, CloseState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .target import Target

__all__ = ["Watched", "wait_closed", "watch"]

T = TypeVar("T")

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
# A close that was accepted and then shows open so many times in a row, and longer than reads may
# lag behind, did not happen after all.
_OPEN_AGAIN = 3


async def watch(
    reader: Reader[T],
    ids: Iterable[int],
    seen: Callable[[int, T | ThreeCommasError], bool],
    *,
    pause: float = _FIRST_PAUSE,
) -> None:
    """Read the entities, with growing pauses, until `seen` returns True for each id.

    Args:
        reader: reads the kind of entity.
        ids: which ones.
        seen: called with each id and what its read gave; returns whether that settles it.
        pause: seconds before the first read; each later pause is twice as long, up to half a
            minute.
    """
    pending = set(ids)

    def found(entity_id: int, result: T | ThreeCommasError) -> None:
        if seen(entity_id, result):
            pending.discard(entity_id)

    try:
        while pending:
            await asyncio.sleep(pause)
            await reader.read_many(set(pending), found, Priority.NORMAL)
            pause = min(max(pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
    finally:
        await reader.aclose()


class Watched(Generic[T]):
    """What reads have shown of one entity, and what they make of its outcome.

    Only the entity's own status counts.

    Args:
        target: the kind of entity.
        outcome: the outcome so far.
        accepted: a close of it has just been accepted, so that it should not stay open.
    """

    def __init__(
        self, target: Target[T], outcome: CloseOutcome[T], *, accepted: bool = True
    ) -> None:
        self.outcome = outcome
        """The outcome as it stands."""
        self.settled = False
        """The outcome will not change any more."""
        self._target = target
        self._open = self._missing = 0
        now = asyncio.get_running_loop().time()
        self._late_at = now + READS_MAY_LAG if accepted else math.inf

    def see(self, result: T | ThreeCommasError) -> None:
        """Take in what a read gave: the entity, or the error that kept it from being read."""
        if isinstance(result, ThreeCommasError):
            self._missing = self._missing + 1 if is_missing(result) else 0
            if self._missing >= MISSING_AGAIN:
                self._settle(CloseState.NOT_FOUND, self.outcome.trade, result)
            return
        self._missing = 0
        self._open = self._open + 1 if self._target.is_closable(result) else 0
        entity_id, phase = self.outcome.trade_id, self._target.phase(result)
        if phase is Phase.CLOSED:
            self._settle(CloseState.CLOSED, result, None)
        elif phase is Phase.FAILED:
            error: ThreeCommasError = CloseFailedError(
                entity_id, self._target.failure(result), noun=self._target.noun
            )
            self._settle(CloseState.FAILED, result, error)
        elif self._open >= _OPEN_AGAIN and asyncio.get_running_loop().time() >= self._late_at:
            text = (
                f"{self._target.name(entity_id)}: the close was accepted, yet the "
                f"{self._target.noun} stays open; look at it"
            )
            self._target.registry.reopen(entity_id)
            self._settle(CloseState.UNKNOWN, result, OutcomeUnknownError(text))

    def _settle(self, state: CloseState, trade: T | None, error: ThreeCommasError | None) -> None:
        self.outcome = evolve(self.outcome, state=state, trade=trade, error=error)
        self.settled = True


async def wait_closed(
    target: Target[T], ids: Sequence[int], timeout: float | None
) -> tuple[CloseOutcome[T], ...]:
    """Read until each entity is closed or failed, or the time is up; close nothing."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    watched = {i: Watched[T](target, _unread(target, i), accepted=False) for i in ids}

    def seen(entity_id: int, result: T | ThreeCommasError) -> bool:
        one = watched[entity_id]
        one.see(result)
        if not one.settled:
            one.outcome = _standing(target, one.outcome, result)
        one.outcome = evolve(one.outcome, elapsed=loop.time() - began)
        return one.settled or (one.outcome.error is not None and one.outcome.error.stops_everything)

    try:
        async with asyncio.timeout(timeout):
            await watch(Reader(target), ids, seen, pause=0.0)
    except TimeoutError:
        pass  # the outcomes tell how far it came
    return tuple(one.outcome for one in watched.values())


def _unread(target: Target[T], entity_id: int) -> CloseOutcome[Never]:
    error = OutcomeUnknownError(f"{target.name(entity_id)}: it could not be read in time")
    return CloseOutcome(entity_id, CloseState.UNKNOWN, None, error)


def _standing(
    target: Target[T], before: CloseOutcome[T], result: T | ThreeCommasError
) -> CloseOutcome[T]:
    """Return the outcome of an entity that nobody here has closed and that is not over."""
    if isinstance(result, ThreeCommasError):
        return evolve(before, error=result)
    entity_id, phase = before.trade_id, target.phase(result)
    if phase is Phase.CLOSING:
        return CloseOutcome(entity_id, CloseState.ACCEPTED, result)
    error = RequestNotSentError(
        f"{target.name(entity_id)}: still {phase.value}, and no close was sent"
    )
    return CloseOutcome(entity_id, CloseState.NOT_SENT, result, error)
