"""The handle that `close_many`, `cancel_many` and `close_all` return.

`CloseBatch` runs a `Work` in a task of its own, started when the handle is first awaited or
iterated, and stops it when the caller stops waiting. It publishes each outcome once, through the
callback and to iterators, and keeps the final report.
"""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from ..logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from .report import CloseOutcome, CloseReport

__all__ = ["CloseBatch", "OutcomeIterator", "Work"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Work(Protocol[T_co]):
    """What a `CloseBatch` runs: `CloseMany` or `CloseAll`."""

    @property
    def title(self) -> str:
        """A name for messages, such as "a batch of 3 closes"; empty if there is nothing to do."""
        ...

    @property
    def report(self) -> CloseReport[T_co]:
        """The current report: one outcome for every id known so far."""
        ...

    def bind_to_loop(self) -> None:
        """Bind to the running event loop; raise in another process or on a second event loop."""
        ...

    async def run(self, publish: Callable[[CloseOutcome[T_co]], None]) -> None:
        """Do the work, and call `publish` with each outcome as soon as it is final.

        The handle publishes the outcomes that are still missing at the end.
        """
        ...

    def abort(self) -> None:
        """Send nothing after this call. The task that awaits `run` is cancelled in addition."""
        ...


class CloseBatch(Generic[T]):
    """A handle to closes under way: await it, iterate over it, or read its report.

    Nothing is sent before it is awaited or iterated, and nothing runs on once that ends:

    * ``report = await batch`` returns the complete report.
    * ``async for outcome in batch`` yields each outcome as it becomes known; leaving the loop early
      stops the batch at once.
    * ``asyncio.ensure_future(batch)`` wraps it in a task (`create_task` takes coroutines only).
    * ``batch.report`` is the current report, at any moment, also after a cancellation: a close that
      was in flight is UNKNOWN, one that had not started is NOT_SENT. For `close_all` it covers what
      has been listed so far, and `unlisted` is set until a final listing shows that nothing is
      left.
    * ``len(batch)`` is the number of ids in that report.
    """

    def __init__(
        self, work: Work[T], *, on_outcome: Callable[[CloseOutcome[T]], object] | None = None
    ) -> None:
        self._work = work
        self._on_outcome = on_outcome
        self._awaited = False
        self._runner: asyncio.Task[None] | None = None
        self._published: list[CloseOutcome[T]] = []
        self._last_published: dict[int, CloseOutcome[T]] = {}
        self._changed = asyncio.Event()
        """Set when an outcome was published, or the runner has ended."""
        self._final_report: CloseReport[T] | None = None

    def __bool__(self) -> bool:
        """Return True: a handle is not empty because nothing is known yet."""
        return True

    def __len__(self) -> int:
        return len(self.report)

    def __await__(self) -> Generator[Any, None, CloseReport[T]]:
        return self._wait().__await__()

    def __aiter__(self) -> OutcomeIterator[T]:
        """Yield each outcome as it becomes known."""
        return OutcomeIterator(self._wait_for_outcome, self._stop)

    @property
    def report(self) -> CloseReport[T]:
        """The current report: one outcome for every id."""
        return self._work.report if self._final_report is None else self._final_report

    def __del__(self) -> None:
        if not self._awaited and (title := self._work.title):
            text = f"{title} was never awaited: nothing was sent"
            warnings.warn(text, RuntimeWarning, stacklevel=1, source=self)

    async def _wait(self) -> CloseReport[T]:
        runner = self._start()
        try:
            await asyncio.wait({runner})
        except asyncio.CancelledError:
            self._stop()
            await asyncio.wait({runner})
            raise
        _raise_failure(runner)
        return self.report

    async def _wait_for_outcome(self, index: int) -> CloseOutcome[T] | None:
        """Wait for the outcome with this index in order of publication; None if there are fewer."""
        runner = self._start()
        while index >= len(self._published):
            if runner.done():
                _raise_failure(runner)
                return None
            self._changed.clear()
            try:
                await self._changed.wait()
            except asyncio.CancelledError:
                self._stop()
                await asyncio.wait({runner})
                raise
        return self._published[index]

    def _start(self) -> asyncio.Task[None]:
        self._awaited = True
        if self._runner is None:
            self._work.bind_to_loop()  # fails here once, instead of once per close
            self._runner = asyncio.get_running_loop().create_task(self._run())
            self._runner.add_done_callback(self._on_runner_done)
        return self._runner

    def _on_runner_done(self, runner: asyncio.Task[None]) -> None:
        if not runner.cancelled():
            # Mark the exception as retrieved: a caller that has left will not, and asyncio would
            # log it.
            runner.exception()
        self._changed.set()

    def _stop(self) -> None:
        """Send nothing more, without waiting for anything."""
        if self._runner is None or self._runner.get_loop().is_closed():
            return
        self._work.abort()
        self._runner.cancel()

    async def _run(self) -> None:
        try:
            # An eager task would run before `_start` has stored it in `_runner`.
            await asyncio.sleep(0)
            await self._work.run(self._publish)
        finally:
            # Frozen, so that what other calls find out later does not change this report.
            self._final_report = self._work.report
            for outcome in self._final_report:
                if self._last_published.get(outcome.trade_id) is not outcome:
                    self._publish(outcome)

    def _publish(self, outcome: CloseOutcome[T]) -> None:
        self._last_published[outcome.trade_id] = outcome
        self._published.append(outcome)
        self._changed.set()
        if self._on_outcome is None:
            return
        try:
            self._on_outcome(outcome)
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - the other closes must go on
            log.exception("on_outcome failed for %d", outcome.trade_id)


class OutcomeIterator(Generic[T]):
    """Yields the outcomes of a batch as they become known; stops the batch when it is discarded.

    Args:
        wait_for_outcome: waits for the outcome with an index; returns None after the last one.
        stop: stops the batch.
    """

    def __init__(
        self,
        wait_for_outcome: Callable[[int], Awaitable[CloseOutcome[T] | None]],
        stop: Callable[[], None],
    ) -> None:
        self._wait_for_outcome = wait_for_outcome
        self._stop = stop
        self._index = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CloseOutcome[T]:
        outcome = await self._wait_for_outcome(self._index)
        if outcome is None:
            raise StopAsyncIteration
        self._index += 1
        return outcome

    async def aclose(self) -> None:
        """Stop the batch, as leaving the loop does."""
        self._stop()

    def __del__(self) -> None:
        # Leaving the loop with `break` calls nothing but this, and must stop the batch.
        self._stop()


def _raise_failure(task: asyncio.Task[None]) -> None:
    """Raise the exception that a task failed with; do nothing if it was cancelled."""
    if not task.cancelled():
        task.result()
