"""What an attempt came to, and what to do next. Pure: no clock, no network, no waiting.

The question is never "may this verb be repeated" but "may this call have happened": what provably
never left may go again; what the server refused was not carried out; anything else that changes
something is left to whoever can read the entity first.
"""

from __future__ import annotations

import math
import random
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING

from attrs import frozen

from .endpoint import Safety
from .errors import (
    APIStatusError,
    ConfigurationError,
    OutcomeUnknownError,
    RateLimitError,
    RequestNotSentError,
    ThreeCommasError,
    is_ambiguous,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Block", "Fate", "RetryPolicy", "classify", "next_delay", "read_block"]

# The server names whole seconds, so the block may last up to one second longer than it says.
_BLOCK_MARGIN = 1.0
# The shortest ban documented, for a 418 that does not say until when.
_SHORTEST_BAN = 120.0
# A `Date` further off than this is the server's mistake, not ours.
_BELIEVABLE_SKEW = timedelta(days=1)
_LONGEST_BLOCK = 3 * 24 * 3600.0

_NEXT_REQUEST = re.compile(r"next request at (\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)", re.IGNORECASE)


class Fate(Enum):
    """What an attempt came to."""

    NOT_SENT = "not sent"
    """Provably never left: no connection, no slot."""
    REJECTED = "rejected"
    """The server answered that it does not do it."""
    UNKNOWN = "unknown"
    """It may have left, and what came back does not say whether it was carried out."""
    DONE = "done"
    """The server answered that it was carried out."""


def classify(status_code: int, *, from_api: bool = True) -> Fate:
    """Return what a complete answer means for its request.

    `from_api` says that an error is the API's own, see `APIStatusError`.
    """
    if 200 <= status_code < 300:  # noqa: PLR2004 - an HTTP status; any 2xx, the docs mix them
        return Fate.DONE
    return Fate.UNKNOWN if is_ambiguous(status_code, from_api=from_api) else Fate.REJECTED


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
    unknown = isinstance(error, OutcomeUnknownError) or (
        isinstance(error, APIStatusError)
        and is_ambiguous(error.status_code, from_api=error.from_api)
    )
    return policy.pause(attempts) if unknown and safety is Safety.SAFE else None


@frozen
class Block:
    """A refusal of everything for a while.

    Attributes:
        seconds: how long.
        retry_at: aware UTC time at which it is over.
        named: the server said how long; else it is the penalty assumed.
    """

    seconds: float
    retry_at: datetime
    named: bool


def read_block(
    status_code: int, headers: Mapping[str, str], body: str, *, penalty: float, now: datetime
) -> Block:
    """Read from a 429 or 418 how long nothing may be sent.

    The time that the server names in its text counts, else its `Retry-After` header, else the
    documented penalty. A named time is held against the answer's own `Date`, so that a wrong clock
    here does no harm; one that is over already is not believed.

    Args:
        status_code: 429 or 418.
        headers: the answer's headers, names in lower case or case-insensitive.
        body: the answer's body.
        penalty: seconds to assume for a 429 that names no time.
        now: aware time here.
    """
    server_now = _http_date(headers.get("date")) or now
    if abs(server_now - now) > _BELIEVABLE_SKEW:
        server_now = now
    seconds = _named_seconds(body, server_now)
    if seconds is None:
        seconds = _retry_after_seconds(headers.get("retry-after"), server_now)
    named = seconds is not None
    if seconds is None:
        seconds = _SHORTEST_BAN if status_code == 418 else penalty  # noqa: PLR2004 - HTTP status
    seconds = min(seconds, _LONGEST_BLOCK)
    return Block(seconds, datetime.fromtimestamp(now.timestamp() + seconds, UTC), named)


def _named_seconds(body: str, now: datetime) -> float | None:
    match = _NEXT_REQUEST.search(body)
    if match is None:
        return None
    try:
        named = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    except ValueError:
        return None
    return _ahead(named, now)


def _retry_after_seconds(value: str | None, now: datetime) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        named = _http_date(value)
        return None if named is None else _ahead(named, now)
    return seconds if 0 < seconds < math.inf else None


def _ahead(named: datetime, now: datetime) -> float | None:
    seconds = (named - now).total_seconds()
    return seconds + _BLOCK_MARGIN if seconds > 0 else None


def _http_date(value: str | None) -> datetime | None:
    if not value:
        return None
    try:
        named = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return named.replace(tzinfo=UTC) if named.tzinfo is None else named
