"""Every error this library raises, and what each one says about the trade.

The question a trading bot asks of an error is not "what went wrong" but "may it have happened?".
Each error answers it with `may_have_taken_effect`. The line is drawn where Azure's core library
draws it: what failed before the request left is certain not to have happened; what failed after
it left may have happened, whatever the failure looks like.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = [
    "APIStatusError",
    "AuthenticationError",
    "BadRequestError",
    "ClientClosedError",
    "CloseFailedError",
    "ConfigurationError",
    "IPBannedError",
    "InvalidRequestError",
    "NotFoundError",
    "OutcomeUnknownError",
    "PermissionDeniedError",
    "PlanLimitError",
    "RateLimitError",
    "RequestNotSentError",
    "ResponseDecodeError",
    "ServerError",
    "ThreeCommasError",
    "UnprocessableEntityError",
    "api_status_error",
]


class ThreeCommasError(Exception):
    """Base of every error of this library.

    Attributes:
        may_have_taken_effect: True when the server may have carried the request out all the same:
            read the trade before you repeat anything.
    """

    may_have_taken_effect: bool = False

    def __reduce__(self) -> tuple[object, ...]:
        # BaseException would call __init__ with `args` alone; ours take keywords, and an error has
        # to cross a process boundary whole.
        return _restore, (type(self), self.args, self.__dict__.copy())


def _restore(
    cls: type[ThreeCommasError], args: tuple[object, ...], state: dict[str, object]
) -> ThreeCommasError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(ThreeCommasError, ValueError):
    """A setting that cannot work: a missing or double credential, a bad URL, a bad limit."""


class RequestNotSentError(ThreeCommasError):
    """Nothing left this process: nothing has happened, and it is safe to call again.

    Raised when no connection could be made, or when no slot of the rate limit comes free before
    the deadline.

    Attributes:
        available_in: seconds from the refusal until a slot comes free, where that was the reason.
    """

    def __init__(self, message: str, *, available_in: float | None = None) -> None:
        super().__init__(message)
        self.available_in = available_in


class ClientClosedError(RequestNotSentError):
    """The client was closed before the request left."""


class InvalidRequestError(RequestNotSentError, ValueError):
    """An argument that cannot be sent: refused before anything left this process."""


class OutcomeUnknownError(ThreeCommasError):
    """The request may have left, and no answer that could be understood came back.

    For a call that changes something: it may have happened. Read the trade before you repeat the
    call. For a call that only reads, nothing has changed and it may simply be repeated.
    """

    may_have_taken_effect = True

    def __init__(
        self, message: str, *, method: str = "", path: str = "", may_have_taken_effect: bool = True
    ) -> None:
        super().__init__(message)
        self.method = method
        self.path = path
        self.may_have_taken_effect = may_have_taken_effect


class ResponseDecodeError(ThreeCommasError):
    """The server answered 2xx, so it happened, but the body could not be understood.

    Attributes:
        body: the body as it came, as text.
    """

    may_have_taken_effect = True

    def __init__(  # noqa: PLR0913 - each is a fact of the answer that a reader wants by name
        self,
        reason: str,
        *,
        status_code: int,
        method: str,
        path: str,
        body: str,
        request_id: str | None = None,
        may_have_taken_effect: bool = True,
    ) -> None:
        advice = (
            "; the server carried it out: do not repeat it, read the entity"
            if may_have_taken_effect
            else "; it only reads, so nothing has changed"
        )
        super().__init__(
            f"{method} {path}: answered {status_code}, "
            f"but the body cannot be understood ({reason}){advice}"
        )
        self.may_have_taken_effect = may_have_taken_effect
        self.reason = reason
        self.status_code = status_code
        self.method = method
        self.path = path
        self.body = body
        self.request_id = request_id


class CloseFailedError(ThreeCommasError):
    """The server took the close on, and the trade ended in failure: look at the exchange.

    Attributes:
        reason: the server's text (`status.error`), None where it gave none.
    """

    def __init__(self, trade_id: int, reason: str | None) -> None:
        super().__init__(
            f"trade {trade_id} ended in failure: {reason or 'the server gives no reason'}. "
            "What it held may still be on the exchange: look there."
        )
        self.trade_id = trade_id
        self.reason = reason


class APIStatusError(ThreeCommasError):
    """The server answered with an error status.

    Attributes:
        status_code: HTTP status of the answer.
        error: the server's code or short text (`error`), as it came; None without a JSON body.
        error_description: the server's longer text, often missing, localised.
        error_attributes: field name to messages, empty when the server named none.
        request_id: the answer's `X-Request-Id` header, for the 3Commas support.
        method: verb of the request.
        path: path of the request, without host and query.
        body: the answer's body as text, with the key and signature blotted out.
    """

    def __init__(  # noqa: PLR0913 - each is a fact of the answer that a reader wants by name
        self,
        *,
        status_code: int,
        method: str,
        path: str,
        body: str = "",
        error: str | None = None,
        error_description: str | None = None,
        error_attributes: Mapping[str, tuple[str, ...]] | None = None,
        request_id: str | None = None,
        may_have_taken_effect: bool = False,
    ) -> None:
        self.status_code = status_code
        self.method = method
        self.path = path
        self.body = body
        self.error = error
        self.error_description = error_description
        self.error_attributes = dict(error_attributes or {})
        self.request_id = request_id
        self.from_api = error is not None
        self.may_have_taken_effect = may_have_taken_effect
        super().__init__(self._message())

    def _message(self) -> str:
        text = f"{self.method} {self.path}: {self.status_code}"
        text += f" {self.error or _plain_text(self.body) or 'without an error text'}"
        if self.error_description:
            text += f": {self.error_description}"
        for name, messages in self.error_attributes.items():
            text += f"; {name}: {', '.join(messages)}"
        if self.request_id:
            text += f" [request {self.request_id}]"
        advice = self._advice()
        return f"{text.rstrip('.')}. {advice}" if advice else text

    def _advice(self) -> str:
        if self.may_have_taken_effect:
            return "It may have taken effect all the same: read the entity before repeating it."
        return ""


class BadRequestError(APIStatusError):
    """400: malformed or invalid parameters, see `error_attributes`."""


class AuthenticationError(APIStatusError):
    """401: key invalid or expired, signature invalid, or address not in the key's allow list."""

    def _advice(self) -> str:
        return "Check the key, its secret, and the addresses it is allowed from."


