"""Watching entities change, whoever changes them: by list pages, at read priority."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING, Generic, TypeVar

from ..endpoint import Priority
from ..errors import ThreeCommasError
from .lookup import Reader
from .one import MISSING_AGAIN, is_missing
from .phase import Phase

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from .target import Target

__all__ = ["Watch"]

T = TypeVar("T")

_FIRST_PAUSE = 1.0
_OVER = frozenset({Phase.CLOSED, Phase.FAILED})


class Watch(Generic[T]):
    """Reads entities again and again until each is over.

    Args:
        target: the kind of entity.
        ids: which ones.
        every: the longest pause between two looks, in seconds.
        deadline: seconds after which it ends in any case; None for as long as it takes.
        on_error: called with an id and the error that kept it from being read.
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
        self._missing = Counter[int]()

    async def changes(self) -> AsyncGenerator[T, None]:
        """Yield each entity when it is first read, and whenever it reads differently.

        Nothing is sent while a caller is busy with what it was given, beyond the look under way.

        Raises:
            ThreeCommasError: one that says that no other read can pass either.
        """
        clock = asyncio.get_running_loop().time
        ends = math.inf if self._deadline is None else clock() + self._deadline
        pause = min(_FIRST_PAUSE, self._every)
        while self._watched and clock() < ends:
            async with aclosing(self._look(ends)) as results:
                async for entity_id, result in results:
                    if self._is_news(entity_id, result):
                        yield self._last[entity_id]
            if self._watched:
                await asyncio.sleep(min(pause, ends - clock()))
                pause = min(pause * 2, self._every)

    def _is_news(self, entity_id: int, result: T | ThreeCommasError) -> bool:
        """Take in what a read gave, and return whether the entity reads differently."""
        if isinstance(result, ThreeCommasError):
            if result.stops_everything:
                raise result
            self._last.pop(entity_id, None)  # that it can be read again is news
            self._missing[entity_id] = self._missing[entity_id] + 1 if is_missing(result) else 0
            if self._missing[entity_id] >= MISSING_AGAIN:
                self._watched.discard(entity_id)
            if self._on_error is not None:
                self._on_error(entity_id, result)
            return False
        self._missing[entity_id] = 0
        if self._target.phase(result) in _OVER:
            self._watched.discard(entity_id)
        if self._last.get(entity_id) == result:
            return False
        self._last[entity_id] = result
        return True

    async def _look(self, ends: float) -> AsyncGenerator[tuple[int, T | ThreeCommasError], None]:
        """Read all once, and yield what came of each as soon as it is known."""
        reader = Reader(self._target)
        results = asyncio.Queue[tuple[int, T | ThreeCommasError] | None]()

        def found(entity_id: int, result: T | ThreeCommasError) -> None:
            results.put_nowait((entity_id, result))

        reading = asyncio.ensure_future(
            reader.read_many(set(self._watched), found, Priority.NORMAL)
        )
        reading.add_done_callback(lambda _: results.put_nowait(None))
        try:
            while True:
                async with asyncio.timeout_at(None if ends == math.inf else ends):
                    item = await results.get()
                if item is None:
                    reading.result()  # raises what it failed with, if it did
                    return
                yield item
        except TimeoutError:
            return
        finally:
            reading.cancel()
            await asyncio.wait({reading})
            await reader.aclose()
