"""Closing everything: list, close, and list again until a fresh listing shows nothing to close."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import evolve

from ..errors import InvalidRequestError, RequestNotSentError, ThreeCommasError
from ..retry import Trace
from .many import CloseMany
from .one import interrupted
from .phase import Phase
from .report import CloseOutcome, CloseReport, CloseState
from .scope import Listings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ..retry import RetryPolicy
    from .scope import Listed, Scope
    from .target import Target

__all__ = ["CloseAll"]

T = TypeVar("T")

# What may be tried again when a fresh listing shows it closable still.
_AGAIN = frozenset({CloseState.NOT_SENT, CloseState.UNKNOWN})
# What these turn out to be when a fresh listing shows it closing.
_CLOSING_AFTER = {
    CloseState.NOT_SENT: CloseState.ALREADY_CLOSED,
    CloseState.UNKNOWN: CloseState.ACCEPTED,
}


class CloseAll(Generic[T]):
    """Closing all there is, in rounds of a listing and a batch, see `handle.Work`.

    Args:
        target: the kind of entity, as something to close.
        scope: which ones.
        cancel: the same, cancelled instead, for those whose entry is not filled; None leaves them.
        policy: how often an entity may be tried again.
        wholesale: closes all of them with one request, where the API has one.
        confirm: wait until each is seen closed or failed.
        dry_run: only list.
        deadline: seconds for everything, listings included.
    """

    title = "a close of everything"

    _tell: Callable[[CloseOutcome[T]], None]  # given to `run`

    def __init__(  # noqa: PLR0913 - what it takes to close all, from the resource
        self,
        target: Target[T],
        scope: Scope[T],
        *,
        policy: RetryPolicy,
        cancel: Target[T] | None = None,
        wholesale: Callable[[Trace], Awaitable[object]] | None = None,
        confirm: bool = False,
        dry_run: bool = False,
        deadline: float | None = None,
    ) -> None:
        self._target = target
        self._cancel = cancel
        self._listings = Listings(target, cancel, scope, deadline)
        self._policy = policy
        self._wholesale = wholesale
        self._confirm = confirm
        self._dry_run = dry_run
        self._loop: asyncio.AbstractEventLoop | None = None
        self._began = 0.0
        self._outcomes: dict[int, CloseOutcome[T]] = {}
        self._tried: dict[int, Phase] = {}
        self._cancelled: set[int] = set()
        self._rounds = Counter[int]()
        self._posts: dict[int, int] = {}
        """POSTs of earlier rounds."""
        self._round: CloseMany[T] | None = None
        """The round under way, or that was when all was cut short."""
        self._stopped_by: ThreeCommasError | None = None
        self._unmatched: InvalidRequestError | None = None
        self._unlisted: ThreeCommasError | None = RequestNotSentError(
            "no listing has shown yet that nothing else is open"
        )

    def enter(self) -> None:
        """Refuse to be run in another process, or on an event loop beside the first."""
        self._target.registry.enter()

    async def run(self, tell: Callable[[CloseOutcome[T]], None]) -> None:
        """Close all there is, and tell each outcome when it is not to be tried again.

        Raises:
            ThreeCommasError: the first listing failed, so that nothing was closed.
        """
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._listings.begin()
        listed = await self._list()
        self._unmatched = await self._listings.unmatched(listed)
        try:
            while not self._dry_run and await self._close_listed(listed):
                listed = await self._list()
        except ThreeCommasError:
            return  # the report has it as `unlisted`
        self._unlisted = None

    def halt(self) -> None:
        """Send nothing after this moment."""
        if self._round is not None:
            self._round.halt()

    @property
    def report(self) -> CloseReport[T]:
        """The truth so far: one outcome for each that was found and is to be closed."""
        listed = self._listings.listed
        known = {**self._outcomes_of_round(), **self._outcomes}
        ids = dict.fromkeys((*self._tried, *listed.closable, *listed.cancellable))
        outcomes = [known.get(i) or self._not_begun(i) for i in ids]
        left = [outcome for i, outcome in listed.left.items() if i not in ids]
        skipped = [outcome for i, outcome in listed.skipped.items() if i not in ids]
        return CloseReport((*outcomes, *left), self._unlisted, self._unmatched, tuple(skipped))

    def _outcomes_of_round(self) -> dict[int, CloseOutcome[T]]:
        if self._round is None:
            return {}
        return {outcome.trade_id: self._in_all(outcome) for outcome in self._round.report}

    def _in_all(self, outcome: CloseOutcome[T]) -> CloseOutcome[T]:
        """Return the outcome of a round as that of all rounds."""
        entity_id = outcome.trade_id
        return evolve(
            outcome,
            trade=outcome.trade or self._listings.entity(entity_id),
            attempts=outcome.attempts + self._posts[entity_id],
            elapsed=self._elapsed(),
        )

    def _not_begun(self, entity_id: int) -> CloseOutcome[T]:
        entity = self._listings.entity(entity_id)
        if self._dry_run:
            reason = RequestNotSentError("dry run: nothing was sent")
            return CloseOutcome(entity_id, CloseState.NOT_SENT, entity, reason)
        outcome: CloseOutcome[T] = interrupted(
            self._target, entity_id, Trace(), self._stopped_by, self._elapsed()
        )
        return evolve(outcome, trade=entity)

    def _elapsed(self) -> float:
        return 0.0 if self._loop is None else self._loop.time() - self._began

    # --- listing

    async def _list(self) -> Listed[T]:
        try:
            listed = await self._listings.read()
        except ThreeCommasError as error:
            self._unlisted = error
            raise
        for shown in (*listed.left.values(), *listed.skipped.values()):
            self._settle(shown)
        return listed

    def _settle(self, shown: CloseOutcome[T]) -> None:
        """Let a fresh listing tell what its close has left open, or could not know yet."""
        before = self._outcomes.get(shown.trade_id)
        if before is None or before.state is shown.state:
            return
        state: CloseState | None = None
        if shown.state is CloseState.FAILED:
            state = CloseState.FAILED
        elif shown.state is CloseState.ALREADY_CLOSED:
            state = _CLOSING_AFTER.get(before.state)
        if state is None:
            return
        now = self._elapsed()
        self._know(evolve(before, state=state, trade=shown.trade, error=shown.error, elapsed=now))

    # --- closing

    def _know(self, outcome: CloseOutcome[T]) -> None:
        """Take an outcome down, and tell it unless it may be tried again."""
        self._outcomes[outcome.trade_id] = outcome
        if outcome.error is not None and outcome.error.stops_everything:
            self._stopped_by = outcome.error
        if outcome.state not in _AGAIN:
            self._tell(outcome)

    async def _close_listed(self, listed: Listed[T]) -> bool:
        """Close what a listing shows; return whether to list again."""
        closable, cancellable = self._due(listed.closable), self._due(listed.cancellable)
        if closable:
            await self._close(self._target, closable, wholesale=not self._outcomes)
        if cancellable and self._cancel is not None and self._stopped_by is None:
            await self._close(self._cancel, cancellable)
        return bool(closable or cancellable) and self._stopped_by is None

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
        """Close some in a round of their own."""
        error = await self._close_wholesale(due) if wholesale else None
        for entity_id in due:
            before = self._outcomes.pop(entity_id, None)
            self._posts[entity_id] = 0 if before is None else before.attempts
        self._round = CloseMany(
            target,
            due,
            policy=self._policy,
            confirm=self._confirm,
            deadline=self._listings.left,
            listed=True,
            stopped_by=error if error is not None and error.stops_everything else None,
        )
        if target.cancels:
            self._cancelled.update(due)
        await self._round.run(lambda outcome: self._know(self._in_all(outcome)))
        for entity_id, outcome in self._outcomes_of_round().items():
            if entity_id not in self._outcomes:
                self._know(outcome)
        self._round = None

    async def _close_wholesale(self, due: Sequence[int]) -> ThreeCommasError | None:
        """Close all with one request, where there is one; each is then in question, so it is read.

        Returns the error that says that none was closed.
        """
        if self._wholesale is None:
            return None
        trace = Trace()
        with self._target.registry.closing_all(due) as request:
            try:
                async with asyncio.timeout(self._listings.left):
                    await self._wholesale(trace)
                for entity_id in due:  # a read that shows one open now may lag behind
                    self._target.registry.accept(entity_id)
            except TimeoutError:
                request.refused = not trace.attempts
            except asyncio.CancelledError:
                request.refused = not trace.attempts
                raise
            except ThreeCommasError as error:
                request.refused = not (error.may_have_taken_effect or trace.unknown)
                return error if request.refused else None
        return None
