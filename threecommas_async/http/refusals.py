"""Answers with an error status: which error each is, and for how long it lets nothing leave."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from attrs import frozen

from ..error_body import read_error_body
from ..errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    Fate,
    IPBannedError,
    NotFoundError,
    PermissionDeniedError,
    PlanLimitError,
    RateLimitError,
    ServerError,
    UnprocessableEntityError,
    fate_of_status,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .call import Call

__all__ = ["Block", "Redacted", "api_status_error", "read_block", "refusal"]

T = TypeVar("T")

# One table from status to class.
_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    418: IPBannedError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}

# A refused plan is told from a rate by its words: no code for it is documented. A text that speaks
# of both ("rate limit of your plan") is about the rate: plans differ in their limits too.
_PLAN_WORDS = re.compile(r"\b(plan|subscription|subscribe|upgrade|tariff)\b", re.IGNORECASE)
_RATE_WORDS = re.compile(
    r"\b(rate|too many|next request|retry|limit of \d+)\b"
    r"|(\bper|/) ?(second|sec|minute|min|hour|day|s|m|h)\b"
    r"|\b\d+ ?(seconds?|minutes?|s|sec|min)\b",
    re.IGNORECASE,
)


# The server names whole seconds, so the block may last up to one second longer than it says.
_BLOCK_MARGIN = 1.0
# The shortest ban documented, for a 418 that does not say until when.
_SHORTEST_BAN = 120.0
# A `Date` further off than this is the server's mistake, not ours.
_BELIEVABLE_SKEW = timedelta(days=1)
_LONGEST_BLOCK = 3 * 24 * 3600.0

_NEXT_REQUEST = re.compile(r"next request at (\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)", re.IGNORECASE)


class Redacted(NamedTuple):
    """What errors tell of an answer; key and signature, which it may echo, are blotted out."""

    status_code: int
    headers: Mapping[str, str]
    body: str
    request_id: str | None


def refusal(
    call: Call[T], answer: Redacted, *, penalty: float
) -> tuple[APIStatusError, Block | None]:
    """Return the error for an answer with an error status, and the block that it sets.

    Args:
        call: what was asked.
        answer: the answer.
        penalty: seconds of block to assume for a 429 that names no time.
    """
    block = None
    if answer.status_code in {418, 429}:
        now = datetime.now(UTC)
        block = read_block(
            answer.status_code, answer.headers, answer.body, penalty=penalty, now=now
        )
    error = api_status_error(
        status_code=answer.status_code,
        method=call.endpoint.method,
        path=call.path,
        body=answer.body,
        unsafe=call.unsafe,
        request_id=answer.request_id,
        retry_at=block.retry_at if block else None,
        time_named=bool(block and block.named),
    )
    return error, None if isinstance(error, PlanLimitError) else block


def api_status_error(  # noqa: PLR0913 - the facts of one answer
    *,
    status_code: int,
    method: str,
    path: str,
    body: str,
    unsafe: bool,
    request_id: str | None = None,
    retry_at: datetime | None = None,
    time_named: bool = False,
) -> APIStatusError:
    """Make the error for a complete answer with an error status.

    Args:
        status_code: HTTP status of the answer.
        method: verb of the request.
        path: path of the request, without host and query.
        body: the answer's body as text, without key and signature.
        unsafe: the request changes something, so that an answer which does not say whether it was
            carried out (5xx, a redirect, 408, a 404 of something in between) is marked as one that
            may have taken effect.
        request_id: the answer's `X-Request-Id`.
        retry_at: when requests are accepted again, after a 429 or 418.
        time_named: the server itself named that time, so it speaks of the rate and not of the plan.
    """
    error, description, attributes, plain = read_error_body(body)
    facts: dict[str, Any] = {
        "status_code": status_code,
        "method": method,
        "path": path,
        "body": body,
        "error": error,
        "error_description": description,
        "error_attributes": attributes,
        "request_id": request_id,
        "may_have_taken_effect": unsafe
        and fate_of_status(status_code, from_api=bool(error)) is Fate.UNKNOWN,
    }
    if status_code == 400 and says_not_found(error):  # noqa: PLR2004 - an HTTP status
        return NotFoundError(**facts)
    said = f"{error or plain} {description or ''}"
    if _refuses_plan(status_code, said, time_named=time_named):
        return PlanLimitError(**facts)
    if status_code >= 500:  # noqa: PLR2004 - an HTTP status
        return ServerError(**facts)
    kind = _BY_STATUS.get(status_code, APIStatusError)
    if kind in {RateLimitError, IPBannedError}:
        facts["retry_at"] = retry_at
    return kind(**facts)


def _refuses_plan(status_code: int, said: str, *, time_named: bool) -> bool:
    """Return whether an answer refuses the subscription plan, not the rate or a permission."""
    said = said.replace("_", " ")
    if not _PLAN_WORDS.search(said):
        return False
    if status_code == 403:  # noqa: PLR2004 - an HTTP status
        return True
    return status_code == 429 and not time_named and not _RATE_WORDS.search(said)  # noqa: PLR2004


def says_not_found(error: str | None) -> bool:
    """Return whether an error code means "not found": the API spells it `Not found`, `not_found`.

    Get and cancel of a smart trade answer it with status 400.
    """
    return (error or "").casefold().replace("_", " ").strip() == "not found"


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
