"""Closing one position: the decisions, for whatever kind of entity.

A close is POSTed again only when the one before provably was not carried out, or a later read shows
the entity open and closable. After anything ambiguous the entity is read before anything else.

Nothing in here knows smart trades: what closing needs to know of an entity is a `Target`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Generic, Never, TypeVar

from attrs import evolve, frozen

from ..errors import (
    APIStatusError,
    CloseFailedError,
    NotFoundError,
    OutcomeUnknownError,
    RateLimitError,
    RequestNotSentError,
    ResponseDecodeError,
    ThreeCommasError,
)
from .phase import Phase
from .report import CloseOutcome, CloseState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..retry import RetryPolicy, Trace
    from .target import Target

__all__ = [
    "MISSING_AGAIN",
    "close_one",
    "error_of",
    "interrupted",
    "is_missing",
]

T = TypeVar("T")

MISSING_AGAIN: Final = 2
"""A "not found" that speaks against a close or a listing is believed when it comes so often."""


async def close_one(  # noqa: PLR0913 - the parts of one close, by name
    target: Target[T],
    entity_id: int,
    *,
    policy: RetryPolicy,
    read: Callable[[int], Awaitable[T]],
    trace: Trace,
    listed: bool = False,
    on_error: Callable[[ThreeCommasError], None] = lambda _: None,
) -> CloseOutcome[T]:
    """Close one entity and return what became of it; API errors become part of the outcome.

    Args:
        target: the kind of entity.
        entity_id: which one.
        policy: how often an ambiguous close may be made again, and the pauses.
        read: reads the entity when it is in question.
        trace: what has happened so far, for whoever cancels this.
        listed: a listing has just shown the entity, so that one "not found" is not believed.
        on_error: called with what a close ended in, before anything is done about it.
    """
    clock = asyncio.get_running_loop().time
    began, registry = clock(), target.registry
    turn = await registry.take_turn(entity_id)
    if isinstance(turn, CloseOutcome):
        return evolve(turn, attempts=0, elapsed=clock() - began)
    outcome: CloseOutcome[T] | None = None
    try:
        trace.register, trace.entity_id = registry, entity_id
        close = _Close(target, entity_id, policy, read, trace, listed, on_error)
        verdict = await close.settle()
        outcome = CloseOutcome(
            entity_id,
            verdict.state,
            verdict.entity,
            verdict.error,
            trace.attempts,
            clock() - began,
        )
        return outcome
    finally:
        registry.end_turn(turn, outcome, closed=not target.cancels)


@frozen
class _Verdict(Generic[T]):
    state: CloseState
    entity: T | None
    error: ThreeCommasError | None
    again: bool = False
    """A read shows it open and closable: it may be POSTed again."""


@frozen
class _Close(Generic[T]):
    target: Target[T]
    entity_id: int
    policy: RetryPolicy
    read: Callable[[int], Awaitable[T]]
    trace: Trace
    listed: bool
    on_error: Callable[[ThreeCommasError], None]

    async def settle(self) -> _Verdict[T]:
        """POST, and after anything ambiguous read before anything else."""
        posts = 0
        earlier = await self._after_an_earlier_close()
        if earlier is not None and not earlier.again:
            return earlier
        while True:
            posts += 1
            try:
                entity = await self.target.close(self.entity_id, self.trace)
            except ThreeCommasError as caught:
                error = caught
                if isinstance(error, ResponseDecodeError) and not self.target.cancels:
                    # It was accepted, whatever reads that lag behind may show.
                    self.target.registry.accept(self.entity_id)
                self.on_error(error)
            else:
                # Where nothing had to be sent it was over before, by another or by one in question.
                ours = self.trace.attempts or self.trace.unknown
                return self._by_status(
                    entity, CloseState.ACCEPTED if ours else CloseState.ALREADY_CLOSED
                )
            verdict = self._without_reading(error) or await self._look(error)
            if not verdict.again or posts >= self.policy.attempts:
                return verdict

    async def _after_an_earlier_close(self) -> _Verdict[T] | None:
        """Read first where an earlier close of this entity may be under way; None where not."""
        registry = self.target.registry
        if self.trace.unknown or self.entity_id in registry:
            self.trace.unknown = True
            return await self._look(_earlier_close(self.target, self.entity_id))
        if not registry.accepted(self.entity_id):
            return None
        try:
            entity = await self.read(self.entity_id)
        except ThreeCommasError as unreadable:
            error = OutcomeUnknownError(
                f"{self.target.name(self.entity_id)}: a close of it was accepted a moment ago, so "
                f"none was sent now; it could not be read since: {unreadable}"
            )
            error.__cause__ = unreadable
            return _Verdict(CloseState.UNKNOWN, None, error)
        if self.target.is_closable(entity) and not registry.accepted(self.entity_id):
            # The read waited so long for its slot that it can be believed: the entity is open.
            return _Verdict(
                CloseState.UNKNOWN, entity, _earlier_close(self.target, self.entity_id), again=True
            )
        # One that shows open so soon is a read that lags behind.
        return self._by_status(entity, CloseState.ALREADY_CLOSED)

    def _without_reading(self, error: ThreeCommasError) -> _Verdict[T] | None:
        """Return what an error settles by itself; None when a read has to tell."""
        if isinstance(error, (RequestNotSentError, RateLimitError)) or error.stops_everything:
            return _Verdict(self._unless_in_doubt(CloseState.NOT_SENT), None, error)
        if is_missing(error) and not (self.trace.unknown or self.listed):
            return _Verdict(CloseState.NOT_FOUND, None, error)
        return None

    async def _look(self, error: ThreeCommasError) -> _Verdict[T]:
        """Read the entity after an error until it tells what the error left open.

        An entity that is neither closing nor closable right after an ambiguous close may still be
        on its way, so it is looked at again a few times. So is one that the API does not find,
        though a close or a listing has found it.
        """
        refused = isinstance(error, APIStatusError) and not error.may_have_taken_effect
        missing = int(is_missing(error))
        entity: T | None = None
        for looks in range(1, self.policy.attempts + 1):
            if not refused or looks > 1:
                await asyncio.sleep(self.policy.pause(looks))
            try:
                entity = await self.read(self.entity_id)
            except ThreeCommasError as unreadable:
                if is_missing(unreadable):
                    missing += 1
                    if missing >= MISSING_AGAIN:
                        return _Verdict(CloseState.NOT_FOUND, None, unreadable)
                    continue
                error.add_note(f"reading it to find out failed: {unreadable}")
                return _Verdict(self._unless_in_doubt(CloseState.REJECTED), entity, error)
            missing = 0
            if self.target.phase(entity) in {Phase.CLOSING, Phase.CLOSED, Phase.FAILED}:
                by_another = refused and not self.trace.unknown
                return self._by_status(
                    entity, CloseState.ALREADY_CLOSED if by_another else CloseState.ACCEPTED
                )
            if refused:
                return _Verdict(self._unless_in_doubt(CloseState.REJECTED), entity, error)
            if self.target.is_closable(entity) and not self._was_accepted(error):
                return _Verdict(CloseState.UNKNOWN, entity, error, again=True)
        state = self._unless_in_doubt(CloseState.REJECTED) if refused else CloseState.UNKNOWN
        return _Verdict(state, entity, error)

    def _was_accepted(self, error: ThreeCommasError) -> bool:
        """Return whether a 2xx speaks against reads that show the entity open."""
        accepted = self.target.registry.accepted(self.entity_id)
        return accepted or isinstance(error, ResponseDecodeError)

    def _unless_in_doubt(self, state: CloseState) -> CloseState:
        """Return the state; UNKNOWN where an earlier close may still come to be carried out."""
        return CloseState.UNKNOWN if self.trace.unknown else state

    def _by_status(self, entity: T, state: CloseState) -> _Verdict[T]:
        """Return what the entity's own status tells; `state` where it is not over yet."""
        phase = self.target.phase(entity)
        if phase is Phase.FAILED:
            error = CloseFailedError(
                self.entity_id, self.target.failure(entity), noun=self.target.noun
            )
            return _Verdict(CloseState.FAILED, entity, error)
        if phase is Phase.CLOSED and state is CloseState.ACCEPTED:
            state = CloseState.CLOSED
        return _Verdict(state, entity, None)


