"""The options that every call takes, and the checks of arguments before anything is sent.

A check raises `InvalidRequestError`, which names the argument and says that nothing was sent.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TypedDict, TypeVar, cast

from .config import MAX_SECONDS
from .errors import InvalidRequestError
from .text import one_line

__all__ = [
    "CallOptions",
    "check_callback",
    "check_count",
    "check_filter",
    "check_id",
    "check_ids",
    "check_options",
    "check_seconds",
    "check_time",
]

T = TypeVar("T")

_MAX_ID = 2**63 - 1
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"([\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?)?")
# Headers that callers may not set: they carry the signature, or frame the request.
_RESERVED_HEADERS = frozenset(
    {"apikey", "signature", "host", "content-length", "transfer-encoding", "connection"}
)
_TIME_FILTERS = frozenset({"from", "from_", "to"})


class CallOptions(TypedDict, total=False):
    """Options of one call, given as keyword arguments to every method.

    Keys:
        timeout: seconds for each phase of an attempt (connect, write, read), more than 0; default:
            the client's.
        deadline: maximum seconds from now until the whole call is over. A request that cannot be
            sent in time raises `RequestNotSentError` at once; one that was sent and is not answered
            in time raises `OutcomeUnknownError`. Default: no limit.
        extra_headers: additional headers. Those of the signature and of the framing (`Host`,
            `Content-Length`, `Transfer-Encoding`, `Connection`) are refused.
    """

    timeout: float
    deadline: float | None
    extra_headers: Mapping[str, str]


def check_id(value: object, name: str = "trade_id") -> int:
    """Return a positive id below 2^63, or raise `InvalidRequestError`.

    Only an int passes, neither `True` nor `"1/../2"`, because an id becomes part of the path.
    """
    if type(value) is not int:
        msg = f"{name} must be an int, not {type(value).__name__}; nothing was sent"
        raise InvalidRequestError(msg)
    if not 0 < value <= _MAX_ID:
        msg = f"{name} must be positive and below 2^63, not {_shown(value)}; nothing was sent"
        raise InvalidRequestError(msg)
    return value


def _shown(number: int) -> str:
    # Python refuses to convert numbers of thousands of digits:
    # https://docs.python.org/3/library/stdtypes.html#int-max-str-length
    return str(number) if number.bit_length() < 1000 else "a longer one"  # noqa: PLR2004


def check_seconds(value: object, name: str) -> float | None:
    """Return a number of seconds or None, or raise `InvalidRequestError`."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        msg = f"{name} must be a number of seconds, not {type(value).__name__}; nothing was sent"
        raise InvalidRequestError(msg)
    if not 0 <= value < MAX_SECONDS:
        msg = f"{name} must be a finite number of seconds from 0 up; nothing was sent"
        raise InvalidRequestError(msg)
    return float(value)


def check_options(options: CallOptions) -> None:
    """Raise `InvalidRequestError` unless the options of a call are valid."""
    if unknown := options.keys() - CallOptions.__annotations__.keys():
        msg = f"unknown option {', '.join(sorted(unknown))}; nothing was sent"
        raise InvalidRequestError(msg)
    if check_seconds(options.get("timeout"), "timeout") == 0:
        msg = "timeout must be longer than 0 seconds; nothing was sent"
        raise InvalidRequestError(msg)
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
            # The value is not shown, because it may be a secret.
            shown = one_line(repr(name), 100)
            msg = f"extra_headers: {shown} is not a header that can be sent; nothing was sent"
            raise InvalidRequestError(msg)
        if name.lower() in _RESERVED_HEADERS:
            msg = f"extra_headers: {name} is set by the client alone; nothing was sent"
            raise InvalidRequestError(msg)


def check_ids(values: object, name: str = "trade_ids") -> list[int]:
    """Return the ids in order without duplicates, or raise `InvalidRequestError`."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        msg = f"{name} must be an iterable of ids, not {type(values).__name__}; nothing was sent"
        raise InvalidRequestError(msg)
    ids = cast("Iterable[object]", values)
    return list(dict.fromkeys(check_id(value, f"each of {name}") for value in ids))


def check_filter(name: str, value: T) -> T:
    """Return the value of a list's filter, or raise `InvalidRequestError`.

    A name that ends in `_id` takes a positive int, `from_` and `to` take an aware `datetime`, any
    other name takes a printable text that is not empty. The check is strict because the server may
    ignore a filter that it cannot read, and then lists everything.
    """
    if name.endswith("_id"):
        check_id(value, name)
    elif name in _TIME_FILTERS:
        check_time(value, name)
    elif not (isinstance(value, str) and value.isprintable() and value.strip()):
        given = one_line(repr(value), 50) if isinstance(value, str) else type(value).__name__
        msg = f"{name} must be printable text and not empty, not {given}; nothing was sent"
        raise InvalidRequestError(msg)
    return value


def check_time(value: object, name: str) -> None:
    """Raise `InvalidRequestError` unless a time is aware and can be converted to UTC."""
    if not isinstance(value, datetime):
        msg = f"{name} must be a datetime, not {type(value).__name__}; nothing was sent"
        raise InvalidRequestError(msg)
    try:
        if value.utcoffset() is None:
            problem = "has no time zone, so it is not clear when that is"
        else:
            value.astimezone(UTC)
            return
    except Exception as error:  # noqa: BLE001 - a time zone may be third-party code
        problem = f"cannot be converted to UTC ({type(error).__name__})"
    msg = f"{name} {problem}; nothing was sent"
    raise InvalidRequestError(msg)


def check_count(value: object, name: str, *, least: int = 0, most: int = _MAX_ID) -> int:
    """Return an int from `least` to `most`, or raise `InvalidRequestError`."""
    if type(value) is not int or not least <= value <= most:
        shown = _shown(value) if type(value) is int else type(value).__name__
        msg = f"{name} must be an int from {least} to {most}, not {shown}; nothing was sent"
        raise InvalidRequestError(msg)
    return value


def check_callback(callback: object, name: str = "on_outcome") -> None:
    """Raise `InvalidRequestError` unless a callback is None or a plain function.

    Callbacks are called and not awaited, so the body of a coroutine function would never run.
    """
    if callback is not None and (not callable(callback) or _has_lazy_body(callback)):
        msg = f"{name} must be a plain function, not a coroutine function; nothing was sent"
        raise InvalidRequestError(msg)


def _has_lazy_body(callback: object) -> bool:
    """Return whether calling it only creates a coroutine or generator, without running its body."""
    while isinstance(callback, partial):
        callback = cast("partial[object]", callback).func
    return any(
        inspect.iscoroutinefunction(function)
        or inspect.isasyncgenfunction(function)
        or inspect.isgeneratorfunction(function)
        for function in (callback, type(callback).__call__)
    )
