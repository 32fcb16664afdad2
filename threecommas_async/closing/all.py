"""Closes everything that the filters select: list, close, and list again.

Each round takes a fresh listing and closes what it shows, in a `CloseMany` batch, until a listing
shows nothing left to close. An entity whose close was not sent, or whose outcome is unknown, is
tried again if the next listing still shows it closable; others are settled by what that listing
shows. Entities whose entry is not filled can be cancelled instead. Where the API can close all of
them with one request, the first round sends that one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import evolve

from ..errors import InvalidRequestError, RequestNotSentError, ThreeCommasError
from ..retry import Trace
from .bulk import send_bulk_close
from .many import CloseMany
from .one import interrupted_outcome
from .phase import Phase
from .report import CloseOutcome, CloseReport, CloseState
from .scope import Lister

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..retry import RetryPolicy
    from .scope import Listing, Scope
    from .target import Target

__all__ = ["CloseAll"]

T = TypeVar("T")

# States in which an entity is tried again if a fresh listing still shows it closable.
_RETRYABLE = frozenset({CloseState.NOT_SENT, CloseState.UNKNOWN})
# What these states become if a fresh listing shows the entity closing or closed.
_STATE_IF_CLOSING = {
    CloseState.NOT_SENT: CloseState.ALREADY_CLOSED,
    CloseState.UNKNOWN: CloseState.ACCEPTED,
}


class CloseAll(Generic[T]):
    """Closes all entities of a scope, in rounds of a listing and a batch, see `handle.Work`.

    Args:
        target: the kind of entity, to be closed.
        scope: the entities to close.
        policy: how often each entity may be tried.
        cancel: the same kind, to be cancelled where its entry is not filled; None to skip those.
        bulk_close: sends the one request that closes the whole scope; None if the API has none.
        confirm: wait until each entity is seen closed or failed.
        dry_run: list, and close nothing.
        deadline: seconds for everything, listings included; None for no limit.
    """

    title = "a close of everything"

    _publish: Callable[[CloseOutcome[T]], None]  # set by `run`

    def __init__(  # noqa: PLR0913 - see the docstring
        self,
        target: Target[T],
        scope: Scope[T],
        *,
        policy: RetryPolicy,
        cancel: Target[T] | None = None,
        bulk_close: Callable[[Trace], Awaitable[object]] | None = None,
        confirm: bool = False,
        dry_run: bool = False,
        deadline: float | None = None,
    ) -> None:
        self._target = target
        self._cancel = cancel
        self._lister = Lister(target, cancel, scope, deadline)
        self._policy = policy
        self._deadline = deadline
        self._bulk_close = bulk_close
        self._bulk_is_due = True
        self._confirm = confirm
        self._dry_run = dry_run
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started_at = 0.0
        self._outcomes: dict[int, CloseOutcome[T]] = {}
        """The last outcome of each entity that a finished batch has tried."""
        self._phase_when_tried: dict[int, Phase] = {}
        """The phase in which each entity was listed when it was last tried."""
        self._cancelled: set[int] = set()
        """The entities that were in a batch of cancels."""
        self._tries = Counter[int]()
        self._earlier_attempts: dict[int, int] = {}
        """The requests sent for each entity in earlier batches."""
        self._batch: CloseMany[T] | None = None
        """The batch under way, or the one that was interrupted."""
        self._stopped_by: ThreeCommasError | None = None
        self._unmatched: InvalidRequestError | None = None
        self._unlisted: ThreeCommasError | None = RequestNotSentError(
            "no listing has shown yet that nothing else is open"
        )

    def bind_to_loop(self) -> None:
        """Bind to the running event loop; raise in another process or on a second event loop."""
        self._target.registry.bind_to_loop()

    async def run(self, publish: Callable[[CloseOutcome[T]], None]) -> None:
        """Close everything, and call `publish` with each outcome that is not to be tried again.

        Raises:
            ThreeCommasError: the first listing failed, so nothing was closed.
        """
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._started_at = self._loop.time()
        self._lister.start()
        listing = await self._list()
        self._unmatched = await self._lister.explain_no_match(listing)
        try:
            while not self._dry_run and await self._close_listed(listing):
                listing = await self._list()
        except ThreeCommasError:
            return  # the report has it as `unlisted`
        self._unlisted = self._stopped_by  # after a stop nothing is listed any more

    def abort(self) -> None:
        """Send nothing after this call."""
        if self._batch is not None:
            self._batch.abort()

    @property
    def report(self) -> CloseReport[T]:
        """The current report: one outcome for each entity listed so far that is to be closed."""
        known = self._lister.known
        outcomes = {**self._batch_outcomes(), **self._outcomes}
        ids = dict.fromkeys((*self._phase_when_tried, *known.closable, *known.cancellable))
        to_close = [outcomes.get(i) or self._outcome_if_not_started(i) for i in ids]
        blocked = [outcome for i, outcome in known.blocked.items() if i not in ids]
        skipped = [outcome for i, outcome in known.skipped.items() if i not in ids]
        return CloseReport((*to_close, *blocked), self._unlisted, self._unmatched, tuple(skipped))

    def _batch_outcomes(self) -> dict[int, CloseOutcome[T]]:
        if self._batch is None:
            return {}
        return {outcome.trade_id: self._with_totals(outcome) for outcome in self._batch.report}

    def _with_totals(self, outcome: CloseOutcome[T]) -> CloseOutcome[T]:
        """Return the outcome of a batch with the attempts and the time of all rounds."""
        entity_id = outcome.trade_id
        return evolve(
            outcome,
            trade=outcome.trade or self._lister.entity(entity_id),
            attempts=outcome.attempts + self._earlier_attempts[entity_id],
            elapsed=self._elapsed(),
        )

    def _outcome_if_not_started(self, entity_id: int) -> CloseOutcome[T]:
        entity = self._lister.entity(entity_id)
        if self._dry_run:
            reason = RequestNotSentError("dry run: nothing was sent")
            return CloseOutcome(entity_id, CloseState.NOT_SENT, entity, reason)
        outcome: CloseOutcome[T] = interrupted_outcome(
            self._target, entity_id, Trace(), self._stopped_by, self._elapsed()
        )
        return evolve(outcome, trade=entity)

    def _elapsed(self) -> float:
        """Return the seconds since this started; 0 if it has not."""
        return 0.0 if self._loop is None else self._loop.time() - self._started_at

    # --- listing

    async def _list(self) -> Listing[T]:
        try:
            listing = await self._lister.read()
        except ThreeCommasError as error:
            self._unlisted = error
            raise
        for shown in (*listing.blocked.values(), *listing.skipped.values()):
            self._update_outcome(shown)
        return listing

    def _update_outcome(self, shown: CloseOutcome[T]) -> None:
        """Update the outcome of an entity that was tried with what a fresh listing shows."""
        previous = self._outcomes.get(shown.trade_id)
        if previous is None or previous.state is shown.state:
            return
        state: CloseState | None = None
        if shown.state is CloseState.FAILED:
            state = CloseState.FAILED
        elif shown.state is CloseState.ALREADY_CLOSED:
            state = _STATE_IF_CLOSING.get(previous.state)
        if state is None:
            return
        self._record(
            evolve(
                previous,
                state=state,
                trade=shown.trade,
                error=shown.error,
                elapsed=self._elapsed(),
            )
        )

    # --- closing

    def _record(self, outcome: CloseOutcome[T]) -> None:
        """Keep an outcome, and publish it unless the entity may be tried again."""
        self._outcomes[outcome.trade_id] = outcome
        if outcome.error is not None and outcome.error.stops_everything:
            self._stopped_by = outcome.error
        if outcome.state not in _RETRYABLE:
            self._publish(outcome)

    async def _close_listed(self, listing: Listing[T]) -> bool:
        """Close what a listing shows; return whether to list again."""
        if self._bulk_close is not None and self._bulk_is_due and listing.closable:
            return await self._close_in_bulk(listing.closable, self._bulk_close)
        closable = self._take_due(listing.closable)
        cancellable = self._take_due(listing.cancellable)
        if closable:
            await self._run_batch(self._target, closable)
        if cancellable and self._cancel is not None and self._stopped_by is None:
            await self._run_batch(self._cancel, cancellable)
        return bool(closable or cancellable) and self._stopped_by is None

    async def _close_in_bulk(
        self, closable: dict[int, T], send: Callable[[Trace], Awaitable[object]]
    ) -> bool:
        """Close with one request, then look at each; return whether to list again.

        What another call has closed, or may have closed, is settled first.
        """
        registry = self._target.registry
        unsettled = {i: entity for i, entity in closable.items() if registry.may_be_closed(i)}
        if unsettled and not self._outcomes:
            await self._run_batch(self._target, self._take_due(unsettled))
            states = {outcome.state for outcome in self._outcomes.values()}
            self._bulk_is_due = CloseState.UNKNOWN not in states
            return self._stopped_by is None  # list again: that took time
        self._bulk_is_due = False
        others = {i: entity for i, entity in closable.items() if not self._is_settled(i)}
        if not others:
            return self._stopped_by is None
        sent, error = await send_bulk_close(
            self._target, list(others), send, self._lister.time_left
        )
        if sent:
            await self._run_batch(self._target, self._take_due(others), error)
        return self._stopped_by is None

    def _is_settled(self, entity_id: int) -> bool:
        outcome = self._outcomes.get(entity_id)
        return outcome is not None and outcome.ok

    def _take_due(self, entities: dict[int, T]) -> list[int]:
        """Return the ids to try now, and count that as a try of each."""
        due = [
            i
            for i, entity in entities.items()
            if self._tries[i] < self._policy.attempts and self._is_due(i, entity)
        ]
        self._tries.update(due)
        self._phase_when_tried |= {i: self._target.phase(entities[i]) for i in due}
        return due

    def _is_due(self, entity_id: int, entity: T) -> bool:
        """Return whether to try an entity that a fresh listing shows closable or cancellable."""
        outcome = self._outcomes.get(entity_id)
        if outcome is None or outcome.state in _RETRYABLE:
            return True
        phase = self._target.phase(entity)
        cancelled = entity_id in self._cancelled and phase is Phase.OPEN
        if cancelled and not self._target.registry.recently_accepted(entity_id):
            return True  # its entry was filled while its cancel was on the way
        # The server would reject it again, unless the entity has changed.
        return (
            outcome.state is CloseState.REJECTED and phase is not self._phase_when_tried[entity_id]
        )

    async def _run_batch(
        self, target: Target[T], due: list[int], refusal: ThreeCommasError | None = None
    ) -> None:
        """Close or cancel the ids in one batch; `refusal` is the error of a refused bulk close."""
        for entity_id in due:
            previous = self._outcomes.pop(entity_id, None)
            self._earlier_attempts[entity_id] = 0 if previous is None else previous.attempts
        self._batch = CloseMany(
            target,
            due,
            policy=self._policy,
            confirm=self._confirm,
            deadline=self._lister.time_left,
            whole_deadline=self._deadline,
            listed=True,
            stopped_by=refusal if refusal is not None and refusal.stops_everything else None,
        )
        if target.cancels:
            self._cancelled.update(due)
        await self._batch.run(lambda outcome: self._record(self._with_totals(outcome)))
        for entity_id, outcome in self._batch_outcomes().items():
            if entity_id not in self._outcomes:
                self._record(outcome)
        self._batch = None
