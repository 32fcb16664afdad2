"""Closing many: one outcome for every id.

Whatever happens to its siblings, to the server, to the deadline, or to the task that waits.
"""

from __future__ import annotations

import asyncio
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from attrs import evolve

from ..errors import PermissionDeniedError, RequestNotSentError, ThreeCommasError
from ..logs import log
from ..retry import Trace
from .confirm import Watched, watch
from .lookup import Reader
from .one import Target, close_one, interrupted
from .phase import Phase
from .report import CloseOutcome, CloseReport, CloseState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence

    from ..retry import RetryPolicy

__all__ = ["CloseBatch", "OutcomeIterator"]

T = TypeVar("T")

# Seconds that what is in flight gets after the deadline: an answer beats "unknown".
_GRACE = 0.75
# Seconds by which reads of what is in question go ahead of closes that have not begun.
_HEAD_START = 2.0
# Number of closes forbidden (403), none accepted, after which the key is taken to be the reason.
_FORBIDDEN_MEANS_THE_KEY = 5


class CloseBatch(Generic[T]):
    """Closes under way: await it, iterate over it, look at it.

    Nothing is sent before it is awaited or iterated, and nothing runs on when that ends:

    * ``report = await batch`` ends with the whole report.
    * ``async for outcome in batch`` gives each outcome as it becomes known; leaving the loop early
      stops the batch in that moment.
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
        listed: bool = False,
        stopped_by: ThreeCommasError | None = None,
        on_outcome: Callable[[CloseOutcome[T]], object] | None = None,
    ) -> None:
        self._target = target
        self._traces = {entity_id: Trace() for entity_id in ids}
        self._policy = policy
        self._confirm = confirm
        self._deadline = deadline
        self._listed = listed
        self._on_outcome = on_outcome
        self._reader = Reader(target)
        self._runner: asyncio.Task[None] | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._known: dict[int, CloseOutcome[T]] = {}
        self._unconfirmed: dict[int, Watched[T]] = {}
        self._in_order: list[CloseOutcome[T]] = []
        self._news = asyncio.Event()
        self._stopped_by = stopped_by
        self._forbidden = 0
        self._awaited = False
        self._began = 0.0

    def __len__(self) -> int:
        return len(self._traces)

    def __await__(self) -> Generator[Any, None, CloseReport[T]]:
        return self._finish().__await__()

    def __aiter__(self) -> OutcomeIterator[T]:
        """Yield each outcome as it becomes known."""
        return OutcomeIterator(self._outcome_number, self._halt)

    @property
    def report(self) -> CloseReport[T]:
        """The truth so far: one outcome for every id."""
        return CloseReport(tuple(self._outcome_now(entity_id) for entity_id in self._traces))

    def __del__(self) -> None:
        if not self._awaited and self._traces:
            text = f"a batch of {len(self)} closes was never awaited: nothing was sent"
            warnings.warn(text, RuntimeWarning, stacklevel=1, source=self)

    async def _finish(self) -> CloseReport[T]:
        runner = self._start()
        try:
            await asyncio.wait({runner})
        except asyncio.CancelledError:
            self._halt()
            await asyncio.wait({runner})
            raise
        _raise_defect(runner)
        return self.report

    async def _outcome_number(self, number: int) -> CloseOutcome[T] | None:
        """Wait for the outcome that becomes known as this one, from 0; None when all are known."""
        runner = self._start()
        while number >= len(self._in_order):
            if runner.done():
                _raise_defect(runner)
                return None
            self._news.clear()
            try:
                await self._news.wait()
            except asyncio.CancelledError:
                self._halt()
                await asyncio.wait({runner})
                raise
        return self._in_order[number]

    def _start(self) -> asyncio.Task[None]:
        self._awaited = True
        if self._runner is None:
            self._target.registry.enter()  # else each close would be refused by itself
            self._began = asyncio.get_running_loop().time()
            self._runner = asyncio.get_running_loop().create_task(self._run())
            self._runner.add_done_callback(lambda _: self._news.set())
        return self._runner

    def _halt(self) -> None:
        """Send nothing more and wait for nothing: from this moment on the report stands."""
        if self._runner is None or self._runner.get_loop().is_closed():
            return
        for task in (*self._tasks.values(), self._runner):
            task.cancel()
        self._reader.cut()

    async def _run(self) -> None:
        timers = self._set_deadline()
        try:
            await asyncio.sleep(0)  # eager tasks get here before `create_task` has returned
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
        in_question = [i for i in self._traces if i in self._target.registry]
        fresh = [i for i in self._traces if i not in self._target.registry]
        try:
            self._begin(in_question)
            if in_question and fresh:
                # One page tells of a hundred: it goes before the fresh ones take all the slots.
                with suppress(TimeoutError):
                    async with asyncio.timeout(_HEAD_START):
                        await self._reader.has_left.wait()
            self._begin(fresh)
            if self._tasks:
                await asyncio.wait(self._tasks.values())
        finally:
            self._cut()
            await self._reader.aclose()
            if self._tasks:
                await asyncio.wait(self._tasks.values())

    def _begin(self, entity_ids: Iterable[int]) -> None:
        create_task = asyncio.get_running_loop().create_task
        for entity_id in entity_ids:
            # Tasks that begin at once (eager tasks, Python 3.12 on) may stop the rest.
            if self._stopped_by is None:  # pragma: no branch - Python 3.11 has none
                self._tasks[entity_id] = create_task(self._close(entity_id))

    async def _close(self, entity_id: int) -> None:
        trace = self._traces[entity_id]
        try:
            outcome = await close_one(
                self._target,
                entity_id,
                policy=self._policy,
                read=self._read,
                trace=trace,
                listed=self._listed,
                on_error=self._consider,
            )
        except Exception as defect:  # noqa: BLE001 - one close must not take its siblings with it
            log.exception("closing trade %d failed in an unforeseen way", entity_id)
            reason = RequestNotSentError(f"trade {entity_id}: not sent, {defect!r}")
            outcome = interrupted(self._target, entity_id, trace, reason, 0.0)
        outcome = evolve(outcome, elapsed=self._elapsed())
        if self._confirm and outcome.ok and not self._is_over(outcome.trade):
            self._unconfirmed[entity_id] = Watched(self._target, outcome)
        else:
            self._record(outcome)
        if outcome.state in {CloseState.ACCEPTED, CloseState.CLOSED}:
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
        self._forbidden += isinstance(error, PermissionDeniedError) and error.may_be_the_key
        if error.stops_everything or self._forbidden >= _FORBIDDEN_MEANS_THE_KEY:
            self._stop(error)

    def _stop(self, reason: ThreeCommasError) -> None:
        """Send nothing more; what is in flight is waited for."""
        if self._stopped_by is not None:
            return
        self._stopped_by = reason
        self._reader.has_left.set()  # nobody waits for reads that do not come any more
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
        def seen(entity_id: int, result: T | ThreeCommasError) -> bool:
            if isinstance(result, ThreeCommasError) and result.stops_everything:
                self._stop(result)
            watched = self._unconfirmed[entity_id]
            watched.see(result)
            if watched.settled:
                self._record(evolve(watched.outcome, elapsed=self._elapsed()))
            return watched.settled

        self._watcher = asyncio.ensure_future(watch(self._reader, self._unconfirmed, seen))
        try:
            await asyncio.wait({self._watcher})
        finally:
            self._watcher.cancel()
            await asyncio.wait({self._watcher})
        _raise_defect(self._watcher)

    def _record(self, outcome: CloseOutcome[T]) -> None:
        self._known[outcome.trade_id] = outcome
        self._in_order.append(outcome)
        self._news.set()
        if self._on_outcome is None:
            return
        try:
            self._on_outcome(outcome)
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - the others have to be closed
            log.exception("on_outcome failed for trade %d", outcome.trade_id)

    def _outcome_now(self, entity_id: int) -> CloseOutcome[T]:
        """Return the outcome, as it stands for one that is not over."""
        if known := self._known.get(entity_id):
            return known
        if watched := self._unconfirmed.get(entity_id):
            return watched.outcome
        return interrupted(
            self._target,
            entity_id,
            self._traces[entity_id],
            self._stopped_by,
            self._elapsed(),
        )

    def _elapsed(self) -> float:
        return 0.0 if self._runner is None else self._runner.get_loop().time() - self._began


class OutcomeIterator(Generic[T]):
    """Gives the outcomes of a batch as they become known; whoever lets go of it stops the batch."""

    def __init__(
        self,
        outcome_number: Callable[[int], Awaitable[CloseOutcome[T] | None]],
        leave: Callable[[], None],
    ) -> None:
        self._outcome_number = outcome_number
        self._leave = leave
        self._given = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CloseOutcome[T]:
        outcome = await self._outcome_number(self._given)
        if outcome is None:
            raise StopAsyncIteration
        self._given += 1
        return outcome

    async def aclose(self) -> None:
        """Stop the batch, as leaving the loop does."""
        self._leave()

    def __del__(self) -> None:
        # `break` lets go of the iterator: whatever has not left by then must not leave any more.
        self._leave()


def _raise_defect(task: asyncio.Task[None]) -> None:
    """Raise what a task failed with; a cancelled one has not failed."""
    if not task.cancelled():
        task.result()
