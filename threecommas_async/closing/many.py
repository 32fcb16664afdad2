"""Closing many: one outcome for every id.

Whatever happens to its siblings, to the server, to the deadline, or to the task that waits.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import evolve

from ..errors import PermissionDeniedError, RequestNotSentError, ThreeCommasError
from ..logs import log
from ..retry import Trace
from .confirm import Watched, watch
from .lookup import Reader
from .one import close_one, interrupted
from .phase import Phase
from .report import CloseOutcome, CloseReport, CloseState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..retry import RetryPolicy
    from .target import Target

__all__ = ["CloseMany"]

T = TypeVar("T")

# Seconds that what is in flight gets after the deadline: an answer beats "unknown".
_GRACE = 0.75
# Seconds by which reads of what is in question go ahead of closes that have not begun.
_HEAD_START = 2.0
# Number of closes forbidden (403), none accepted, after which the key is taken to be the reason.
_FORBIDDEN_MEANS_THE_KEY = 5


class CloseMany(Generic[T]):
    """Closing the ids of a list, side by side, see `handle.Work`."""

    _tell: Callable[[CloseOutcome[T]], None]  # given to `run`

    def __init__(  # noqa: PLR0913 - what it takes to close many, from the resource
        self,
        target: Target[T],
        ids: Sequence[int],
        *,
        policy: RetryPolicy,
        confirm: bool = False,
        deadline: float | None = None,
        listed: bool = False,
        stopped_by: ThreeCommasError | None = None,
    ) -> None:
        self._target = target
        self._traces = {entity_id: Trace() for entity_id in ids}
        self._policy = policy
        self._confirm = confirm
        self._deadline = deadline
        self._listed = listed
        self._reader = Reader(target)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._known: dict[int, CloseOutcome[T]] = {}
        self._unconfirmed: dict[int, Watched[T]] = {}
        self._stopped_by = stopped_by
        self._forbidden = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._began = 0.0

    @property
    def title(self) -> str:
        """What it is, for people; empty if there is nothing to do."""
        what = "cancels" if self._target.cancels else "closes"
        return f"a batch of {len(self._traces)} {what}" if self._traces else ""

    @property
    def report(self) -> CloseReport[T]:
        """The truth so far: one outcome for every id."""
        return CloseReport(tuple(self._outcome_now(entity_id) for entity_id in self._traces))

    def enter(self) -> None:
        """Refuse to be run in another process, or on an event loop beside the first."""
        self._target.registry.enter()

    async def run(self, tell: Callable[[CloseOutcome[T]], None]) -> None:
        """Close them, and tell each outcome as it becomes known."""
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        timers = self._set_deadline(self._loop)
        try:
            if self._stopped_by is None:
                await self._close_all()
            if self._unconfirmed and self._stopped_by is None:
                await self._confirm_all()
        finally:
            for timer in timers:
                timer.cancel()

    def halt(self) -> None:
        """Send nothing after this moment."""
        self._cut()
        self._reader.cut()

    def _set_deadline(self, loop: asyncio.AbstractEventLoop) -> Sequence[asyncio.TimerHandle]:
        if self._deadline is None:
            return ()
        late = RequestNotSentError(
            f"not sent before the deadline of {self._deadline:g} s; safe to close again"
        )
        if not self._deadline:
            self._stop(late)  # a timer would let everyone take a first step
            return ()
        at = self._began + self._deadline
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
            name = self._target.name(entity_id)
            log.exception("closing %s failed in an unforeseen way", name)
            reason = RequestNotSentError(f"{name}: not sent, {defect!r}")
            outcome = interrupted(self._target, entity_id, trace, reason, 0.0)
        outcome = evolve(outcome, elapsed=self._elapsed())
        if self._confirm and outcome.ok and not self._is_over(outcome.trade):
            self._unconfirmed[entity_id] = Watched(self._target, outcome)
        else:
            self._record(outcome)
        if outcome.state in {CloseState.ACCEPTED, CloseState.CLOSED}:
            self._forbidden = -len(self._traces)  # the key can close: a 403 is about its trade

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
        if not self._watcher.cancelled():
            self._watcher.result()  # raises what it failed with, if it did

    def _record(self, outcome: CloseOutcome[T]) -> None:
        self._known[outcome.trade_id] = outcome
        self._tell(outcome)

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
        return 0.0 if self._loop is None else self._loop.time() - self._began
