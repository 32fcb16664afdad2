"""Reading many entities with few requests: by list pages of a hundred, one alone by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from ..endpoint import Priority
from ..errors import OutcomeUnknownError, ThreeCommasError
from ..retry import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from .target import Target

__all__ = ["Found", "Reader"]

T = TypeVar("T")

Found: TypeAlias = "Callable[[int, T | ThreeCommasError], None]"
"""Is called once for each id, with its entity or the error that kept it from being read."""

# Up to this many, reading each by itself takes no more requests than looking through a list.
_FEW = 2
# Seconds a round waits for others to join: a page answers a hundred as soon as one.
_GATHERING = 0.5


class Reader(Generic[T]):
    """Reads for one batch, side by side; `cut` ends all of it in one moment."""

    def __init__(self, target: Target[T]) -> None:
        self._target = target
        self._joining: _Round[T] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.has_left = asyncio.Event()
        """A round of reads has left, or had nothing to wait for."""

    async def read(self, entity_id: int) -> T:
        """Return the entity as it is after this moment, read together with others.

        Who asks joins the round that has not left yet: a page read earlier could show an entity as
        it was before its close. Rounds do not wait for each other.

        Raises:
            ThreeCommasError: it could not be read.
        """
        if self._joining is None:
            self._joining = _Round()
            self._begin(self._read_round(self._joining))
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._joining.asked[entity_id] = future
        self._joining.missing.add(entity_id)
        return await future

    async def read_many(
        self,
        missing: set[int],
        found: Found[T],
        priority: Priority,
        leaving: Callable[[], None] = lambda: None,
    ) -> None:
        """Read many entities, and hand over each as soon as it is known.

        A listing is looked through as long as that can be cheaper than reading the rest one by
        one. What no listing shows is read by itself, side by side: one that hangs holds up no
        other.

        Args:
            missing: which ones; more may be added until `leaving` is called. Empty in the end.
            found: called once for each.
            priority: who goes first.
            leaving: called when the first request leaves.
        """
        refused: ThreeCommasError | None = None
        if len(missing) > _FEW:
            refused = await _look_through(self._target, missing, found, priority, leaving)
        leaving()
        if missing and refused is None:
            refused = await self._read_each(missing, found, priority)
        for entity_id in sorted(missing):
            assert refused is not None  # noqa: S101 - else each would have been handed over
            found(entity_id, refused)

    def cut(self) -> None:
        """End everything that is under way: nothing is sent after this moment."""
        for task in self._tasks:
            task.cancel()

    async def aclose(self) -> None:
        """End everything that is under way, and wait for it."""
        self.cut()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def _read_each(
        self, missing: set[int], found: Found[T], priority: Priority
    ) -> ThreeCommasError | None:
        """Read each by itself; end with the error that says that no other can be read either."""
        refused: list[ThreeCommasError] = []
        tasks = set[asyncio.Task[None]]()

        async def read(entity_id: int) -> None:
            result: T | ThreeCommasError
            try:
                result = await self._target.read(entity_id, priority)
            except ThreeCommasError as error:
                result = error
                if error.stops_everything:
                    refused.append(error)
                    _cancel_others(tasks)
            missing.discard(entity_id)
            found(entity_id, result)

        for entity_id in sorted(missing):
            # Tasks that begin at once (eager tasks, Python 3.12 on) may have been refused already.
            if not refused:  # pragma: no branch - Python 3.11 has none
                tasks.add(self._begin(read(entity_id)))
        try:
            await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
        for task in tasks:
            if not task.cancelled():
                task.result()  # raises what `found` has raised
        return refused[0] if refused else None

    async def _read_round(self, this: _Round[T]) -> None:
        def found(entity_id: int, result: T | ThreeCommasError) -> None:
            _answer(this.asked.pop(entity_id), result)

        def leaving() -> None:
            self.has_left.set()
            if self._joining is this:
                self._joining = None

        try:
            await asyncio.sleep(_GATHERING)
            await self.read_many(this.missing, found, Priority.IN_QUESTION, leaving)
        finally:
            leaving()
            for entity_id, future in this.asked.items():
                name = self._target.name(entity_id)
                _answer(future, OutcomeUnknownError(f"{name}: reading it was cut short"))

    def _begin(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Round(Generic[T]):
    """Who has asked for what, until it is answered."""

    def __init__(self) -> None:
        self.asked: dict[int, asyncio.Future[T]] = {}
        self.missing: set[int] = set()


class _Departure:
    """Tells of the first request of a listing that leaves."""

    def __init__(self, leaving: Callable[[], None]) -> None:
        self._leaving = leaving

    def note(self, entity_id: int) -> None:  # noqa: ARG002 - a listing is about none
        self._leaving()

    def settle(self, entity_id: int) -> None:
        """Nothing to take back: that it has left stays true."""


def _cancel_others(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task is not asyncio.current_task():
            task.cancel()


def _answer(future: asyncio.Future[T], result: T | ThreeCommasError) -> None:
    if future.done():
        return  # whoever asked was cancelled meanwhile
    if isinstance(result, ThreeCommasError):
        future.set_exception(result)
    else:
        future.set_result(result)


async def _look_through(
    target: Target[T],
    missing: set[int],
    found: Found[T],
    priority: Priority,
    leaving: Callable[[], None],
) -> ThreeCommasError | None:
    """Hand over what the listings show, and take it out of `missing`.

    Returns the error that says that no other read can pass either.
    """
    trace = Trace()
    trace.register = _Departure(leaving)
    for listing in target.listings(priority, trace):
        pages = 0
        try:
            async for page in listing():
                pages += 1
                hits = 0
                for entity in page:
                    entity_id = target.id_of(entity)
                    if entity_id in missing:
                        hits += 1
                        missing.discard(entity_id)
                        found(entity_id, entity)
                if len(missing) <= _FEW:
                    return None
                if not hits and pages >= len(missing):
                    break
        except ThreeCommasError as error:
            # One entity that cannot be parsed spoils its page; read by itself, the rest can be.
            return error if error.stops_everything else None
    return None
