"""Reports how entities change, whoever changes them.

All watched entities are read at growing intervals, from list pages where possible, at the priority
of ordinary reads so that closes go first. An entity is no longer read once it is closed, failed, or
repeatedly not found.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING, Generic, TypeVar

from ..endpoint import Priority
from ..errors import ThreeCommasError
from ..logs import log
from .lookup import Reader
from .one import NOT_FOUND_READS, is_not_found

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from .target import Target

__all__ = ["Watch"]

T = TypeVar("T")

_FIRST_PAUSE = 1.0


class Watch(Generic[T]):
    """Reads entities again and again until each is closed, failed or not found.

    Args:
        target: the kind of entity.
        ids: the entities to watch.
        every: maximum seconds between two reads.
        deadline: seconds after which watching ends in any case; None for no limit.
        on_error: called with an id and the error that prevented reading it.
    """

    def __init__(
        self,
        target: Target[T],
        ids: Iterable[int],
        *,
        every: float,
        deadline: float | None,
        on_error: Callable[[int, ThreeCommasError], object] | None,
    ) -> None:
        self._target = target
        self._watched = set(ids)
        self._every = every
        self._deadline = deadline
        self._on_error = on_error
        self._last: dict[int, T] = {}
        self._not_found_reads = Counter[int]()

    async def changes(self) -> AsyncGenerator[T, None]:
        """Yield each entity when it is first read and whenever a read of it differs from the last.

        While the consumer is busy with an entity, no requests are sent beyond those of the current
        reading.

        Raises:
            ThreeCommasError: an error that prevents every read (`stops_everything`).
        """
        clock = asyncio.get_running_loop().time
        ends_at = math.inf if self._deadline is None else clock() + self._deadline
        pause = min(_FIRST_PAUSE, self._every)
        while self._watched and clock() < ends_at:
            async with aclosing(self._read_all(ends_at)) as results:
                async for entity_id, result in results:
                    if self._update(entity_id, result):
                        yield self._last[entity_id]
            if self._watched:
                await asyncio.sleep(min(pause, ends_at - clock()))
                pause = min(pause * 2, self._every)

    def _update(self, entity_id: int, result: T | ThreeCommasError) -> bool:
        """Record the result of a read; return whether the entity has changed."""
        if isinstance(result, ThreeCommasError):
            self._record_error(entity_id, result)
            return False
        self._not_found_reads[entity_id] = 0
        if self._target.phase(result).is_final:
            self._watched.discard(entity_id)
        if self._last.get(entity_id) == result:
            return False
        self._last[entity_id] = result
        return True

    def _record_error(self, entity_id: int, error: ThreeCommasError) -> None:
        if error.stops_everything:
            raise error
        self._last.pop(entity_id, None)  # the next successful read is reported as a change
        count = self._not_found_reads[entity_id] + 1 if is_not_found(error) else 0
        self._not_found_reads[entity_id] = count
        if count >= NOT_FOUND_READS:
            self._watched.discard(entity_id)
        if self._on_error is None:
            return
        try:
            self._on_error(entity_id, error)
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - foreign code
            log.exception("on_error failed for %d", entity_id)

    async def _read_all(
        self, ends_at: float
    ) -> AsyncGenerator[tuple[int, T | ThreeCommasError], None]:
        """Read all watched entities once, and yield each result as soon as it is known."""
        reader = Reader(self._target)
        results = asyncio.Queue[tuple[int, T | ThreeCommasError] | None]()

        def on_result(entity_id: int, result: T | ThreeCommasError) -> None:
            results.put_nowait((entity_id, result))

        reading = asyncio.ensure_future(
            reader.read_many(set(self._watched), on_result, Priority.NORMAL)
        )
        reading.add_done_callback(lambda _: results.put_nowait(None))
        try:
            while True:
                async with asyncio.timeout_at(None if ends_at == math.inf else ends_at):
                    item = await results.get()
                if item is None:
                    reading.result()  # raises the error it failed with, if any
                    return
                yield item
        except TimeoutError:
            return
        finally:
            reading.cancel()
            await asyncio.wait({reading})
            await reader.aclose()
