"""Whether and when a failed attempt is repeated, and the trace of what happened to a call.

What decides is whether the call may have been carried out, not its HTTP method. A request that
provably never left is repeated. A refusal is final, except for a rate limit. After an unknown
outcome only a read is repeated here; for a change, `closing` reads the entity first. Pure: no
clock, no network, no waiting.
"""

from __future__ import annotations

import math
import random
from typing import Protocol

from attrs import frozen

from .endpoint import Safety
from .errors import (
    ClientClosedError,
    ConfigurationError,
    Fate,
    RateLimitError,
    RequestNotSentError,
    ThreeCommasError,
)

__all__ = ["RetryPolicy", "SendObserver", "Trace", "next_delay"]


@frozen(kw_only=True)
class RetryPolicy:
    """How often and how fast failed attempts are repeated.

    Attributes:
        attempts: maximum attempts at one request, including the first. A close whose fate is
            unknown counts its repetitions (each after a read that shows the trade open) here too.
        backoff: seconds before the second attempt; doubled for each further one.
        max_backoff: maximum pause in seconds.
        jitter: random share of each pause, from 0 to 1.
        rate_limit_waits: maximum number of rate limit 429s that one request waits out.

    Raises:
        ConfigurationError: a value that cannot work.
    """

    attempts: int = 5
    backoff: float = 0.5
    max_backoff: float = 8.0
    jitter: float = 0.5
    rate_limit_waits: int = 3

    def __attrs_post_init__(self) -> None:
        _check(type(self.attempts) is int and self.attempts >= 1, "attempts", "an int from 1 up")
        waits = self.rate_limit_waits
        _check(type(waits) is int and waits >= 0, "rate_limit_waits", "an int from 0 up")
        _check(0 <= self.backoff < math.inf, "backoff", "seconds from 0 up")
        _check(0 <= self.max_backoff < math.inf, "max_backoff", "seconds from 0 up")
        _check(0 <= self.jitter <= 1, "jitter", "from 0 to 1")

    def pause(self, attempts: int, chance: float | None = None) -> float:
        """Return the seconds to wait after this number of failed attempts.

        Args:
            attempts: failed attempts so far.
            chance: replaces the random number, from 0 to 1.
        """
        full = min(self.backoff * 2.0 ** min(attempts - 1, 64), self.max_backoff)
        drawn = random.random() if chance is None else chance  # noqa: S311 - jitter, no secret
        return full * (1 - self.jitter * drawn)


def _check(passes: bool, name: str, expected: str) -> None:  # noqa: FBT001
    if not passes:
        msg = f"RetryPolicy: {name} must be {expected}"
        raise ConfigurationError(msg)


def next_delay(
    policy: RetryPolicy, safety: Safety, error: ThreeCommasError, attempts: int, refusals: int
) -> float | None:
    """Return the seconds to wait before the request is repeated; None to give up.

    Args:
        policy: how often to repeat.
        safety: whether the call may be repeated when its fate is unknown.
        error: the error of the last attempt.
        attempts: attempts made so far, without those that a 429 refused.
        refusals: 429s received so far.
    """
    if isinstance(error, RateLimitError):
        # The limiter has the block: the next `acquire` waits until it ends.
        return 0.0 if refusals <= policy.rate_limit_waits else None
    if attempts >= policy.attempts:
        return None
    if isinstance(error, RequestNotSentError):
        # `available_in`: there is no slot before the deadline, so another attempt is no use.
        return None if error.available_in is not None else policy.pause(attempts)
    repeat = error.fate is Fate.UNKNOWN and safety is Safety.SAFE
    return policy.pause(attempts) if repeat else None


class SendObserver(Protocol):
    """Is told about the requests of a call, to know which may have been carried out."""

    def on_send(self, entity_id: int) -> None:
        """Add an entity: a request about it is about to leave."""
        ...

    def on_not_done(self, entity_id: int) -> None:
        """Remove an entity: certainly no attempt so far was carried out."""
        ...


class Trace:
    """What has happened to one call so far; still valid after its task was cancelled."""

    __slots__ = ("attempts", "entity_id", "final", "in_flight", "last_error", "observer", "unknown")

    def __init__(self) -> None:
        self.attempts: int = 0
        """Number of attempts that were handed to the network."""
        self.in_flight: bool = False
        """Whether an attempt is under way, or was when the call was cancelled."""
        self.unknown: bool = False
        """Whether the fate of any attempt is unknown."""
        self.final: bool = False
        """Set by the caller: make no attempt after the one under way."""
        self.last_error: ThreeCommasError | None = None
        """The error of the last attempt that failed."""
        self.observer: SendObserver | None = None
        """Called before an attempt leaves; if it raises, nothing is sent."""
        self.entity_id: int = 0
        """The entity that `observer` is called with."""

    def leave(self) -> None:
        """Record that an attempt is handed to the network now."""
        if self.observer is not None:
            self.observer.on_send(self.entity_id)
        self.attempts += 1
        self.in_flight = True

    def fail(self, error: ThreeCommasError) -> None:
        """Record the error of the attempt under way."""
        self.in_flight = False
        self.last_error = error
        self.unknown |= error.may_have_taken_effect
        if not self.unknown and self.observer is not None:
            self.observer.on_not_done(self.entity_id)

    def explain(self, error: RequestNotSentError) -> RequestNotSentError:
        """Return an error that also names the error of the last attempt."""
        if self.last_error is None:
            return error
        # Not a copy of `error`: a limiter of the user's may raise a class that cannot be copied.
        kind = ClientClosedError if isinstance(error, ClientClosedError) else RequestNotSentError
        text = f"{error}. The last attempt: {self.last_error}"
        explained = kind(text, available_in=error.available_in)
        explained.__cause__ = self.last_error
        return explained
