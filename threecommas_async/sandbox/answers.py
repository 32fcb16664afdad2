"""What the sandbox says: one value per answer, and the few shapes that answers come in.

Pure: nothing here knows of sockets, so every answer can be looked at in a test as it is.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
"""Anything `json.dumps` writes."""

LimitBody: TypeAlias = Literal["text", "json", "html"]
"""The three bodies in which a 429 has been seen: the application's, the API's, the proxy's."""

_PAGE = (
    "<html>\r\n<head><title>{0}</title></head>\r\n"
    "<body><center><h1>{0}</h1></center></body>\r\n</html>\r\n"
)


@attrs.frozen(kw_only=True)
class Answer:
    """One HTTP answer, and the closes that were carried out in making it."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = attrs.Factory(dict[str, str])
    applied: tuple[int, ...] = ()
    """Ids of the trades and deals whose close this request carried out."""


class RefusalError(Exception):
    """Ends the handling of a request with an answer other than the one it asked for."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def ok(body: JSON, *, status: int = 200, applied: tuple[int, ...] = ()) -> Answer:
    """Answer with `body` as JSON."""
    return Answer(status=status, body=json.dumps(body).encode(), applied=applied)


def error(
    status: int, code: str, description: str, attributes: Mapping[str, JSON] | None = None
) -> Answer:
    """Answer with an error body of the documented shape; `attributes` is field → messages."""
    body: dict[str, JSON] = {"error": code, "error_description": description}
    if attributes:
        body["error_attributes"] = attributes
    return ok(body, status=status)


def invalid(status: int, /, **attributes: str) -> Answer:
    """Answer `record_invalid`: one keyword per field, with what is wrong with it."""
    messages: dict[str, JSON] = {field: [message] for field, message in attributes.items()}
    return error(status, "record_invalid", "Invalid parameters", messages)


def html(status: int, title: str) -> Answer:
    """Answer with the page of a proxy that stands in front of the API."""
    page = _PAGE.format(f"{status} {title}")
    return Answer(status=status, body=page.encode(), content_type="text/html")


def limited(form: LimitBody, until: datetime, retry_after: int | None = None) -> Answer:
    """Answer 429 in one of its `form`s; `until` is shown by all of them but the HTML one.

    `retry_after` (seconds) becomes the header of that name.
    """
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    if form == "html":
        return attrs.evolve(html(429, "Too Many Requests"), headers=headers)
    message = next_request_at(until)
    if form == "json":
        return attrs.evolve(error(429, "too_many_requests", message), headers=headers)
    return Answer(status=429, body=message.encode(), content_type="text/plain", headers=headers)


def banned(until: datetime) -> Answer:
    """Answer 418: the address is banned until then."""
    return error(418, "ip_banned", f"IP address banned. {next_request_at(until)}")


def plan_refused() -> Answer:
    """Answer 429 that no waiting helps: the subscription plan does not include the call."""
    return error(
        429,
        "plan_limit_exceeded",
        "Your subscription plan does not allow this API request. Please upgrade your plan.",
    )


def next_request_at(until: datetime) -> str:
    """Say, in the API's own words, when the block ends."""
    return f"Rate limit exceeded. Next request at {until:%Y-%m-%d %H:%M:%S} UTC"
