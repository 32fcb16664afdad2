"""Closing everything: list, close, and list again until a fresh listing shows nothing closable."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import frozen

from .batch import CloseBatch
from .closing import stops_everything
from .errors import RequestNotSentError, ThreeCommasError
from .outcomes import CloseOutcome, CloseReport, CloseState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from .closing import Target
    from .lifecycle import Phase
    from .retry import RetryPolicy

__all__ = ["Sweep"]

T = TypeVar("T")

# What may be tried again when a fresh listing shows it closable still.
_AGAIN = frozenset({CloseState.NOT_SENT, CloseState.UNKNOWN})


@frozen(kw_only=True)
class Sweep(Generic[T]):
    """What to close and how.

    Attributes:
        target: the kind of entity; what its `is_closable` says is what gets closed.
        listing: goes through all that is active, filtered.
        wholesale: closes all of them with one request, where the API has one.
        policy: how often an entity may be tried again.
        confirm: wait until each is seen closed or failed.
        deadline: seconds for everything, listings included.
        on_outcome: called with each outcome as it becomes known.
    """

    target: Target[T]
    listing: Callable[[], AsyncIterator[Sequence[T]]]
    policy: RetryPolicy
    wholesale: Callable[[], Awaitable[object]] | None = None
    confirm: bool = False
    deadline: float | None = None
    on_outcome: Callable[[CloseOutcome[T]], object] | None = None

    async def plan(self) -> CloseReport[T]:
        """Return what would be closed now, as NOT_SENT; close nothing."""
        reason = RequestNotSentError("dry run: nothing was sent")
        found = await self._closable()
        return CloseReport(
            tuple(CloseOutcome(i, CloseState.NOT_SENT, e, reason) for i, e in found.items())
        )

    async def run(self) -> CloseReport[T]:
        """Close all there is, and report all that was closed.

        Raises:
            ThreeCommasError: the first listing failed, so that nothing was closed.
        """
        ends = asyncio.get_running_loop().time() + (self.deadline or 0.0)
        outcomes: dict[int, CloseOutcome[T]] = {}
        tried: dict[int, Phase] = {}
        for _ in range(self.policy.attempts):
            try:
                async with asyncio.timeout_at(None if self.deadline is None else ends):
                    found = await self._closable()
            except TimeoutError:
                text = f"the list could not be read before the deadline of {self.deadline:g} s"
                return self._unlisted(outcomes, RequestNotSentError(text))
            except ThreeCommasError as error:
                return self._unlisted(outcomes, error)
            todo = [i for i, e in found.items() if self._is_to_close(outcomes.get(i), e, tried)]
            if not todo:
                break
            if not tried:
                await self._close_wholesale(todo, ends)
            tried |= {i: self.target.phase(found[i]) for i in todo}
            report = await self._close(todo, ends)
            outcomes |= {outcome.trade_id: outcome for outcome in report}
            if any(stops_everything(outcome.error) for outcome in report):
                break
        return CloseReport(tuple(outcomes.values()))

    def _is_to_close(
        self, outcome: CloseOutcome[T] | None, entity: T, tried: dict[int, Phase]
    ) -> bool:
        """Tell whether to close what a fresh listing shows closable, after what became of it."""
        if outcome is None or outcome.state in _AGAIN:
            return True
        # A refusal would only be repeated, unless things have changed: a position was entered
        # after its cancel was refused.
        changed = self.target.phase(entity) is not tried[outcome.trade_id]
        return outcome.state is CloseState.REJECTED and changed

    async def _close_wholesale(self, todo: list[int], ends: float) -> None:
        """Close all with one request; what became of each is left in doubt, so it will be read."""
        if self.wholesale is None:
            return
        self.target.doubts.update(todo)
        try:
            async with asyncio.timeout_at(None if self.deadline is None else ends):
                await self.wholesale()
        except TimeoutError:
            pass
        except ThreeCommasError as error:
            if not error.may_have_taken_effect:
                self.target.doubts.difference_update(todo)

    async def _close(self, todo: list[int], ends: float) -> CloseReport[T]:
        left = None
        if self.deadline is not None:
            left = max(0.0, ends - asyncio.get_running_loop().time())
        return await CloseBatch(
            self.target,
            todo,
            policy=self.policy,
            confirm=self.confirm,
            deadline=left,
            on_outcome=self.on_outcome,
        )

    async def _closable(self) -> dict[int, T]:
        return {
            self.target.id_of(entity): entity
            async for page in self.listing()
            for entity in page
            if self.target.is_closable(entity)
        }

    @staticmethod
    def _unlisted(outcomes: dict[int, CloseOutcome[T]], error: ThreeCommasError) -> CloseReport[T]:
        if not outcomes:
            raise error
        return CloseReport(tuple(outcomes.values()), unlisted=error)
