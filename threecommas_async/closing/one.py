"""Closes one entity exactly once, and decides what its outcome is.

A close is sent again only if the previous one was provably not carried out, or if a later read
shows the entity open and closable. After an ambiguous answer (a timeout, a lost connection, a 5xx)
the entity is in doubt, so it is read before anything else is sent. An earlier close that is in
doubt, or was accepted a moment ago, also makes the entity be read first.

What is specific to a kind of entity comes from its `Target`.
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
    "NOT_FOUND_READS",
    "close_one",
    "error_to_raise",
    "interrupted_outcome",
    "is_not_found",
]

T = TypeVar("T")

NOT_FOUND_READS: Final = 2
"""How many "not found" answers in a row are believed about an entity that was seen before.

A read may lag behind the listing or the close that has just found the entity.
"""


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
    """Close one entity and return the outcome; errors of the API become part of it.

    Args:
        target: the kind of entity.
        entity_id: the entity to close.
        policy: how often an ambiguous close may be repeated, and the pauses in between.
        read: reads the entity when its outcome is unknown.
        trace: receives the attempts, so that a caller that cancels this knows how far it came.
        listed: whether a listing has just shown the entity; one "not found" is then not believed.
        on_error: called with the error of each close request before it is acted on.
    """
    clock = asyncio.get_running_loop().time
    started_at, registry = clock(), target.registry
    turn = await registry.take_turn(entity_id)
    if isinstance(turn, CloseOutcome):
        return evolve(turn, attempts=0, elapsed=clock() - started_at)
    outcome: CloseOutcome[T] | None = None
    try:
        trace.observer, trace.entity_id = registry, entity_id
        close = _Close(target, entity_id, policy, read, trace, listed, on_error)
        verdict = await close.run()
        outcome = CloseOutcome(
            entity_id,
            verdict.state,
            verdict.entity,
            verdict.error,
            trace.attempts,
            clock() - started_at,
        )
        return outcome
    finally:
        registry.end_turn(turn, outcome, is_close=not target.cancels)


@frozen
class _Verdict(Generic[T]):
    """What one request, and the reads after it, show about the entity."""

    state: CloseState
    entity: T | None
    error: ThreeCommasError | None
    may_repeat: bool = False
    """A read shows the entity open and closable, so the close may be sent again."""


@frozen
class _Close(Generic[T]):
    """The steps of `close_one` within its turn; the fields are its arguments."""

    target: Target[T]
    entity_id: int
    policy: RetryPolicy
    read: Callable[[int], Awaitable[T]]
    trace: Trace
    listed: bool
    on_error: Callable[[ThreeCommasError], None]

    async def run(self) -> _Verdict[T]:
        """Send the close until its outcome is known or the attempts are used up."""
        earlier = await self._check_earlier_close()
        if earlier is not None and not earlier.may_repeat:
            return earlier
        sent = 0
        while True:
            sent += 1
            try:
                entity = await self.target.close(self.entity_id, self.trace)
            except ThreeCommasError as caught:
                error = caught
                if isinstance(error, ResponseDecodeError) and not self.target.cancels:
                    # It was accepted, even if lagging reads show the entity open for a while.
                    self.target.registry.mark_accepted(self.entity_id)
                self.on_error(error)
            else:
                # A cancel reads first and sends nothing if the entity is over. Then the closing is
                # ours only if an earlier attempt in doubt may have caused it.
                ours = self.trace.attempts or self.trace.unknown
                return self._judge_by_phase(
                    entity, CloseState.ACCEPTED if ours else CloseState.ALREADY_CLOSED
                )
            verdict = self._judge_by_error(error) or await self._judge_by_reading(error)
            if not verdict.may_repeat or sent >= self.policy.attempts:
                return verdict

    async def _check_earlier_close(self) -> _Verdict[T] | None:
        """Read the entity if an earlier close may have been carried out; return None if none may.

        The close is to be sent if this returns None, or a verdict with `may_repeat`.
        """
        registry = self.target.registry
        if self.trace.unknown or registry.is_in_doubt(self.entity_id):
            self.trace.unknown = True
            return await self._judge_by_reading(_earlier_close_error(self.target, self.entity_id))
        if not registry.recently_accepted(self.entity_id):
            return None
        try:
            entity = await self.read(self.entity_id)
        except ThreeCommasError as read_error:
            error = OutcomeUnknownError(
                f"{self.target.name(self.entity_id)}: a close of it was accepted a moment ago, so "
                f"none was sent now; it could not be read since: {read_error}"
            )
            error.__cause__ = read_error
            return _Verdict(CloseState.UNKNOWN, None, error)
        if self.target.is_closable(entity) and not registry.recently_accepted(self.entity_id):
            # The read waited so long for its slot that it no longer lags: the entity is open.
            error = _earlier_close_error(self.target, self.entity_id)
            return _Verdict(CloseState.UNKNOWN, entity, error, may_repeat=True)
        # If the read shows the entity open, it lags behind the accepted close.
        return self._judge_by_phase(entity, CloseState.ALREADY_CLOSED)

    def _judge_by_error(self, error: ThreeCommasError) -> _Verdict[T] | None:
        """Return the verdict if the error alone decides it; None if the entity must be read."""
        if isinstance(error, (RequestNotSentError, RateLimitError)) or error.stops_everything:
            return _Verdict(self._unless_in_doubt(CloseState.NOT_SENT), None, error)
        if is_not_found(error) and not (self.trace.unknown or self.listed):
            return _Verdict(CloseState.NOT_FOUND, None, error)
        return None

    async def _judge_by_reading(self, error: ThreeCommasError) -> _Verdict[T]:
        """Read the entity after an error, until the reads decide what the error left open.

        An entity that is neither closing nor closable right after an ambiguous close may still be
        changing, so it is read a few times. So is one that the API does not find although a close
        or a listing has found it before.
        """
        rejected = isinstance(error, APIStatusError) and not error.may_have_taken_effect
        not_found = int(is_not_found(error))
        entity: T | None = None
        for reads in range(1, self.policy.attempts + 1):
            if not rejected or reads > 1:
                await asyncio.sleep(self.policy.pause(reads))
            try:
                entity = await self.read(self.entity_id)
            except ThreeCommasError as read_error:
                if is_not_found(read_error):
                    not_found += 1
                    if not_found >= NOT_FOUND_READS:
                        return _Verdict(CloseState.NOT_FOUND, None, read_error)
                    continue
                error.add_note(f"reading it to find out failed: {read_error}")
                return _Verdict(self._unless_in_doubt(CloseState.REJECTED), entity, error)
            not_found = 0
            if self.target.phase(entity).is_ending:
                by_another = rejected and not self.trace.unknown
                return self._judge_by_phase(
                    entity, CloseState.ALREADY_CLOSED if by_another else CloseState.ACCEPTED
                )
            if rejected:
                return _Verdict(self._unless_in_doubt(CloseState.REJECTED), entity, error)
            if self.target.is_closable(entity) and not self._was_accepted(error):
                return _Verdict(CloseState.UNKNOWN, entity, error, may_repeat=True)
        state = self._unless_in_doubt(CloseState.REJECTED) if rejected else CloseState.UNKNOWN
        return _Verdict(state, entity, error)

    def _was_accepted(self, error: ThreeCommasError) -> bool:
        """Return whether a close was accepted (2xx), so that a read showing it open may lag."""
        accepted = self.target.registry.recently_accepted(self.entity_id)
        return accepted or isinstance(error, ResponseDecodeError)

    def _unless_in_doubt(self, state: CloseState) -> CloseState:
        """Return UNKNOWN if an earlier attempt may still be carried out, else the given state."""
        return CloseState.UNKNOWN if self.trace.unknown else state

    def _judge_by_phase(self, entity: T, state: CloseState) -> _Verdict[T]:
        """Return the verdict that the entity's phase gives; `state` if it is not final yet."""
        phase = self.target.phase(entity)
        if phase is Phase.FAILED:
            error = CloseFailedError(
                self.entity_id, self.target.failure(entity), noun=self.target.noun
            )
            return _Verdict(CloseState.FAILED, entity, error)
        if phase is Phase.CLOSED and state is CloseState.ACCEPTED:
            state = CloseState.CLOSED
        return _Verdict(state, entity, None)


