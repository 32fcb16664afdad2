"""Answers with an error status: the error for each, and the block that a 429 or 418 sets.

The answer is redacted before, and `pipeline` applies the block.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from attrs import frozen

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
from ..text import read_error_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .call import Call

__all__ = ["Block", "Redacted", "api_status_error", "read_block", "refusal"]

T = TypeVar("T")

_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    418: IPBannedError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}

# Whether an answer refuses the subscription plan or the rate shows in its words only: no code for
# it is documented. A text about both ("rate limit of your plan") is about the rate, because plans
# differ in their limits too.
_PLAN_WORDS = re.compile(r"\b(plan|subscription|subscribe|upgrade|tariff)\b", re.IGNORECASE)
_RATE_WORDS = re.compile(
    r"\b(rate|too many|next request|retry|limit of \d+)\b"
    r"|(\bper|/) ?(second|sec|minute|min|hour|day|s|m|h)\b"
    r"|\b\d+ ?(seconds?|minutes?|s|sec|min)\b",
    re.IGNORECASE,
)

# Seconds to add to a named time: it has whole seconds, so the block may end up to one second later.
_BLOCK_MARGIN = 1.0
# Seconds of the shortest documented ban, for a 418 that does not say how long.
_SHORTEST_BAN = 120.0
# A `Date` header further off than this is wrong; the local clock is used instead.
_MAX_SKEW = timedelta(days=1)
# Maximum seconds of a block: the longest documented ban.
_MAX_BLOCK = 3 * 24 * 3600.0

_NEXT_REQUEST = re.compile(r"next request at (\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)", re.IGNORECASE)


class Redacted(NamedTuple):
    """The parts of an answer for use in errors, without the key and signature it may echo."""

    status_code: int
    headers: Mapping[str, str]
    body: str
    request_id: str | None


def refusal(
    call: Call[T], answer: Redacted, *, penalty: float
) -> tuple[APIStatusError, Block | None]:
    """Return the error for an answer with an error status, and the block that it sets.

    Args:
        call: the answered call.
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
    """Return the error for a complete answer with an error status.

    Args:
        status_code: HTTP status of the answer.
        method: verb of the request.
        path: path of the request, without host and query.
        body: the answer's body as text, without key and signature.
        unsafe: whether the request changes something. If so, the error of an answer that leaves
            open whether it was carried out (5xx, a redirect, 408, a 404 of a gateway) has
            `may_have_taken_effect` set.
        request_id: the answer's `X-Request-Id`.
        retry_at: when requests are accepted again, after a 429 or 418.
        time_named: whether the server named that time; then it refuses the rate, not the plan.
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
    text = f"{error or plain} {description or ''}"
    if _refuses_plan(status_code, text, time_named=time_named):
        return PlanLimitError(**facts)
    if status_code >= 500:  # noqa: PLR2004 - an HTTP status
        return ServerError(**facts)
    kind = _BY_STATUS.get(status_code, APIStatusError)
    if kind in {RateLimitError, IPBannedError}:
        facts["retry_at"] = retry_at
    return kind(**facts)


def _refuses_plan(status_code: int, text: str, *, time_named: bool) -> bool:
    """Return whether an answer refuses the subscription plan, not the rate or a permission."""
    text = text.replace("_", " ")
    if not _PLAN_WORDS.search(text):
        return False
    if status_code == 403:  # noqa: PLR2004 - an HTTP status
        return True
    return status_code == 429 and not time_named and not _RATE_WORDS.search(text)  # noqa: PLR2004


def says_not_found(error: str | None) -> bool:
    """Return whether an error code means "not found": the API spells it `Not found`, `not_found`.

    Get and cancel of a smart trade answer it with status 400.
    """
    return (error or "").casefold().replace("_", " ").strip() == "not found"


@frozen
class Block:
    """A time during which the server refuses all requests.

    Attributes:
        seconds: its length.
        retry_at: its end, as an aware UTC time.
        named: whether the server named the time; if not, it is assumed.
    """

    seconds: float
    retry_at: datetime
    named: bool


def read_block(
    status_code: int, headers: Mapping[str, str], body: str, *, penalty: float, now: datetime
) -> Block:
    """Read from a 429 or 418 how long nothing may be sent.

    The time named in the body counts, else the `Retry-After` header, else the documented penalty. A
    named time is compared with the answer's own `Date`, so that a wrong local clock does no harm;
    one in the past is ignored.

    Args:
        status_code: 429 or 418.
        headers: the answer's headers, names in lower case or case-insensitive.
        body: the answer's body.
        penalty: seconds to assume for a 429 that names no time.
        now: the local time, aware.
    """
    server_now = _http_date(headers.get("date")) or now
    if abs(server_now - now) > _MAX_SKEW:
        server_now = now
    seconds = _named_seconds(body, server_now)
    if seconds is None:
        seconds = _retry_after_seconds(headers.get("retry-after"), server_now)
    named = seconds is not None
    if seconds is None:
        seconds = _SHORTEST_BAN if status_code == 418 else penalty  # noqa: PLR2004 - HTTP status
    seconds = min(seconds, _MAX_BLOCK)
    return Block(seconds, datetime.fromtimestamp(now.timestamp() + seconds, UTC), named)


def _named_seconds(body: str, now: datetime) -> float | None:
    match = _NEXT_REQUEST.search(body)
    if match is None:
        return None
    try:
        named = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    except ValueError:
        return None
    return _seconds_until(named, now)


def _retry_after_seconds(value: str | None, now: datetime) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        named = _http_date(value)
        return None if named is None else _seconds_until(named, now)
    return seconds if 0 < seconds < math.inf else None


def _seconds_until(named: datetime, now: datetime) -> float | None:
    """Return the seconds until a named time, with a margin; None if it has passed."""
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
