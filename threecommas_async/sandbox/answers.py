"""HTTP answers as values, and functions that build them.

Pure: no sockets, so tests can inspect every answer.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
"""Any value that `json.dumps` accepts."""

LimitBody: TypeAlias = Literal["text", "json", "html"]
"""The three kinds of 429 bodies seen in the wild: of the application, the API and the proxy."""

_HTML_PAGE = (
    "<html>\r\n<head><title>{0}</title></head>\r\n"
    "<body><center><h1>{0}</h1></center></body>\r\n</html>\r\n"
)


@attrs.frozen(kw_only=True)
class Answer:
    """One HTTP answer, and the closes that its request carried out."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = attrs.Factory(dict[str, str])
    applied: tuple[int, ...] = ()
    """Ids of the trades and deals whose close this request carried out."""


class RefusalError(Exception):
    """Abort the handling of a request and answer it with `answer`, an error."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def ok(body: JSON, *, status: int = 200, applied: tuple[int, ...] = ()) -> Answer:
    """Return an answer with `body` as JSON."""
    return Answer(status=status, body=json.dumps(body).encode(), applied=applied)


def error(
    status: int, code: str, description: str, attributes: Mapping[str, JSON] | None = None
) -> Answer:
    """Return an error of the documented shape; `attributes` maps fields to messages."""
    body: dict[str, JSON] = {"error": code, "error_description": description}
    if attributes:
        body["error_attributes"] = attributes
    return ok(body, status=status)


def invalid(status: int, /, **attributes: str) -> Answer:
    """Return the error `record_invalid`, with one keyword per field and its message."""
    messages: dict[str, JSON] = {field: [message] for field, message in attributes.items()}
    return error(status, "record_invalid", "Invalid parameters", messages)


def html(status: int, title: str) -> Answer:
    """Return the HTML error page of a proxy in front of the API."""
    page = _HTML_PAGE.format(f"{status} {title}")
    return Answer(status=status, body=page.encode(), content_type="text/html")


def limited(form: LimitBody, until: datetime, retry_after: int | None = None) -> Answer:
    """Return a 429 with a body of the given `form`; all but the HTML one show `until`.

    `retry_after` (seconds) is sent as the header `Retry-After`.
    """
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    if form == "html":
        return attrs.evolve(html(429, "Too Many Requests"), headers=headers)
    message = next_request_at(until)
    if form == "json":
        return attrs.evolve(error(429, "too_many_requests", message), headers=headers)
    return Answer(status=429, body=message.encode(), content_type="text/plain", headers=headers)


def banned(until: datetime) -> Answer:
    """Return a 418: the address is banned until then."""
    return error(418, "ip_banned", f"IP address banned. {next_request_at(until)}")


def plan_refused() -> Answer:
    """Return the 429 of a subscription plan that does not include the call."""
    return error(
        429,
        "plan_limit_exceeded",
        "Your subscription plan does not allow this API request. Please upgrade your plan.",
    )


def next_request_at(until: datetime) -> str:
    """Return the text with which the API says when a block ends."""
    return f"Rate limit exceeded. Next request at {until:%Y-%m-%d %H:%M:%S} UTC"
