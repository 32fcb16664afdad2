"""Closes the ids of a list in parallel, with one outcome for every id.

A failed close does not affect the others, unless its error shows that no other can succeed either,
such as a refused key: then the batch stops. A batch also stops at its deadline, after a short grace
period for closes in flight. Ids that earlier closes have left in doubt are read before the rest is
sent. With `confirm`, accepted closes are read until they are closed or failed.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import evolve

from ..errors import PermissionDeniedError, RequestNotSentError, ThreeCommasError
from ..logs import log
from ..retry import Trace
from .confirm import Confirmation, poll
from .lookup import Reader
from .one import close_one, interrupted_outcome
from .phase import Phase
from .report import CloseOutcome, CloseReport, CloseState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..retry import RetryPolicy
    from .target import Target

__all__ = ["CloseMany"]

T = TypeVar("T")

# Seconds after the deadline in which closes in flight may still be answered: better than UNKNOWN.
_DEADLINE_GRACE = 0.75
# Maximum seconds by which reads of ids in doubt go ahead of the other closes.
_HEAD_START = 2.0
# Number of 403 answers, with no close accepted, after which the key is taken to be their cause.
_FORBIDDEN_TO_STOP = 5


class CloseMany(Generic[T]):
    """Closes a list of ids, see `handle.Work`.

    Args:
        target: the kind of entity.
        ids: the entities to close, without duplicates.
        policy: how often each close may be repeated.
        confirm: wait until each entity is seen closed or failed.
        deadline: seconds after which no further close is sent; None for no limit.
        whole_deadline: the deadline that messages name, where `deadline` is what is left of it.
        listed: whether a listing has just shown the entities.
        stopped_by: an error that lets no close succeed; nothing is then sent.
    """

    _publish: Callable[[CloseOutcome[T]], None]  # set by `run`

    def __init__(  # noqa: PLR0913 - see the docstring
        self,
        target: Target[T],
        ids: Sequence[int],
        *,
        policy: RetryPolicy,
        confirm: bool = False,
        deadline: float | None = None,
        whole_deadline: float | None = None,
        listed: bool = False,
        stopped_by: ThreeCommasError | None = None,
    ) -> None:
        self._target = target
        self._traces = {entity_id: Trace() for entity_id in ids}
        self._policy = policy
        self._confirm = confirm
        self._deadline = deadline
        self._whole_deadline = deadline if whole_deadline is None else whole_deadline
        self._listed = listed
        self._reader = Reader(target)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._poller: asyncio.Task[None] | None = None
        self._final: dict[int, CloseOutcome[T]] = {}
        self._confirmations: dict[int, Confirmation[T]] = {}
        self._stopped_by = stopped_by
        self._forbidden = 0
        self._key_may_close = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started_at = 0.0

    @property
    def title(self) -> str:
        """A name for messages, such as "a batch of 3 closes"; empty if there is nothing to do."""
        noun = "cancels" if self._target.cancels else "closes"
        return f"a batch of {len(self._traces)} {noun}" if self._traces else ""

    @property
    def report(self) -> CloseReport[T]:
        """The current report: one outcome for every id."""
        return CloseReport(tuple(self._current_outcome(entity_id) for entity_id in self._traces))

    def bind_to_loop(self) -> None:
        """Bind to the running event loop; raise in another process or on a second event loop."""
        self._target.registry.bind_to_loop()

    async def run(self, publish: Callable[[CloseOutcome[T]], None]) -> None:
        """Close all ids, and call `publish` with each outcome as soon as it is final."""
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._started_at = self._loop.time()
        timers = self._start_timers(self._loop)
        try:
            if self._stopped_by is None:
                await self._close_all_ids()
            if self._confirmations and self._stopped_by is None:
                await self._confirm_all()
        finally:
            for timer in timers:
                timer.cancel()

    def abort(self) -> None:
        """Send nothing after this call."""
        self._cancel_closes()
        self._reader.cancel()
        if self._poller is not None:
            self._poller.cancel()

    def _start_timers(self, loop: asyncio.AbstractEventLoop) -> Sequence[asyncio.TimerHandle]:
        if self._deadline is None:
            return ()
        if self._target.blocked_for() >= self._deadline:
            self._stop_at_deadline()  # no close could be sent in time
            return ()
        at = self._started_at + self._deadline
        return (
            loop.call_at(at, self._stop_at_deadline),
            loop.call_at(at + _DEADLINE_GRACE, self._cancel_closes),
        )

    def _stop_at_deadline(self) -> None:
        text = f"not sent before the deadline of {self._whole_deadline:g} s"
        blocked = self._target.blocked_for()
        if blocked:
            text += f": the server refuses everything (429 or 418) for another {blocked:.0f} s"
        text += f"; safe to {self._target.verb} again"
        self._stop(RequestNotSentError(text, available_in=blocked or None))

    async def _close_all_ids(self) -> None:
        registry = self._target.registry
        # One that is being closed right now is not read here: its outcome will be shared.
        in_doubt = [
            i for i in self._traces if registry.is_in_doubt(i) and not registry.is_being_closed(i)
        ]
        others = [i for i in self._traces if i not in set(in_doubt)]
        try:
            self._start_closes(in_doubt)
            if in_doubt and others:
                # One page answers for a hundred ids, so it goes first; otherwise the other closes
                # would take all slots of the rate limit.
                with suppress(TimeoutError):
                    async with asyncio.timeout(_HEAD_START):
                        await self._reader.first_batch_sent.wait()
            self._start_closes(others)
            if self._tasks:
                await asyncio.wait(self._tasks.values())
        finally:
            self._cancel_closes()
            await self._reader.aclose()
            if self._tasks:
                await asyncio.wait(self._tasks.values())

    def _start_closes(self, entity_ids: Iterable[int]) -> None:
        create_task = asyncio.get_running_loop().create_task
        for entity_id in entity_ids:
            # An eager task (Python 3.12) runs at once, and may have stopped the batch already.
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
                on_error=self._stop_if_hopeless,
            )
        except Exception as defect:  # noqa: BLE001 - a defect in one close must not stop the others
            name = self._target.name(entity_id)
            log.exception("closing %s failed unexpectedly", name)
            reason = RequestNotSentError(f"not sent, {defect!r}")
            outcome = interrupted_outcome(self._target, entity_id, trace, reason, 0.0)
        if trace.final and self._stopped_by and type(outcome.error) is RequestNotSentError:
            # The stop kept its request back: what stopped the batch is the reason.
            outcome = evolve(outcome, error=self._stopped_by)
        outcome = evolve(outcome, elapsed=self._elapsed())
        if self._confirm and outcome.ok and not self._is_closed(outcome.trade):
            self._confirmations[entity_id] = Confirmation(self._target, outcome)
        else:
            self._finish(outcome)
        if outcome.state in {CloseState.ACCEPTED, CloseState.CLOSED}:
            self._key_may_close = True

    async def _read(self, entity_id: int) -> T:
        if self._stopped_by is not None:
            msg = f"the batch was stopped: {self._stopped_by}"
            raise RequestNotSentError(msg)
        return await self._reader.read(entity_id)

    def _is_closed(self, entity: T | None) -> bool:
        return entity is not None and self._target.phase(entity) is Phase.CLOSED

    def _stop_if_hopeless(self, error: ThreeCommasError) -> None:
        """Stop the batch if the error of one close shows that no other can succeed."""
        if isinstance(error, PermissionDeniedError) and error.may_be_the_key:
            self._forbidden += 1
        no_key = self._forbidden >= _FORBIDDEN_TO_STOP and not self._key_may_close
        if error.stops_everything or no_key:
            self._stop(error)

    def _stop(self, reason: ThreeCommasError) -> None:
        """Send nothing more, but let the closes in flight receive their answers."""
        if self._stopped_by is not None:
            return
        self._stopped_by = reason
        self._reader.first_batch_sent.set()  # it may never be sent now: end the head start
        for entity_id, task in self._tasks.items():
            trace = self._traces[entity_id]
            trace.final = True
            if not trace.in_flight and task is not asyncio.current_task():
                task.cancel()
        if self._poller is not None:
            self._poller.cancel()

    def _cancel_closes(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def _confirm_all(self) -> None:
        def is_settled(entity_id: int, result: T | ThreeCommasError) -> bool:
            if isinstance(result, ThreeCommasError) and result.stops_everything:
                self._stop(result)
            confirmation = self._confirmations[entity_id]
            confirmation.update(result)
            if confirmation.settled:
                self._finish(evolve(confirmation.outcome, elapsed=self._elapsed()))
            return confirmation.settled

        # A task of its own, so that `_stop` can end it without cancelling the whole batch.
        self._poller = asyncio.ensure_future(poll(self._reader, self._confirmations, is_settled))
        try:
            await asyncio.wait({self._poller})
        finally:
            self._poller.cancel()
            await asyncio.wait({self._poller})
        if not self._poller.cancelled():
            self._poller.result()  # raises the exception it failed with, if any

    def _finish(self, outcome: CloseOutcome[T]) -> None:
        self._final[outcome.trade_id] = outcome
        self._publish(outcome)

    def _current_outcome(self, entity_id: int) -> CloseOutcome[T]:
        if final := self._final.get(entity_id):
            return final
        if confirmation := self._confirmations.get(entity_id):
            return confirmation.outcome
        return interrupted_outcome(
            self._target,
            entity_id,
            self._traces[entity_id],
            self._stopped_by,
            self._elapsed(),
        )

    def _elapsed(self) -> float:
        """Return the seconds since the batch started; 0 if it has not."""
        return 0.0 if self._loop is None else self._loop.time() - self._started_at