class PermissionDeniedError(APIStatusError):
    """403: the key lacks the permission, or the entity's present state forbids the action."""

    def _advice(self) -> str:
        return "Check the key's permissions and the state of the entity."


class NotFoundError(APIStatusError):
    """404, or 400 with the text "Not found": no such entity for this key."""


class UnprocessableEntityError(APIStatusError):
    """422: refused by validation, by the entity's state, or by the exchange."""


class _BlockedError(APIStatusError):
    """An answer that closes the door for a while.

    Attributes:
        retry_at: aware UTC time from which requests are accepted again.
    """

    def __init__(self, *, retry_at: datetime | None = None, **facts: Any) -> None:  # noqa: ANN401
        self.retry_at = retry_at
        super().__init__(**facts)

    def _advice(self) -> str:
        until = f" until {self.retry_at:%Y-%m-%d %H:%M:%S} UTC" if self.retry_at else ""
        return f"Nothing is sent by this limiter{until}."


class RateLimitError(_BlockedError):
    """429: too many requests. The request was refused and everyone waits until `retry_at`."""


class IPBannedError(_BlockedError):
    """418: this address is banned for going on after 429, for 2 minutes to 3 days."""

    def _advice(self) -> str:
        return super()._advice() + " Going on would make the ban longer."


class PlanLimitError(APIStatusError):
    """429 that refuses the subscription plan: waiting does not help."""

    def _advice(self) -> str:
        return "The subscription plan does not allow this call; waiting does not help."


class ServerError(APIStatusError):
    """5xx: failure on the server. A call that changes something may have happened."""


# One table from status to class.
_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    422: UnprocessableEntityError,
}