def is_not_found(error: ThreeCommasError) -> bool:
    """Return whether the API itself says that the entity does not exist.

    A 404 from a proxy or a gateway in between does not count.
    """
    return isinstance(error, NotFoundError) and error.from_api


def _earlier_close_error(target: Target[T], entity_id: int) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        f"{target.name(entity_id)}: it is not known whether an earlier close or cancel was "
        "carried out, and no read could show it"
    )


def error_to_raise(target: Target[T], outcome: CloseOutcome[T]) -> ThreeCommasError:
    """Return the error to raise for a single close whose outcome is not `ok`."""
    error, name = outcome.error, target.name(outcome.trade_id)
    if outcome.state is not CloseState.UNKNOWN or isinstance(error, OutcomeUnknownError):
        return error or OutcomeUnknownError(f"{name}: no error is known")
    unknown = OutcomeUnknownError(
        f"{name}: it is not known whether the close was carried out; "
        f"read the {target.noun} before repeating it. Last answer: {error}"
    )
    unknown.__cause__ = error
    return unknown


def _is_rejection(error: ThreeCommasError) -> bool:
    """Return whether the server rejected this close, rather than the key or the request rate."""
    about_the_client = isinstance(error, RateLimitError) or error.stops_everything
    return isinstance(error, APIStatusError) and not about_the_client


def interrupted_outcome(
    target: Target[T],
    entity_id: int,
    trace: Trace,
    reason: ThreeCommasError | None,
    elapsed: float,
) -> CloseOutcome[Never]:
    """Return the outcome of a close that was interrupted, or never started.

    Args:
        target: the kind of entity.
        entity_id: the entity that was to be closed.
        trace: the attempts made so far.
        reason: why it was interrupted; None if it was cancelled.
        elapsed: seconds since the call or batch started.
    """
    name = target.name(entity_id)
    last = trace.last_error
    if trace.in_flight or trace.unknown or target.registry.is_in_doubt(entity_id):
        state = CloseState.UNKNOWN
        last_answer = f". Last answer: {last}" if last else ""
        error: ThreeCommasError = OutcomeUnknownError(
            f"{name}: it is not known whether a {target.verb} of it was carried out; "
            f"it may have taken effect, read the {target.noun} before repeating it{last_answer}"
        )
        error.__cause__ = last
    elif last is not None and _is_rejection(last):
        # The read after the rejection did not happen, so the rejection is all that is known.
        state, error = CloseState.REJECTED, last
    else:
        state = CloseState.NOT_SENT
        error = reason or RequestNotSentError(
            f"{name}: not sent; nothing has happened, safe to {target.verb} again"
        )
        if type(error) is RequestNotSentError:
            if reason is not None:  # one for the whole batch
                error = RequestNotSentError(f"{name}: {error}", available_in=error.available_in)
            error = trace.explain(error)
    return CloseOutcome(entity_id, state, None, error, trace.attempts, elapsed)
