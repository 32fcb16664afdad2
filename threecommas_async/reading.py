"""Reading many entities with few requests: by list pages of a hundred, one alone by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from .call import Trace
from .closing import stops_everything
from .endpoint import Priority
from .errors import OutcomeUnknownError, ThreeCommasError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .closing import Target

__all__ = ["SharedReader", "read_many"]

T = TypeVar("T")

# Up to so many, reading each by itself takes no more requests than looking through a list.
_FEW = 2
# Seconds a round waits for others to join: a page answers a hundred as soon as one.
_GATHERING = 0.5


async def read_many(
    target: Target[T],
    missing: set[int],
    found: Callable[[int, T | ThreeCommasError], None],
    priority: Priority,
    leaving: Callable[[], None] = lambda: None,
) -> None:
    """Read many entities, and hand over each as soon as it is known.

    A listing is looked through as long as that can be cheaper than reading the rest one by one.
    What no listing shows is read by itself, side by side: one that hangs holds up no other.

    Args:
        target: the kind of entity.
        missing: which ones; more may be added until `leaving` is called. Empty in the end.
        found: called once for each id, with its entity or the error that kept it from being read.
        priority: who goes first.
        leaving: called when the first request leaves.
    """
    refused: ThreeCommasError | None = None
    if len(missing) > _FEW:
        refused = await _look_through(target, missing, found, priority, leaving)
    leaving()
    if refused is not None:
        for entity_id in sorted(missing):
            found(entity_id, refused)
    elif missing:
        await _read_each(target, missing, found, priority)


async def _read_each(
    target: Target[T],
    missing: set[int],
    found: Callable[[int, T | ThreeCommasError], None],
    priority: Priority,
) -> None:
    """Read each by itself, side by side, until one error says that no other can be read either."""
    refused: list[ThreeCommasError] = []

    async def read(entity_id: int) -> None:
        result: T | ThreeCommasError
        try:
            result = await target.read(entity_id, priority)
        except ThreeCommasError as error:
            result = error
            if stops_everything(error):
                refused.append(error)
                for other in set(tasks) - {asyncio.current_task()}:
                    other.cancel()
        missing.discard(entity_id)
        found(entity_id, result)

    tasks = [asyncio.ensure_future(read(entity_id)) for entity_id in sorted(missing)]
    try:
        await asyncio.wait(tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for entity_id in sorted(missing):
        found(entity_id, refused[0])


async def _look_through(
    target: Target[T],
    missing: set[int],
    found: Callable[[int, T | ThreeCommasError], None],
    priority: Priority,
    leaving: Callable[[], None],
) -> ThreeCommasError | None:
    """Hand over what the listings show, and take it out of `missing`.

    Returns the error that says that no other read can pass either.
    """
    trace = Trace()
    trace.note = leaving
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
            return error if stops_everything(error) else None
    return None


class SharedReader(Generic[T]):
    """Lets many closes in question share their reads.

    Who asks joins the round that has not left yet: a page read earlier could show an entity as it
    was before its close. Rounds do not wait for each other.
    """

    def __init__(self, target: Target[T]) -> None:
        self._target = target
        self._joining: _Round[T] | None = None
        self._rounds: set[asyncio.Task[None]] = set()

    async def read(self, entity_id: int) -> T:
        """Return the entity as it is after this moment.

        Raises:
            ThreeCommasError: it could not be read.
        """
        loop = asyncio.get_running_loop()
        if self._joining is None:
            self._joining = _Round()
            task = loop.create_task(self._read(self._joining))
            self._rounds.add(task)
            task.add_done_callback(self._rounds.discard)
        future: asyncio.Future[T] = loop.create_future()
        self._joining.asked[entity_id] = future
        self._joining.missing.add(entity_id)
        return await future

    async def aclose(self) -> None:
        """End what is under way."""
        rounds = tuple(self._rounds)
        for task in rounds:
            task.cancel()
        if rounds:
            await asyncio.wait(rounds)

    async def _read(self, this: _Round[T]) -> None:
        def found(entity_id: int, result: T | ThreeCommasError) -> None:
            _answer(this.asked.pop(entity_id), result)

        def leaving() -> None:
            if self._joining is this:
                self._joining = None

        try:
            await asyncio.sleep(_GATHERING)
            # Closes hang on these reads: they wait with them, not behind them.
            await read_many(self._target, this.missing, found, Priority.CLOSE, leaving)
        finally:
            leaving()
            for entity_id, future in this.asked.items():
                _answer(future, OutcomeUnknownError(f"trade {entity_id}: reading it was cut short"))


class _Round(Generic[T]):
    """Who has asked for what, until it is answered."""

    def __init__(self) -> None:
        self.asked: dict[int, asyncio.Future[T]] = {}
        self.missing: set[int] = set()


def _answer(future: asyncio.Future[T], result: T | ThreeCommasError) -> None:
    if future.done():
        return  # whoever asked was cancelled meanwhile
    if isinstance(result, ThreeCommasError):
        future.set_exception(result)
    else:
        future.set_result(result)
