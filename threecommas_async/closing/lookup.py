"""Reads many entities with few requests.

Three or more entities are looked up in list pages of a hundred first; those that no listing shows,
and one or two alone, are read one by one. Reads of single closes are collected for half a second,
so that hundreds of closes in doubt share the same pages.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from ..endpoint import Priority
from ..errors import OutcomeUnknownError, ThreeCommasError
from ..retry import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from .target import Target

__all__ = ["Reader", "ResultCallback"]

T = TypeVar("T")

ResultCallback: TypeAlias = "Callable[[int, T | ThreeCommasError], None]"
"""Called once per id, with the entity or the error that prevented reading it."""

# Maximum number of entities that are read one by one at once: a listing would not be cheaper.
_MAX_SINGLE_READS = 2
# Seconds a batch of reads waits for more ids: a page costs the same for a hundred as for one.
_BATCH_DELAY = 0.5


class Reader(Generic[T]):
    """Reads entities for one batch of closes.

    Args:
        target: the kind of entity.
    """

    def __init__(self, target: Target[T]) -> None:
        self._target = target
        self._open_batch: _ReadBatch[T] | None = None
        """The batch that reads can still join, because none of its requests was sent."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.first_batch_sent: asyncio.Event = asyncio.Event()
        """Set once a batch of reads was sent, or ended without having to send anything."""

    async def read(self, entity_id: int) -> T:
        """Return the entity as it is after this call, read together with others.

        The read joins a batch only until the batch's first request is sent: a page that was
        requested earlier could show the entity as it was before its close. Batches run in
        parallel.

        Raises:
            ThreeCommasError: the entity could not be read.
        """
        if self._open_batch is None:
            self._open_batch = _ReadBatch()
            self._create_task(self._run_batch(self._open_batch))
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._open_batch.futures[entity_id] = future
        self._open_batch.pending.add(entity_id)
        return await future

    async def read_many(
        self,
        pending: set[int],
        on_result: ResultCallback[T],
        priority: Priority,
        on_first_send: Callable[[], None] = lambda: None,
    ) -> None:
        """Read many entities and report each as soon as it is known.

        Listings are searched while that can be cheaper than reading the rest one by one. The
        entities that no listing shows are read in parallel, so that one read that hangs delays no
        other.

        Args:
            pending: the ids to read. Each is removed when it was read; more may be added until
                `on_first_send` is called.
            on_result: called once per id.
            priority: the priority of the requests.
            on_first_send: called when the first request is about to be sent.
        """
        fatal: ThreeCommasError | None = None
        if len(pending) > _MAX_SINGLE_READS:
            fatal = await _search_listings(
                self._target, pending, on_result, priority, on_first_send
            )
        on_first_send()
        if pending and fatal is None:
            fatal = await self._read_singly(pending, on_result, priority)
        for entity_id in sorted(pending):
            assert fatal is not None  # noqa: S101 - otherwise all of them were read
            on_result(entity_id, fatal)

    def cancel(self) -> None:
        """Cancel all reads under way: nothing is sent after this call."""
        for task in self._tasks:
            task.cancel()

    async def aclose(self) -> None:
        """Cancel all reads under way and wait for them to end."""
        self.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def _read_singly(
        self, pending: set[int], on_result: ResultCallback[T], priority: Priority
    ) -> ThreeCommasError | None:
        """Read each entity by itself, in parallel.

        Returns:
            The error that prevents every further read as well (`stops_everything`), if any. The
            ids that were not read because of it are still pending.
        """
        fatal: list[ThreeCommasError] = []
        tasks = set[asyncio.Task[None]]()

        async def read(entity_id: int) -> None:
            result: T | ThreeCommasError
            try:
                result = await self._target.read(entity_id, priority)
            except ThreeCommasError as error:
                result = error
                if error.stops_everything:
                    fatal.append(error)
                    _cancel_others(tasks)
            pending.discard(entity_id)
            on_result(entity_id, result)

        for entity_id in sorted(pending):
            # An eager task (Python 3.12) runs at once, and may have met a fatal error already.
            if not fatal:  # pragma: no branch - Python 3.11 has none
                tasks.add(self._create_task(read(entity_id)))
        try:
            await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
        for task in tasks:
            if not task.cancelled():
                task.result()  # raises what `on_result` has raised
        return fatal[0] if fatal else None

    async def _run_batch(self, batch: _ReadBatch[T]) -> None:
        def on_result(entity_id: int, result: T | ThreeCommasError) -> None:
            _resolve(batch.futures.pop(entity_id), result)

        def on_first_send() -> None:
            self.first_batch_sent.set()
            if self._open_batch is batch:
                self._open_batch = None

        try:
            await asyncio.sleep(_BATCH_DELAY)
            await self.read_many(batch.pending, on_result, Priority.IN_DOUBT, on_first_send)
        finally:
            on_first_send()
            for entity_id, future in batch.futures.items():
                name = self._target.name(entity_id)
                _resolve(future, OutcomeUnknownError(f"{name}: reading it was cut short"))

    def _create_task(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _ReadBatch(Generic[T]):
    """The reads that share one search of the listings."""

    def __init__(self) -> None:
        self.futures: dict[int, asyncio.Future[T]] = {}
        """The future of each id without a result."""
        self.pending: set[int] = set()
        """The ids still to be read, see `Reader.read_many`."""


class _SendObserver:
    """Calls back when a request is sent: a `retry.SendObserver` that keeps no ids."""

    def __init__(self, on_send: Callable[[], None]) -> None:
        self._on_send = on_send

    def on_send(self, entity_id: int) -> None:  # noqa: ARG002 - a listing is about no single entity
        self._on_send()

    def on_not_done(self, entity_id: int) -> None:
        """Do nothing: the request was sent, even if it failed."""


def _cancel_others(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task is not asyncio.current_task():
            task.cancel()


def _resolve(future: asyncio.Future[T], result: T | ThreeCommasError) -> None:
    if future.done():
        return  # its reader was cancelled
    if isinstance(result, ThreeCommasError):
        future.set_exception(result)
    else:
        future.set_result(result)


async def _search_listings(
    target: Target[T],
    pending: set[int],
    on_result: ResultCallback[T],
    priority: Priority,
    on_first_send: Callable[[], None],
) -> ThreeCommasError | None:
    """Report the pending entities that the listings show, and remove them from `pending`.

    Returns:
        The error that prevents every further read as well (`stops_everything`), if any.
    """
    trace = Trace()
    trace.observer = _SendObserver(on_first_send)
    for listing in target.listings(priority, trace):
        pages = 0
        try:
            async for page in listing():
                pages += 1
                hits = 0
                for entity in page:
                    entity_id = target.id_of(entity)
                    if entity_id in pending:
                        hits += 1
                        pending.discard(entity_id)
                        on_result(entity_id, entity)
                if len(pending) <= _MAX_SINGLE_READS:
                    return None
                # Without hits, reading the rest singly costs no more than the pages so far.
                if not hits and pages >= len(pending):
                    break
        except ThreeCommasError as error:
            # One entity that cannot be parsed spoils its whole page; single reads spare the others.
            return error if error.stops_everything else None
    return None
