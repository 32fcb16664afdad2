"""What the body of an error answer says, bounded and fit for one line of a log.

Whatever answers may send megabytes, line ends that forge log records, or characters that turn a
terminal's text around. What a reader needs is the beginning, on one line.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import Final, NamedTuple, cast

__all__ = ["LONGEST_BODY", "LONGEST_TEXT", "ErrorBody", "one_line", "read_error_body", "shortened"]

LONGEST_TEXT: Final = 500
"""Characters kept of each text of a server."""
LONGEST_BODY: Final = 10_000
"""Characters kept of the body of an error answer."""

_MOST_ATTRIBUTES: Final = 20
_MOST_MESSAGES: Final = 5


class ErrorBody(NamedTuple):
    """The texts of an error answer, each on one line and of bounded length.

    Attributes:
        error: the API's code or short text; None without a JSON body.
        description: the API's longer text; None without one.
        attributes: field name to messages.
        plain: the beginning of a body that is written for people; empty for HTML and JSON.
    """

    error: str | None = None
    description: str | None = None
    attributes: dict[str, tuple[str, ...]] = {}  # noqa: RUF012 - never written to
    plain: str = ""


def read_error_body(body: str) -> ErrorBody:
    """Read the body of an error answer; plain text and HTML are documented for 429, 502, 504."""
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
    except RecursionError:  # JSON all the same
        return ErrorBody()


def one_line(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return the beginning of a text, without line ends and what else cannot be printed."""
    text = text.strip()
    start = text[: 2 * longest]  # no more is looked at: the text may be of any length
    line = " ".join("".join(c if c.isprintable() else " " for c in start).split())
    return shortened(line if start == text else line + "…", longest)


def shortened(text: str, longest: int) -> str:
    """Return a text of at most this many characters, with an ellipsis where it was cut."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _text(value: object) -> str | None:
    return None if value is None else one_line(str(value))


def _attributes(value: object) -> dict[str, tuple[str, ...]]:
    """Read field name to messages; documented as a string, an object in every example."""
    if not value:
        return {}
    if not isinstance(value, dict):
        return {"": (one_line(str(value)),)}
    fields = cast("dict[str, object]", value)
    return {
        one_line(name): _messages(messages)
        for name, messages in islice(fields.items(), _MOST_ATTRIBUTES)
    }


def _messages(value: object) -> tuple[str, ...]:
    messages = cast("list[object]", value) if isinstance(value, list) else [value]
    return tuple(one_line(str(message)) for message in messages[:_MOST_MESSAGES])
