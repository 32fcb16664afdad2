"""The errors of attempts without a usable answer, with their texts.

Each says whether the request may have left, and what the caller may do now. Errors for an error
status are in `refusals`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import httpx

from ..errors import (
    ClientClosedError,
    OutcomeUnknownError,
    RequestNotSentError,
    ResponseDecodeError,
    ThreeCommasError,
)

if TYPE_CHECKING:
    from ..retry import Trace
    from .call import Call
    from .refusals import Redacted

__all__ = [
    "NOT_SENT",
    "after_closing",
    "after_deadline",
    "blocked_meanwhile",
    "closed_before",
    "not_sent",
    "slot_too_late",
    "stopped",
    "text_of",
    "unanswered",
    "unreadable",
]

T = TypeVar("T")

# Exceptions of httpx after which the request provably never left. Azure's core library draws the
# same line: https://github.com/Azure/azure-sdk-for-python/tree/main/sdk/core/azure-core
NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


def not_sent(call: Call[T], cause: BaseException, text: str) -> RequestNotSentError:
    """Return the error of a request that provably never left.

    Args:
        call: the call that it belongs to.
        cause: the exception that ended the attempt.
        text: the redacted text of that exception.
    """
    error = RequestNotSentError(
        f"{call.endpoint.method} {call.path}: not sent, no connection "
        f"({_described(type(cause), text)}); nothing has happened, it is safe to call again"
    )
    error.__cause__ = _without_request(type(cause), text)
    return error


def unanswered(call: Call[T], why: str, cause: BaseException | None = None) -> OutcomeUnknownError:
    """Return the error of a request that may have left and was not answered.

    Args:
        call: the call that it belongs to.
        why: the reason, or the redacted text of `cause`.
        cause: the exception that ended the attempt, if any.
    """
    clean_cause = None if cause is None else _without_request(type(cause), why)
    if cause is not None:
        why = _described(type(cause), why)
    advice = (
        "it may have taken effect, read the entity before repeating it"
        if call.unsafe
        else "it only reads, so nothing has changed and it may be repeated"
    )
    error = OutcomeUnknownError(
        f"{call.endpoint.method} {call.path}: sent, but no answer came ({why}); {advice}",
        method=call.endpoint.method,
        path=call.path,
        may_have_taken_effect=call.unsafe,
    )
    error.__cause__ = clean_cause
    return error


def unreadable(call: Call[T], answer: Redacted, reason: str) -> ResponseDecodeError:
    """Return the error of a 2xx whose body cannot be understood."""
    return ResponseDecodeError(
        reason,
        status_code=answer.status_code,
        method=call.endpoint.method,
        path=call.path,
        body=answer.body,
        request_id=answer.request_id,
        may_have_taken_effect=call.unsafe,
    )


def stopped(call: Call[T]) -> RequestNotSentError:
    """Return the error of an attempt that was not made because the call was stopped."""
    return _not_made(call, "it was stopped")


def slot_too_late(call: Call[T]) -> RequestNotSentError:
    """Return the error of an attempt that was not made because its slot came too late."""
    return _not_made(call, "its slot came too late", available_in=0.0)


def blocked_meanwhile(call: Call[T]) -> RequestNotSentError:
    """Return the error of an attempt for which a block came while its connection was made."""
    return _not_made(call, "the server has refused everything (429 or 418) meanwhile")


def _not_made(call: Call[T], why: str, *, available_in: float | None = None) -> RequestNotSentError:
    text = f"{call.endpoint.method} {call.path}: not sent, {why}; it is safe to call again"
    return RequestNotSentError(text, available_in=available_in)


def after_deadline(call: Call[T], trace: Trace, deadline: float) -> ThreeCommasError:
    """Return the error of a call whose deadline has passed."""
    if trace.in_flight:
        return unanswered(call, f"the deadline of {deadline:g} s has passed")
    text = (
        f"{call.endpoint.method} {call.path}: not sent before the deadline of {deadline:g} s; "
        "nothing has happened, it is safe to call again"
    )
    return trace.explain(RequestNotSentError(text, available_in=0.0))


def after_closing(call: Call[T], trace: Trace) -> ThreeCommasError:
    """Return the error of a call whose client was closed."""
    if trace.in_flight:
        return unanswered(call, "the client was closed")
    return trace.explain(closed_before(call))


def closed_before(call: Call[T]) -> ClientClosedError:
    """Return the error of an attempt that was not made because the client is closed."""
    return ClientClosedError(
        f"{call.endpoint.method} {call.path}: not sent, the client is closed; nothing has happened"
    )


def _described(kind: type[BaseException], text: str) -> str:
    return f"{kind.__name__}: {text}" if text else kind.__name__


def _without_request(kind: type[BaseException], text: str) -> Exception:
    """Return a new exception of this type and text, to stand as cause for the original.

    The original must not be attached: an httpx exception holds the request with key and signature
    in its headers, the frames of its traceback have them as locals, and its own cause may have them
    in its text.
    """
    if kind is RuntimeError or issubclass(kind, (httpx.TransportError, OSError)):
        with suppress(Exception):  # some types need more arguments than a text
            return kind(text)
    return Exception(_described(kind, text))


def text_of(error: BaseException) -> str:
    """Return the text of a foreign exception, whose `__str__` may fail."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - foreign code
        return "without a text"