# A refused plan is told from a rate by its words: no code for it is documented. A text that speaks
# of both ("rate limit of your plan") is about the rate: plans differ in their limits too.
_PLAN_WORDS = re.compile(r"\b(plan|subscription|subscribe|upgrade|tariff)\b", re.IGNORECASE)
_RATE_WORDS = re.compile(
    r"\b(rate|too many|next request|per minute|per second|retry)\b", re.IGNORECASE
)


def api_status_error(  # noqa: PLR0913 - the facts of one answer
    *,
    status_code: int,
    method: str,
    path: str,
    body: str,
    unsafe: bool,
    request_id: str | None = None,
    retry_at: datetime | None = None,
) -> APIStatusError:
    """Make the error for a complete answer with an error status.

    `unsafe` says that the request changes something, so that an answer which does not say whether
    it was carried out (5xx, a redirect, 408) is marked as one that may have taken effect.
    """
    error, description, attributes = _parse_body(body)
    facts: dict[str, Any] = {
        "status_code": status_code,
        "method": method,
        "path": path,
        "body": body,
        "error": error,
        "error_description": description,
        "error_attributes": attributes,
        "request_id": request_id,
        "may_have_taken_effect": unsafe and is_ambiguous(status_code),
    }
    if status_code == 418:  # noqa: PLR2004 - an HTTP status
        return IPBannedError(retry_at=retry_at, **facts)
    if status_code == 429:  # noqa: PLR2004 - an HTTP status
        if refuses_plan(error, description):
            return PlanLimitError(**facts)
        return RateLimitError(retry_at=retry_at, **facts)
    if status_code == 400 and says_not_found(error):  # noqa: PLR2004 - an HTTP status
        return NotFoundError(**facts)
    if status_code >= 500:  # noqa: PLR2004 - an HTTP status
        return ServerError(**facts)
    return _BY_STATUS.get(status_code, APIStatusError)(**facts)


def is_ambiguous(status_code: int) -> bool:
    """Tell whether an error status leaves open if the request was carried out.

    5xx and gateway answers do. So do a redirect (never followed) and 408: they come from something
    in between, which cannot speak for the server behind it.
    """
    return status_code >= 500 or status_code < 400 or status_code == 408  # noqa: PLR2004


def refuses_plan(error: str | None, description: str | None) -> bool:
    """Tell a 429 that refuses the subscription plan from one that refuses the rate."""
    text = f"{error or ''} {description or ''}".replace("_", " ")
    return bool(_PLAN_WORDS.search(text)) and not _RATE_WORDS.search(text)


def says_not_found(error: str | None) -> bool:
    """Tell whether an error code means "not found": the API spells it `Not found`, `not_found`.

    Get and cancel of a smart trade answer it with status 400.

    """
    return (error or "").casefold().replace("_", " ").strip() == "not found"


def _parse_body(body: str) -> tuple[str | None, str | None, dict[str, tuple[str, ...]]]:
    try:
        data: object = json.loads(body)
    except (ValueError, RecursionError):  # plain text and HTML are documented for 429, 502 and 504
        return None, None, {}
    if not isinstance(data, dict):
        return None, None, {}
    fields = cast("dict[str, object]", data)
    return (
        _text(fields.get("error")),
        _text(fields.get("error_description")),
        _attributes(fields.get("error_attributes")),
    )


def _plain_text(body: str) -> str:
    """Return the beginning of a body that is written for people; HTML and JSON are not."""
    text = " ".join(body.split())
    if text.startswith("<"):
        return ""
    try:
        json.loads(text)
    except ValueError:
        return text[:200]
    except RecursionError:
        pass  # JSON all the same
    return ""


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _attributes(value: object) -> dict[str, tuple[str, ...]]:
    """Read field name to messages; documented as a string, an object in every example."""
    if not value:
        return {}
    if not isinstance(value, dict):
        return {"": (str(value),)}
    return {
        name: tuple(str(message) for message in cast("list[object]", messages))
        if isinstance(messages, list)
        else (str(messages),)
        for name, messages in cast("dict[str, object]", value).items()
    }
