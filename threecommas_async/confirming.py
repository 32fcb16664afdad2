"""Waiting until what is closing is closed: by list pages, at read priority, ever less often."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import evolve

from .closing import stops_everything
from .errors import (
    CloseFailedError,
    NotFoundError,
    OutcomeUnknownError,
    RequestNotSentError,
    ThreeCommasError,
)
from .lifecycle import Phase
from .outcomes import CloseOutcome, CloseState
from .reading import read_many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .closing import Target

__all__ = ["settled_by_reading", "wait_closed", "watch"]

T = TypeVar("T")

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
# A close that was accepted and then shows open so many times in a row did not happen after all.
_OPEN_AGAIN = 3


async def watch(
    target: Target[T],
    ids: Iterable[int],
    seen: Callable[[int, T | ThreeCommasError], bool],
    *,
    pause: float = _FIRST_PAUSE,
) -> None:
    """Read the entities, with growing pauses, until `seen` returns True for each id.

    Args:
        target: the kind of entity.
        ids: which ones.
        seen: called with each id and what its read gave; returns whether that settles it.
        pause: seconds before the first read; each later pause is twice as long, up to half a
            minute.
    """
    pending = set(ids)
    while pending:
        await asyncio.sleep(pause)
        found = await read_many(target, pending)
        pending = {entity_id for entity_id in pending if not seen(entity_id, found[entity_id])}
        pause = min(max(pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)


def settled_by_reading(
    target: Target[T], before: CloseOutcome[T], result: T | ThreeCommasError, times_open: int
) -> CloseOutcome[T] | None:
    """Return the outcome that a read settles for an accepted close, None while it is under way.

    Only the entity's own status counts.

    Args:
        target: the kind of entity.
        before: the outcome so far.
        result: what the read gave.
        times_open: how often in a row it has been seen open, this time included.
    """
    entity_id = before.trade_id
    if isinstance(result, NotFoundError):
        return _changed(before, CloseState.NOT_FOUND, before.trade, result)
    if isinstance(result, ThreeCommasError):
        return None
    phase = target.phase(result)
    if phase is Phase.CLOSED:
        return _changed(before, CloseState.CLOSED, result, None)
    if phase is Phase.FAILED:
        error = CloseFailedError(entity_id, target.failure(result))
        return _changed(before, CloseState.FAILED, result, error)
    if times_open >= _OPEN_AGAIN:
        text = f"trade {entity_id}: the close was accepted, yet the trade stays open; look at it"
        return _changed(before, CloseState.UNKNOWN, result, OutcomeUnknownError(text))
    return None


def _changed(
    before: CloseOutcome[T], state: CloseState, trade: T | None, error: ThreeCommasError | None
) -> CloseOutcome[T]:
    return evolve(before, state=state, trade=trade, error=error)


async def wait_closed(
    target: Target[T], ids: Sequence[int], timeout: float | None
) -> tuple[CloseOutcome[T], ...]:
    """Read until each entity is closed or failed, or the time is up; close nothing."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    outcomes = {entity_id: _unread(entity_id) for entity_id in ids}

    def seen(entity_id: int, result: T | ThreeCommasError) -> bool:
        if isinstance(result, ThreeCommasError):
            outcome = evolve(outcomes[entity_id], error=result)
        else:
            outcome = _standing(target, entity_id, result)
        settled = settled_by_reading(target, outcome, result, 0)
        outcomes[entity_id] = evolve(settled or outcome, elapsed=loop.time() - began)
        return settled is not None or stops_everything(outcome.error)

    try:
        async with asyncio.timeout(timeout):
            await watch(target, ids, seen, pause=0.0)
    except TimeoutError:
        pass  # the outcomes tell how far it came
    return tuple(outcomes.values())


def _unread(entity_id: int) -> CloseOutcome[Any]:
    error = OutcomeUnknownError(f"trade {entity_id}: it could not be read in time")
    return CloseOutcome(entity_id, CloseState.UNKNOWN, None, error)


def _standing(target: Target[T], entity_id: int, entity: T) -> CloseOutcome[T]:
    """Return the outcome of an entity that nobody here has closed and that is not over."""
    phase = target.phase(entity)
    if phase is Phase.CLOSING:
        return CloseOutcome(entity_id, CloseState.ACCEPTED, entity)
    error = RequestNotSentError(f"trade {entity_id}: still {phase.value}, and no close was sent")
    return CloseOutcome(entity_id, CloseState.NOT_SENT, entity, error)