def is_missing(error: ThreeCommasError) -> bool:
    """Return whether the API itself says that there is no such entity, not something in between."""
    return isinstance(error, NotFoundError) and error.from_api


def _earlier_close(target: Target[T], entity_id: int) -> ThreeCommasError:
    return OutcomeUnknownError(
        f"{target.name(entity_id)}: what became of an earlier close is not known, and no read "
        "could tell"
    )


def error_of(target: Target[T], outcome: CloseOutcome[T]) -> ThreeCommasError:
    """Return the error to raise for a single close that is not known to be closing or closed."""
    error, name = outcome.error, target.name(outcome.trade_id)
    if outcome.state is not CloseState.UNKNOWN or isinstance(error, OutcomeUnknownError):
        return error or OutcomeUnknownError(f"{name}: no error is known")
    unknown = OutcomeUnknownError(
        f"{name}: it is not known whether the close was carried out; "
        f"read the {target.noun} before repeating it. Last answer: {error}"
    )
    unknown.__cause__ = error
    return unknown


def _is_refusal(error: ThreeCommasError) -> bool:
    """Return whether the server has refused this very close."""
    turned_away = isinstance(error, RateLimitError) or error.stops_everything
    return isinstance(error, APIStatusError) and not turned_away


def interrupted(
    target: Target[T],
    entity_id: int,
    trace: Trace,
    reason: ThreeCommasError | None,
    elapsed: float,
) -> CloseOutcome[Never]:
    """Return the outcome of a close that was cut short, as far as its trace tells.

    `reason` is why, None for a cancellation.
    """
    last = trace.last_error
    if trace.in_flight or trace.unknown or entity_id in target.registry:
        state = CloseState.UNKNOWN
        told = f". Last answer: {last}" if last else ""
        error: ThreeCommasError = OutcomeUnknownError(
            f"{target.name(entity_id)}: it is not known whether a close of it was carried out; "
            f"it may have taken effect, read the {target.noun} before repeating it{told}"
        )
        error.__cause__ = last
    elif last is not None and _is_refusal(last):
        state, error = CloseState.REJECTED, last  # what a read would have shown is not known
    else:
        state = CloseState.NOT_SENT
        error = reason or RequestNotSentError(
            f"{target.name(entity_id)}: not sent; nothing has happened, safe to close again"
        )
        if isinstance(error, RequestNotSentError):
            error = trace.explain(error)
    return CloseOutcome(entity_id, state, None, error, trace.attempts, elapsed)
