"""Texts from outside, made safe for logs, and the error fields in the body of an answer.

A server or proxy may send megabytes, line breaks that forge log records, or characters that reverse
a terminal's text. So every text is cut to one printable line of bounded length.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import Final, NamedTuple, cast

__all__ = [
    "MAX_BODY_LENGTH",
    "MAX_TEXT_LENGTH",
    "ErrorBody",
    "one_line",
    "read_error_body",
    "shortened",
]

MAX_TEXT_LENGTH: Final = 500
"""Maximum characters of each text of a server."""
MAX_BODY_LENGTH: Final = 10_000
"""Maximum characters of the body of an error answer."""

_MAX_ATTRIBUTES: Final = 20
_MAX_MESSAGES: Final = 5


class ErrorBody(NamedTuple):
    """The texts of an error answer, each on one line and of bounded length.

    Attributes:
        error: the API's code or short text; None without a JSON body.
        description: the API's longer text; None without one.
        attributes: messages by field name.
        plain: the beginning of a plain text body; empty for HTML and JSON.
    """

    error: str | None = None
    description: str | None = None
    attributes: dict[str, tuple[str, ...]] = {}  # noqa: RUF012 - never written to
    plain: str = ""


def read_error_body(body: str) -> ErrorBody:
    """Read the body of an error answer: JSON, or as documented for 429, 502, 504 text or HTML."""
    try:
        data: object = json.loads(body)
        if not isinstance(data, dict):
            return ErrorBody()
        fields = cast("dict[str, object]", data)
        return ErrorBody(
            _text(fields.get("error")),
            _text(fields.get("error_description")),
            _attributes(fields.get("error_attributes")),
        )
    except ValueError:
        text = one_line(body)
        return ErrorBody(plain="" if text.startswith("<") else text)
    except RecursionError:  # JSON, but nested too deeply
        return ErrorBody()


def one_line(text: str, max_length: int = MAX_TEXT_LENGTH) -> str:
    """Return at most `max_length` characters of a text, on one line and all printable."""
    text = text.strip()
    start = text[: 2 * max_length]  # bounds the work: the text may have any length
    line = " ".join("".join(c if c.isprintable() else " " for c in start).split())
    return shortened(line if start == text else line + "…", max_length)


def shortened(text: str, max_length: int) -> str:
    """Return at most `max_length` characters of a text, with an ellipsis if it was cut."""
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def _text(value: object) -> str | None:
    return None if value is None else one_line(str(value))


def _attributes(value: object) -> dict[str, tuple[str, ...]]:
    """Read messages by field name. The API documents a string, but every example has an object."""
    if not value:
        return {}
    if not isinstance(value, dict):
        return {"": (one_line(str(value)),)}
    fields = cast("dict[str, object]", value)
    return {
        one_line(name): _messages(messages)
        for name, messages in islice(fields.items(), _MAX_ATTRIBUTES)
    }


def _messages(value: object) -> tuple[str, ...]:
    messages = cast("list[object]", value) if isinstance(value, list) else [value]
    return tuple(one_line(str(message)) for message in messages[:_MAX_MESSAGES])
