"""Closing everything: list, close, and list again until a fresh listing shows nothing to close."""

from __future__ import annotations

import asyncio
from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import field, frozen

from ..errors import CloseFailedError, InvalidRequestError, RequestNotSentError, ThreeCommasError
from ..logs import log
from ..options import check_callback
from ..retry import Trace
from .many import CloseBatch
from .phase import Phase
from .report import CloseOutcome, CloseReport, CloseState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from ..retry import RetryPolicy
    from .one import Target

__all__ = ["Match", "Scope", "Sweep"]

T = TypeVar("T")

# What may be tried again when a fresh listing shows it closable still.
_AGAIN = frozenset({CloseState.NOT_SENT, CloseState.UNKNOWN})
# How often a list that does not fit on a page is read, until it brings nothing new.
_PASSES = 5
# Places that a text about filters without a match names.
_NAMED = 10


class Match(Enum):
    """Whether an entity passes the filters of a listing. The server's word is not taken for it."""

    YES = "yes"
    NO = "no"
    UNCERTAIN = "uncertain"
    """The answer lacks what the filter is about."""


@frozen(kw_only=True)
class Scope(Generic[T]):
    """Which entities are meant.

    Attributes:
        listing: goes through all that is active and passes the filters, given the seconds that
            each request has; None for as long as it takes.
        everything: the same without filters; None where no filter is set.
        page_size: how many are on a full page.
        filters: the filters as text, for people.
        match: tells whether an entity passes the filters.
        place: where an entity is, as in "USDT_BTC on account 1".
    """

    listing: Callable[[float | None], AsyncIterator[Sequence[T]]]
    everything: Callable[[float | None], AsyncIterator[Sequence[T]]] | None
    page_size: int
    filters: str
    match: Callable[[T], Match]
    place: Callable[[T], str]


@frozen
class _Listed(Generic[T]):
    """What one listing shows, by what is to be done about it."""

    closable: dict[int, T] = field(factory=dict[int, T])
    cancellable: dict[int, T] = field(factory=dict[int, T])
    left: dict[int, CloseOutcome[T]] = field(factory=dict[int, CloseOutcome[T]])
    """Active, to be closed, and nothing can be done about it."""
    skipped: dict[int, CloseOutcome[T]] = field(factory=dict[int, CloseOutcome[T]])

    def __bool__(self) -> bool:
        return bool(self.closable or self.cancellable or self.left or self.skipped)


