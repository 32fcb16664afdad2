"""The handle that `close_many`, `cancel_many` and `close_all` return.

Whatever it runs, awaiting, iterating, looking at the report and stopping work alike.
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
    """What a handle runs."""

    @property
    def title(self) -> str:
        """What it is, for people; empty if there is nothing to do."""
        ...

    @property
    def report(self) -> CloseReport[T_co]:
        """The truth so far: one outcome for every id known so far."""
        ...

    def enter(self) -> None:
        """Refuse to be run in another process, or on an event loop beside the first."""
        ...

    async def run(self, tell: Callable[[CloseOutcome[T_co]], None]) -> None:
        """Do it, and tell each outcome as soon as it is final.

        What has not been told in the end is told by the handle.
        """
        ...

    def halt(self) -> None:
        """Send nothing after this moment. The task that awaits `run` is cancelled besides."""
        ...


class CloseBatch(Generic[T]):
    """Closes under way: await it, iterate over it, look at it.

    Nothing is sent before it is awaited or iterated, and nothing runs on when that ends:

    * ``report = await batch`` ends with the whole report.
    * ``async for outcome in batch`` gives each outcome as it becomes known; leaving the loop early
      stops the batch in that moment.
    * ``asyncio.ensure_future(batch)`` makes a task of it (`create_task` takes coroutines only).
    * ``batch.report`` is the truth so far, at any moment, also after a cancellation: what was in
      flight is UNKNOWN, what had not begun is NOT_SENT. Of `close_all` it knows what has been
      listed so far, and has `unlisted` until a last listing shows that nothing is left.
    * ``len(batch)`` is the number of ids in that report.
    """

    def __init__(
        self, work: Work[T], *, on_outcome: Callable[[CloseOutcome[T]], object] | None = None
    ) -> None:
        self._work = work
        self._on_outcome = on_outcome
        self._awaited = False
        self._runner: asyncio.Task[None] | None = None
        self._in_order: list[CloseOutcome[T]] = []
        self._told: dict[int, CloseOutcome[T]] = {}
        self._news = asyncio.Event()
        self._final: CloseReport[T] | None = None

    def __len__(self) -> int:
        return len(self.report)

    def __await__(self) -> Generator[Any, None, CloseReport[T]]:
        return self._finish().__await__()

    def __aiter__(self) -> OutcomeIterator[T]:
        """Yield each outcome as it becomes known."""
        return OutcomeIterator(self._outcome_number, self._halt)

    @property
    def report(self) -> CloseReport[T]:
        """The truth so far: one outcome for every id."""
        return self._work.report if self._final is None else self._final

    def __del__(self) -> None:
        if not self._awaited and (title := self._work.title):
            text = f"{title} was never awaited: nothing was sent"
            warnings.warn(text, RuntimeWarning, stacklevel=1, source=self)

    async def _finish(self) -> CloseReport[T]:
        runner = self._start()
        try:
            await asyncio.wait({runner})
        except asyncio.CancelledError:
            self._halt()
            await asyncio.wait({runner})
            raise
        _raise_failure(runner)
        return self.report

    async def _outcome_number(self, number: int) -> CloseOutcome[T] | None:
        """Wait for the outcome that becomes known as this one, from 0; None when all are known."""
        runner = self._start()
        while number >= len(self._in_order):
            if runner.done():
                _raise_failure(runner)
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
            self._work.enter()  # else each close would be refused by itself
            self._runner = asyncio.get_running_loop().create_task(self._run())
            self._runner.add_done_callback(self._ended)
        return self._runner

    def _ended(self, runner: asyncio.Task[None]) -> None:
        if not runner.cancelled():
            runner.exception()  # whoever has left will not ask; asyncio would log that at length
        self._news.set()

    def _halt(self) -> None:
        """Send nothing more and wait for nothing: from this moment on the report stands."""
        if self._runner is None or self._runner.get_loop().is_closed():
            return
        self._work.halt()
        self._runner.cancel()

    async def _run(self) -> None:
        try:
            await asyncio.sleep(0)  # eager tasks get here before `create_task` has returned
            await self._work.run(self._tell)
        finally:
            # What other calls find out later must not change what this one says.
            self._final = self._work.report
            for outcome in self._final:
                if self._told.get(outcome.trade_id) is not outcome:
                    self._tell(outcome)

    def _tell(self, outcome: CloseOutcome[T]) -> None:
        self._told[outcome.trade_id] = outcome
        self._in_order.append(outcome)
        self._news.set()
        if self._on_outcome is None:
            return
        try:
            self._on_outcome(outcome)
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - the others have to be closed
            log.exception("on_outcome failed for %d", outcome.trade_id)


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


def _raise_failure(task: asyncio.Task[None]) -> None:
    """Raise what a task failed with; a cancelled one has not failed."""
    if not task.cancelled():
        task.result()
