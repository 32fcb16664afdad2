"""Waiting until what is closing is closed: by list pages, at read priority, ever less often."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from .errors import CloseFailedError, NotFoundError, OutcomeUnknownError, ThreeCommasError
from .lifecycle import Phase
from .outcomes import CloseOutcome, CloseState
from .reading import read_many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .closing import Target

__all__ = ["settled_by_reading", "watch"]

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
    return CloseOutcome(before.trade_id, state, trade, error, before.attempts, before.elapsed)
