"""What has happened to a call so far, and whether it is tried again.

Pure: no clock, no network, no waiting.

The question is never "may this verb be repeated" but "may this call have happened": what provably
never left may go again; what the server refused was not carried out; anything else that changes
something is left to whoever can read the entity first.
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

__all__ = ["Register", "RetryPolicy", "Trace", "next_delay"]


@frozen(kw_only=True)
class RetryPolicy:
    """How often and how fast failed attempts are made again.

    Attributes:
        attempts: attempts at one request in all, the first one included. A close whose fate is
            unknown counts its repetitions (each after a read that shows the trade open) here too.
        backoff: seconds before the second attempt; doubled for each further one.
        max_backoff: longest pause in seconds.
        jitter: share of each pause that is drawn at random, from 0 to 1.
        rate_limit_waits: how many rate 429s in a row one request waits out before it gives up.

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
        """Return the seconds to wait after so many failed attempts.

        `chance`, from 0 to 1, stands in for the random draw.
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
    """Return the seconds to wait before the same request may go again, None to give up.

    Args:
        policy: how often.
        safety: whether the call may be repeated when its fate is unknown.
        error: what the last attempt ended in.
        attempts: attempts made so far, rate refusals not counted.
        refusals: rate refusals (429) met so far.
    """
    if isinstance(error, RateLimitError):
        # The limiter has been told: the next acquire waits the block out.
        return 0.0 if refusals <= policy.rate_limit_waits else None
    if attempts >= policy.attempts:
        return None
    if isinstance(error, RequestNotSentError):
        # Without a slot in time there is no point in asking again.
        return None if error.available_in is not None else policy.pause(attempts)
    again = error.fate is Fate.UNKNOWN and safety is Safety.SAFE
    return policy.pause(attempts) if again else None


class Register(Protocol):
    """Keeps what is in question."""

    def note(self, entity_id: int) -> None:
        """Note that a request about this entity is about to leave."""
        ...

    def settle(self, entity_id: int) -> None:
        """Take it out: it is known that no attempt so far was carried out."""
        ...


class Trace:
    """What has happened to one call so far; readable also after its task was cancelled."""

    __slots__ = ("attempts", "entity_id", "final", "in_flight", "last_error", "register", "unknown")

    def __init__(self) -> None:
        self.attempts = 0
        """Attempts that were handed to the network."""
        self.in_flight = False
        """An attempt is under way, or was when the call was cancelled."""
        self.unknown = False
        """The fate of some attempt is not known."""
        self.final = False
        """Set from outside: make no attempt after the one under way."""
        self.last_error: ThreeCommasError | None = None
        """What the last attempt that failed ended in."""
        self.register: Register | None = None
        """Is told before an attempt leaves; nothing is sent if it raises."""
        self.entity_id = 0
        """What the register is told about."""

    def leave(self) -> None:
        """Take down that an attempt is handed to the network now."""
        if self.register is not None:
            self.register.note(self.entity_id)
        self.attempts += 1
        self.in_flight = True

    def fail(self, error: ThreeCommasError) -> None:
        """Take down what the attempt under way has ended in."""
        self.in_flight = False
        self.last_error = error
        self.unknown |= error.may_have_taken_effect
        if not self.unknown and self.register is not None:
            self.register.settle(self.entity_id)

    def explain(self, error: RequestNotSentError) -> RequestNotSentError:
        """Return an error of what was not sent that also says what the last attempt ended in."""
        if self.last_error is None:
            return error
        # Not a copy: it may be of a class of the user's that cannot be copied.
        kind = ClientClosedError if isinstance(error, ClientClosedError) else RequestNotSentError
        text = f"{error}. The last attempt: {self.last_error}"
        explained = kind(text, available_in=error.available_in)
        explained.__cause__ = self.last_error
        return explained
