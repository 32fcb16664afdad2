"""The options every call takes, and the checks made on arguments before anything leaves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import TypedDict, cast

from .errors import InvalidRequestError

__all__ = [
    "CallOptions",
    "check_callback",
    "check_id",
    "check_ids",
    "check_options",
    "check_seconds",
]

_MAX_ID = 2**63 - 1
_FOREVER = 1e12
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")


class CallOptions(TypedDict, total=False):
    """Options of one call, given as keyword arguments to every method.

    Keys:
        timeout: seconds for each phase of an attempt (connect, write, read); default: the client's.
        deadline: seconds from now within which the whole call must be over. What cannot be sent in
            time is refused at once with `RequestNotSentError`; what was sent and not answered by
            then is an `OutcomeUnknownError`. Default: wait as long as it takes.
        extra_headers: headers to send in addition. They cannot replace the signature.
    """

    timeout: float
    deadline: float | None
    extra_headers: Mapping[str, str]


def check_id(value: object, name: str = "trade_id") -> int:
    """Return a positive id below 2^63, or raise `InvalidRequestError`.

    `True`, `"1"`, `1.5` and `"1/../2"` are refused: an id becomes part of the signed path.
    """
    if type(value) is not int:
        msg = f"{name} must be an int, not {type(value).__name__}; nothing was sent"
        raise InvalidRequestError(msg)
    if not 0 < value <= _MAX_ID:
        msg = f"{name} must be positive and below 2^63, not {value}; nothing was sent"
        raise InvalidRequestError(msg)
    return value


def check_seconds(value: object, name: str) -> float | None:
    """Return a length of time in seconds, or raise `InvalidRequestError`."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        msg = f"{name} must be a number of seconds, not {type(value).__name__}; nothing was sent"
        raise InvalidRequestError(msg)
    if not 0 <= value < _FOREVER:
        msg = f"{name} must be a finite number of seconds from 0 up; nothing was sent"
        raise InvalidRequestError(msg)
    return float(value)


def check_options(options: CallOptions) -> None:
    """Check the options of a call, or raise `InvalidRequestError`."""
    if unknown := options.keys() - CallOptions.__annotations__.keys():
        msg = f"unknown option {', '.join(sorted(unknown))}; nothing was sent"
        raise InvalidRequestError(msg)
    check_seconds(options.get("timeout"), "timeout")
    check_seconds(options.get("deadline"), "deadline")
    _check_headers(options.get("extra_headers", {}))


def _check_headers(headers: object) -> None:
    if not isinstance(headers, Mapping):
        msg = f"extra_headers must be a mapping, not {type(headers).__name__}; nothing was sent"
        raise InvalidRequestError(msg)
    for name, value in cast("Mapping[object, object]", headers).items():
        if not (
            isinstance(name, str)
            and isinstance(value, str)
            and _HEADER_NAME.fullmatch(name)
            and _HEADER_VALUE.fullmatch(value)
        ):
            # The value is not repeated: it may be a secret.
            msg = f"extra_headers: {name!r} is not a header that can be sent; nothing was sent"
            raise InvalidRequestError(msg)


def check_ids(values: object, name: str = "trade_ids") -> list[int]:
    """Return the ids in order, each once, or raise `InvalidRequestError` before any is used."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        msg = f"{name} must be ids to go through, not {type(values).__name__}; nothing was sent"
        raise InvalidRequestError(msg)
    ids = cast("Iterable[object]", values)
    return list(dict.fromkeys(check_id(value, f"each of {name}") for value in ids))


def check_callback(callback: object, name: str = "on_outcome") -> None:
    """Check a callback that is called and not awaited, or raise `InvalidRequestError`."""
    if callback is not None and (not callable(callback) or inspect.iscoroutinefunction(callback)):
        msg = f"{name} must be a plain function, not a coroutine function; nothing was sent"
        raise InvalidRequestError(msg)


def check_filter(name: str, value: object) -> object:
    """Stub until merge."""
    return value
