"""Closing everything: list, close, and list again until a fresh listing shows nothing closable."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import field, frozen

from .batch import CloseBatch
from .closing import stops_everything
from .errors import RequestNotSentError, ThreeCommasError
from .options import check_callback
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
    _rounds: Counter[int] = field(init=False, factory=Counter[int], repr=False)

    def __attrs_post_init__(self) -> None:
        check_callback(self.on_outcome)

    async def plan(self) -> CloseReport[T]:
        """Return what would be closed now, as NOT_SENT; close nothing.

        Raises:
            ThreeCommasError: the listing failed.
        """
        reason = RequestNotSentError("dry run: nothing was sent")
        found = await self._closable(self._ends())
        return CloseReport(
            tuple(CloseOutcome(i, CloseState.NOT_SENT, e, reason) for i, e in found.items())
        )

    async def run(self) -> CloseReport[T]:
        """Close all there is, and report all that was closed.

        Raises:
            ThreeCommasError: the first listing failed, so that nothing was closed.
        """
        ends = self._ends()
        outcomes: dict[int, CloseOutcome[T]] = {}
        tried: dict[int, Phase] = {}
        try:
            while todo := await self._to_close(outcomes, tried, ends):
                outcomes |= await self._close(todo, ends, wholesale=not outcomes)
                if any(stops_everything(outcome.error) for outcome in outcomes.values()):
                    break
        except ThreeCommasError as error:
            if not outcomes:
                raise
            return CloseReport(tuple(outcomes.values()), unlisted=error)
        return CloseReport(tuple(outcomes.values()))

    def _ends(self) -> float | None:
        if self.deadline is None:
            return None
        return asyncio.get_running_loop().time() + self.deadline

    async def _to_close(
        self, outcomes: dict[int, CloseOutcome[T]], tried: dict[int, Phase], ends: float | None
    ) -> list[int]:
        """List afresh, and return what is to be closed, each so often as the policy allows."""
        found = await self._closable(ends)
        todo = [i for i, e in found.items() if self._is_to_close(outcomes.get(i), e, tried)]
        todo = [i for i in todo if self._rounds[i] < self.policy.attempts]
        self._rounds.update(todo)
        tried |= {i: self.target.phase(found[i]) for i in todo}
        return todo

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

    async def _close(
        self, todo: list[int], ends: float | None, *, wholesale: bool
    ) -> dict[int, CloseOutcome[T]]:
        if wholesale and (error := await self._close_wholesale(todo, ends)):
            return {i: CloseOutcome(i, CloseState.NOT_SENT, None, error) for i in todo}
        left = None if ends is None else max(0.0, ends - asyncio.get_running_loop().time())
        report = await CloseBatch(
            self.target,
            todo,
            policy=self.policy,
            confirm=self.confirm,
            deadline=left,
            on_outcome=self.on_outcome,
        )
        return {outcome.trade_id: outcome for outcome in report}

    async def _close_wholesale(
        self, todo: list[int], ends: float | None
    ) -> ThreeCommasError | None:
        """Close all with one request; what became of each is left in doubt, so it will be read.

        Returns the error where it says that closing them one by one could not pass either.
        """
        if self.wholesale is None:
            return None
        self.target.doubts.update(todo)
        try:
            async with asyncio.timeout_at(ends):
                await self.wholesale()
        except TimeoutError:
            return None
        except ThreeCommasError as error:
            if error.may_have_taken_effect:
                return None
            self.target.doubts.difference_update(todo)
            return error if stops_everything(error) else None
        return None

    async def _closable(self, ends: float | None) -> dict[int, T]:
        try:
            async with asyncio.timeout_at(ends):
                return {
                    self.target.id_of(entity): entity
                    async for page in self.listing()
                    for entity in page
                    if self.target.is_closable(entity)
                }
        except TimeoutError:
            text = f"the list could not be read before the deadline of {self.deadline:g} s"
        raise RequestNotSentError(text)