class Sweep(Generic[T]):
    """One `close_all`.

    Args:
        target: the kind of entity, as something to close.
        cancel: the same, cancelled instead, for those whose entry is not filled; None leaves them.
        scope: which ones.
        policy: how often an entity may be tried again.
        wholesale: closes all of them with one request, where the API has one.
        confirm: wait until each is seen closed or failed.
        deadline: seconds for everything, listings included.
        on_outcome: called with each outcome as it becomes known.
    """

    def __init__(  # noqa: PLR0913 - what a sweep is made of, from the resource
        self,
        target: Target[T],
        scope: Scope[T],
        *,
        policy: RetryPolicy,
        cancel: Target[T] | None = None,
        wholesale: Callable[[Trace], Awaitable[object]] | None = None,
        confirm: bool = False,
        deadline: float | None = None,
        on_outcome: Callable[[CloseOutcome[T]], object] | None = None,
    ) -> None:
        check_callback(on_outcome)
        self._target = target
        self._cancel = cancel
        self._scope = scope
        self._policy = policy
        self._wholesale = wholesale
        self._confirm = confirm
        self._deadline = deadline
        self._on_outcome = on_outcome
        self._ends: float | None = None
        self._outcomes: dict[int, CloseOutcome[T]] = {}
        self._tried: dict[int, Phase] = {}
        self._cancelled: set[int] = set()
        self._rounds = Counter[int]()

    async def plan(self) -> CloseReport[T]:
        """Return what would be closed now, as NOT_SENT; close nothing.

        Raises:
            ThreeCommasError: the listing failed.
        """
        self._begin()
        reason = RequestNotSentError("dry run: nothing was sent")
        listed = await self._list()
        for entity_id, entity in (listed.closable | listed.cancellable).items():
            self._outcomes[entity_id] = CloseOutcome(entity_id, CloseState.NOT_SENT, entity, reason)
        return self._report(listed, await self._unmatched(listed))

    async def run(self) -> CloseReport[T]:
        """Close all there is, and report all that was closed.

        Raises:
            ThreeCommasError: the first listing failed, so that nothing was closed.
        """
        self._begin()
        listed = await self._list()
        unmatched = await self._unmatched(listed)
        unlisted: ThreeCommasError | None = None
        try:
            while await self._close_listed(listed):
                listed = await self._list()
        except ThreeCommasError as error:
            unlisted = error
        return self._report(listed, unmatched, unlisted)

    def _begin(self) -> None:
        if self._deadline is not None:
            self._ends = asyncio.get_running_loop().time() + self._deadline

    def _report(
        self,
        listed: _Listed[T],
        unmatched: InvalidRequestError | None,
        unlisted: ThreeCommasError | None = None,
    ) -> CloseReport[T]:
        ours = self._outcomes
        left = [outcome for i, outcome in listed.left.items() if i not in ours]
        skipped = [outcome for i, outcome in listed.skipped.items() if i not in ours]
        return CloseReport((*ours.values(), *left), unlisted, unmatched, tuple(skipped))

    # --- listing

    async def _list(self) -> _Listed[T]:
        """List afresh, and sort what is active by what is to be done about it."""
        seen: dict[int, T] = {}
        try:
            async with asyncio.timeout_at(self._ends):
                for _ in range(_PASSES):
                    fits_a_page, news = await self._go_through(seen)
                    if fits_a_page or not news:
                        break
        except TimeoutError:
            raise self._too_late(None) from None
        except ThreeCommasError as error:
            if not self._is_late(error):
                raise
            raise self._too_late(error) from error
        listed, strangers = _Listed[T](), 0
        for entity in seen.values():
            match = self._scope.match(entity)
            strangers += match is Match.NO
            if match is not Match.NO:
                self._sort(entity, listed, certain=match is Match.YES)
        if strangers:
            text = "%d of those that the server lists do not pass the filters (%s): left alone"
            log.warning(text, strangers, self._scope.filters)
        return listed

    async def _go_through(self, seen: dict[int, T]) -> tuple[bool, bool]:
        """Go through the list once; return whether it fits on a page, and whether it brought news.

        Where something leaves the list while its pages are read, the others move forward by a
        place, and one of them may be on no page at all. So a longer list is read until it brings
        nothing new.
        """
        before, pages = len(seen), 0
        full = False
        async for page in self._scope.listing(self._left()):
            pages += 1
            full |= len(page) >= self._scope.page_size
            seen.update((self._target.id_of(entity), entity) for entity in page)
        return pages <= 1 and not full, len(seen) > before

    def _left(self) -> float | None:
        """Return the seconds that are left of the deadline."""
        if self._ends is None:
            return None
        return max(0.0, self._ends - asyncio.get_running_loop().time())

    def _is_late(self, error: ThreeCommasError) -> bool:
        """Return whether an error is that of a request which the deadline left no time for."""
        refused = isinstance(error, RequestNotSentError) and error.available_in is not None
        return self._ends is not None and (refused or not self._left())

    def _too_late(self, error: ThreeCommasError | None) -> RequestNotSentError:
        reason = f": {error}" if error else ""
        return RequestNotSentError(
            f"the list could not be read before the deadline of {self._deadline:g} s{reason}",
            available_in=getattr(error, "available_in", None),
        )

    def _sort(self, entity: T, listed: _Listed[T], *, certain: bool) -> None:
        target, cancel = self._target, self._cancel
        entity_id, phase = target.id_of(entity), target.phase(entity)
        if not certain:
            why = f"the answer does not tell whether it passes the filters ({self._scope.filters})"
            listed.left[entity_id] = _left_alone(entity_id, entity, why)
        elif target.is_closable(entity):
            listed.closable[entity_id] = entity
        elif phase is Phase.FAILED:
            error = CloseFailedError(entity_id, target.failure(entity))
            listed.left[entity_id] = CloseOutcome(entity_id, CloseState.FAILED, entity, error)
        elif phase in {Phase.CLOSING, Phase.CLOSED}:
            outcome = CloseOutcome(entity_id, CloseState.ALREADY_CLOSED, entity)
            listed.skipped[entity_id] = outcome
        elif cancel is not None and cancel.is_closable(entity):
            listed.cancellable[entity_id] = entity
        elif cancel is None and phase is Phase.NOT_ENTERED:
            why = "its entry is not filled, so there is nothing to close"
            listed.skipped[entity_id] = _left_alone(entity_id, entity, why)
        else:
            why = f"it is {phase.value}, and the server says that it cannot be closed now"
            listed.left[entity_id] = _left_alone(entity_id, entity, why)

    async def _unmatched(self, listed: _Listed[T]) -> InvalidRequestError | None:
        """Say what is open where nothing passes the filters; None where that is nothing."""
        if listed or self._scope.everything is None:
            return None
        places = Counter[str]()
        try:
            async with asyncio.timeout_at(self._ends):
                async for page in self._scope.everything(self._left()):
                    places.update(self._scope.place(entity) for entity in page)
        except (TimeoutError, ThreeCommasError):
            return None  # what was asked for is known: nothing
        if not places:
            return None
        open_ones = ", ".join(f"{place} ({n})" for place, n in places.most_common(_NAMED))
        more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
        return InvalidRequestError(
            f"nothing that is active passes the filters ({self._scope.filters}), so nothing was "
            f"sent; active are {open_ones}{more}"
        )

    # --- closing

    async def _close_listed(self, listed: _Listed[T]) -> bool:
        """Close what a listing shows; return whether to list again."""
        closable, cancellable = self._due(listed.closable), self._due(listed.cancellable)
        if closable:
            await self._close(self._target, closable, wholesale=not self._outcomes)
        if cancellable and self._cancel is not None and not self._is_stopped():
            await self._close(self._cancel, cancellable)
        return bool(closable or cancellable) and not self._is_stopped()

    def _is_stopped(self) -> bool:
        return any(
            o.error is not None and o.error.stops_everything for o in self._outcomes.values()
        )

    def _due(self, entities: dict[int, T]) -> list[int]:
        """Return which ones are to be closed, each so often as the policy allows."""
        due = [
            i
            for i, entity in entities.items()
            if self._rounds[i] < self._policy.attempts
            and self._is_due(self._outcomes.get(i), entity)
        ]
        self._rounds.update(due)
        self._tried |= {i: self._target.phase(entities[i]) for i in due}
        return due

    def _is_due(self, outcome: CloseOutcome[T] | None, entity: T) -> bool:
        """Return whether to close what a fresh listing shows closable, after what became of it."""
        if outcome is None or outcome.state in _AGAIN:
            return True
        phase = self._target.phase(entity)
        cancelled = outcome.trade_id in self._cancelled and phase is Phase.OPEN
        if cancelled and not self._target.registry.accepted(outcome.trade_id):
            return True  # it was entered while its cancel was on its way
        # A refusal would only be repeated, unless things have changed.
        return outcome.state is CloseState.REJECTED and phase is not self._tried[outcome.trade_id]

    async def _close(self, target: Target[T], due: list[int], *, wholesale: bool = False) -> None:
        error = await self._close_wholesale(due) if wholesale else None
        batch = CloseBatch(
            target,
            due,
            policy=self._policy,
            confirm=self._confirm,
            deadline=self._left(),
            listed=True,
            stopped_by=error if error is not None and error.stops_everything else None,
            on_outcome=self._on_outcome,
        )
        report = await batch
        self._outcomes |= {outcome.trade_id: outcome for outcome in report}
        if target.cancels:
            self._cancelled.update(outcome.trade_id for outcome in report)

    async def _close_wholesale(self, due: list[int]) -> ThreeCommasError | None:
        """Close all with one request, where there is one; each is then in question, so it is read.

        Returns the error that says that none was closed.
        """
        if self._wholesale is None:
            return None
        trace = Trace()
        with self._target.registry.closing_all(due) as request:
            try:
                async with asyncio.timeout_at(self._ends):
                    await self._wholesale(trace)
            except TimeoutError:
                request.refused = not trace.attempts
            except ThreeCommasError as error:
                request.refused = not (error.may_have_taken_effect or trace.unknown)
                return error if request.refused else None
        return None


def _left_alone(entity_id: int, entity: T, why: str) -> CloseOutcome[T]:
    error = RequestNotSentError(f"trade {entity_id}: left alone; {why}")
    return CloseOutcome(entity_id, CloseState.NOT_SENT, entity, error)
