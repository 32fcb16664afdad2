"""Closing many entities with one request, where the API has one: all deals of a bot.

The request takes part in what the registry guarantees for single closes: it waits for closes of
these entities that are under way, single closes wait for it, and each entity is in doubt until a
read or a later close settles it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from ..errors import ResponseDecodeError, ThreeCommasError
from ..retry import Trace
from .registry import Turn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .target import Target

__all__ = ["send_bulk_close"]

T = TypeVar("T")

# Seconds after which what other calls have closed meanwhile may have been forgotten again.
_MAX_LISTING_AGE: Final = 5.0


async def send_bulk_close(
    target: Target[T],
    entity_ids: Sequence[int],
    send: Callable[[Trace], Awaitable[object]],
    time_left: float | None,
) -> tuple[bool, ThreeCommasError | None]:
    """Send the request, unless another call has closed or may have closed one of the entities.

    After it was sent each entity has to be looked at: those that are in doubt are read first.

    Args:
        target: the kind of entity.
        entity_ids: the entities that the request closes, as a listing has just shown them.
        send: sends the request.
        time_left: maximum seconds; None without a limit.

    Returns:
        Whether it was sent, and the error of a request that closed nothing. Where it was not sent,
        the listing may be out of date.
    """
    clock = asyncio.get_running_loop().time
    started_at = clock()
    turns: list[Turn[T]] = []
    try:
        async with asyncio.timeout(time_left):
            # In one order: two of these requests must not wait for each other.
            for entity_id in sorted(entity_ids):
                turn = await target.registry.take_turn(entity_id)
                if not isinstance(turn, Turn):
                    return False, None
                turns.append(turn)
            may_be_closed = any(map(target.registry.may_be_closed, entity_ids))
            if may_be_closed or clock() > started_at + _MAX_LISTING_AGE:
                return False, None
            return True, await _send(target, entity_ids, send)
    except TimeoutError:
        return True, None  # each is looked at, as far as there is time
    finally:
        for turn in turns:
            target.registry.end_turn(turn, None)


async def _send(
    target: Target[T], entity_ids: Sequence[int], send: Callable[[Trace], Awaitable[object]]
) -> ThreeCommasError | None:
    registry, trace = target.registry, Trace()
    with registry.bulk_close(entity_ids) as request:
        try:
            await send(trace)
        except asyncio.CancelledError:
            request.refused = not trace.attempts
            raise
        except ThreeCommasError as error:
            request.refused = not (error.may_have_taken_effect or trace.unknown)
            if not isinstance(error, ResponseDecodeError):
                return error if request.refused else None
        for entity_id in entity_ids:  # a read that still shows one open may lag behind
            registry.mark_accepted(entity_id)
    return None
