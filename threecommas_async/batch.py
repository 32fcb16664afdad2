"""Closing many: one outcome for every id.

Whatever happens to its siblings, to the server, to the deadline, or to the task that waits.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from attrs import evolve

from .call import Trace
from .closing import Target, close_one, interrupted, keep_doubts, may_be_the_key, stops_everything
from .confirming import settled_by_reading, watch
from .errors import (
    RequestNotSentError,
    ThreeCommasError,
)
from .lifecycle import Phase
from .outcomes import CloseOutcome, CloseReport
from .reading import SharedReader

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Sequence

    from .retry import RetryPolicy

__all__ = ["CloseBatch"]

T = TypeVar("T")

_log = logging.getLogger("threecommas_async")

# What is in flight at the deadline gets so many seconds to be answered: an answer beats "unknown".
_GRACE = 0.75
# So many closes forbidden (403) and none accepted: the key lacks the permission.
_FORBIDDEN_MEANS_THE_KEY = 5


class CloseBatch(Generic[T]):
    """Closes under way: await it, iterate over it, look at it.

    Nothing is sent before it is awaited or iterated, and nothing runs on when that ends:

    * ``report = await batch`` ends with the whole report.
    * ``async for outcome in batch`` gives each outcome as it becomes known; leaving the loop early
      stops the batch.
    * ``asyncio.ensure_future(batch)`` makes a task of it (`create_task` takes coroutines only).
    * ``batch.report`` is the truth so far, at any moment, also after a cancellation: what was in
      flight is UNKNOWN, what had not begun is NOT_SENT.
    """

    def __init__(  # noqa: PLR0913 - what a batch is made of, from the resource
        self,
        target: Target[T],
        ids: Sequence[int],
        *,
        policy: RetryPolicy,
        confirm: bool = False,
        deadline: float | None = None,
        on_outcome: Callable[[CloseOutcome[T]], object] | None = None,
    ) -> None:
        self._target = target
        self._traces = {entity_id: Trace() for entity_id in ids}
        self._policy = policy
        self._confirm = confirm
        self._deadline = deadline
        self._on_outcome = on_outcome
        self._reader = SharedReader(target)
        self._runner: asyncio.Task[None] | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._known: dict[int, CloseOutcome[T]] = {}
        self._unconfirmed: dict[int, CloseOutcome[T]] = {}
        self._in_order: list[CloseOutcome[T]] = []
        self._news = asyncio.Event()
        self._stopped_by: ThreeCommasError | None = None
        self._forbidden = 0
        self._began = 0.0

    def __len__(self) -> int:
        return len(self._traces)

    def __await__(self) -> Generator[Any, None, CloseReport[T]]:
        return self._finish().__await__()

    async def __aiter__(self) -> AsyncGenerator[CloseOutcome[T], None]:
        """Yield each outcome as it becomes known."""
        runner, given = self._start(), 0
        try:
            while True:
                while given < len(self._in_order):
                    yield self._in_order[given]
                    given += 1
                if runner.done():
                    break
                self._news.clear()
                await self._news.wait()
        finally:
            runner.cancel()
            await asyncio.wait({runner})
        _raise_defect(runner)

    @property
    def report(self) -> CloseReport[T]:
        """The truth so far: one outcome for every id."""
        return CloseReport(tuple(self._outcome_now(entity_id) for entity_id in self._traces))

    def __del__(self) -> None:
        if self._runner is None and self._traces:
            text = f"a batch of {len(self)} closes was never awaited: nothing was sent"
            warnings.warn(text, RuntimeWarning, stacklevel=1, source=self)

    async def _finish(self) -> CloseReport[T]:
        runner = self._start()
        try:
            await asyncio.wait({runner})
        except asyncio.CancelledError:
            runner.cancel()
            await asyncio.wait({runner})
            raise
        _raise_defect(runner)
        return self.report

    def _start(self) -> asyncio.Task[None]:
        if self._runner is None:
            self._runner = asyncio.get_running_loop().create_task(self._run())
            self._runner.add_done_callback(lambda _: self._news.set())
        return self._runner

    async def _run(self) -> None:
        self._began = asyncio.get_running_loop().time()
        timers = self._set_deadline()
        try:
            if self._stopped_by is None:
                await self._close_all()
            if self._unconfirmed and self._stopped_by is None:
                await self._confirm_all()
        finally:
            for timer in timers:
                timer.cancel()
            for entity_id in self._traces:
                if entity_id not in self._known:
                    self._record(self._outcome_now(entity_id))

    def _set_deadline(self) -> Sequence[asyncio.TimerHandle]:
        if self._deadline is None:
            return ()
        late = RequestNotSentError(
            f"not sent before the deadline of {self._deadline:g} s; safe to close again"
        )
        if not self._deadline:
            self._stop(late)  # a timer would let everyone take a first step
            return ()
        loop, at = asyncio.get_running_loop(), self._began + self._deadline
        return loop.call_at(at, self._stop, late), loop.call_at(at + _GRACE, self._cut)

    async def _close_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._reader.work())
            self._tasks = {i: group.create_task(self._close(i)) for i in self._traces}
            if self._tasks:
                await asyncio.wait(self._tasks.values())
            reading.cancel()

    async def _close(self, entity_id: int) -> None:
        trace = self._traces[entity_id]
        try:
            outcome = await close_one(
                self._target,
                entity_id,
                policy=self._policy,
                read=self._read,
                trace=trace,
                on_error=self._consider,
            )
        except Exception:  # noqa: BLE001 - one close must not take its siblings with it
            _log.exception("closing trade %d failed in an unforeseen way", entity_id)
            outcome = interrupted(self._target, entity_id, trace, None, 0.0)
        outcome = evolve(outcome, elapsed=self._elapsed())
        if self._confirm and outcome.ok and not self._is_over(outcome.trade):
            self._unconfirmed[entity_id] = outcome
        else:
            self._record(outcome)
        if outcome.ok:
            self._forbidden = -len(self)  # the key can close: a 403 is about its trade

    async def _read(self, entity_id: int) -> T:
        if self._stopped_by is not None:
            msg = f"the batch was stopped: {self._stopped_by}"
            raise RequestNotSentError(msg)
        return await self._reader.read(entity_id)

    def _is_over(self, entity: T | None) -> bool:
        return entity is not None and self._target.phase(entity) is Phase.CLOSED

    def _consider(self, error: ThreeCommasError) -> None:
        """Stop everything where what one close ended in says that no other can pass."""
        self._forbidden += may_be_the_key(error)
        if stops_everything(error) or self._forbidden >= _FORBIDDEN_MEANS_THE_KEY:
            self._stop(error)

    def _stop(self, reason: ThreeCommasError) -> None:
        """Send nothing more; what is in flight is waited for."""
        if self._stopped_by is not None:
            return
        self._stopped_by = reason
        for entity_id, task in self._tasks.items():
            trace = self._traces[entity_id]
            trace.final = True
            if not trace.in_flight and task is not asyncio.current_task():
                task.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _cut(self) -> None:
        """Wait for nothing any more."""
        for task in self._tasks.values():
            task.cancel()

    async def _confirm_all(self) -> None:
        times_open: dict[int, int] = {}

        def seen(entity_id: int, result: T | ThreeCommasError) -> bool:
            if isinstance(result, ThreeCommasError):
                if stops_everything(result):
                    self._stop(result)
            elif self._target.is_closable(result):
                times_open[entity_id] = times_open.get(entity_id, 0) + 1
            else:
                times_open.pop(entity_id, None)
            outcome = settled_by_reading(
                self._target, self._unconfirmed[entity_id], result, times_open.get(entity_id, 0)
            )
            if outcome is None:
                return False
            self._record(evolve(outcome, elapsed=self._elapsed()))
            return True

        self._watcher = asyncio.ensure_future(watch(self._target, self._unconfirmed, seen))
        try:
            await asyncio.wait({self._watcher})
        finally:
            self._watcher.cancel()
            await asyncio.wait({self._watcher})
        _raise_defect(self._watcher)

    def _record(self, outcome: CloseOutcome[T]) -> None:
        keep_doubts(self._target, outcome)
        self._known[outcome.trade_id] = outcome
        self._in_order.append(outcome)
        self._news.set()
        if self._on_outcome is None:
            return
        try:
            self._on_outcome(outcome)
        except Exception:  # noqa: BLE001 - the other trades have to be closed all the same
            _log.exception("on_outcome failed for trade %d", outcome.trade_id)

    def _outcome_now(self, entity_id: int) -> CloseOutcome[T]:
        """Return the outcome, as it stands for one that is not over."""
        known = self._known.get(entity_id) or self._unconfirmed.get(entity_id)
        if known is not None:
            return known
        return interrupted(
            self._target,
            entity_id,
            self._traces[entity_id],
            self._stopped_by,
            self._elapsed(),
        )

    def _elapsed(self) -> float:
        return 0.0 if self._runner is None else self._runner.get_loop().time() - self._began


def _raise_defect(task: asyncio.Task[None]) -> None:
    """Raise what a task failed with; a cancelled one has not failed."""
    if not task.cancelled():
        task.result()
