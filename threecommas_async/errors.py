"""All errors of this library, and what each says about the trade.

What a trading bot needs to know is not "what went wrong?" but "may it have happened?". Each error
answers that with `may_have_taken_effect`. The line is the one that Azure's core library draws: a
failure before the request left means that nothing happened; after a failure later on it may have
happened, whatever the failure looks like.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from .text import MAX_BODY_LENGTH, one_line, read_error_body, shortened

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
    "Fate",
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
    "fate_of_status",
]

_MAX_REASON_LENGTH = 2_000
# Words in the text of a 403 that is about the key, not about the entity.
_KEY_WORDS = ("permission", "scope", "api key", "api_key")


class Fate(Enum):
    """What is known of an attempt at a request after it has ended."""

    NOT_SENT = "not sent"
    """Provably never left: no connection, no slot."""
    REJECTED = "rejected"
    """The server answered that it refuses the request."""
    UNKNOWN = "unknown"
    """It may have left, and no answer says whether it was carried out."""
    DONE = "done"
    """The server answered that it was carried out."""


def fate_of_status(status_code: int, *, from_api: bool = True) -> Fate:
    """Return what the status of an answer says about its request.

    5xx leaves open whether it was carried out. So do a redirect (never followed), 408, and a 404
    without the API's own error: a proxy or gateway sends them without knowing what the server did.

    Args:
        status_code: HTTP status of the answer.
        from_api: whether an error status comes with the API's own error, see `APIStatusError`.
    """
    if 200 <= status_code < 300:  # noqa: PLR2004 - an HTTP status; any 2xx, the docs mix them
        return Fate.DONE
    if status_code == 404:  # noqa: PLR2004 - an HTTP status
        return Fate.REJECTED if from_api else Fate.UNKNOWN
    refused = 400 <= status_code < 500 and status_code != 408  # noqa: PLR2004 - an HTTP status
    return Fate.REJECTED if refused else Fate.UNKNOWN


class ThreeCommasError(Exception):
    """Base of every error of this library.

    Attributes:
        may_have_taken_effect: True when the server may have carried out the request: read the trade
            before you repeat anything.
        fate: what is known of the request.
        stops_everything: True when the error is about the key, the address or the client, so that
            every other call would fail as well.
    """

    may_have_taken_effect: bool = False
    fate: Fate = Fate.NOT_SENT
    stops_everything: bool = False

    def __reduce__(self) -> tuple[object, ...]:
        # BaseException would call `__init__` with `args` alone, but ours take keywords. An error
        # must survive pickling complete.
        return _restore, (type(self), self.args, self.__dict__.copy())


def _restore(
    cls: type[ThreeCommasError], args: tuple[object, ...], state: dict[str, object]
) -> ThreeCommasError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(ThreeCommasError, ValueError):
    """A setting that cannot work: a missing or duplicate credential, a bad URL, a bad limit."""


class RequestNotSentError(ThreeCommasError):
    """Nothing left this process: nothing has happened, and it is safe to call again.

    Raised when no connection could be made, or when no slot of the rate limit comes free before
    the deadline.

    Attributes:
        available_in: seconds from the error until a slot comes free, if a missing slot was the
            reason; else None.
    """

    def __init__(self, message: str, *, available_in: float | None = None) -> None:
        super().__init__(message)
        self.available_in = available_in


class ClientClosedError(RequestNotSentError):
    """The client was closed before the request left."""

    stops_everything = True


class InvalidRequestError(RequestNotSentError, ValueError):
    """An argument that cannot be sent; nothing left this process."""


class OutcomeUnknownError(ThreeCommasError):
    """The request may have left, and no answer that could be understood came back.

    For a call that changes something: it may have happened. Read the trade before you repeat the
    call. For a call that only reads, nothing has changed and it may simply be repeated.
    """

    may_have_taken_effect: bool = True
    fate = Fate.UNKNOWN

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
        body: the complete body as text, without the key and signature: it may hold new ids.
    """

    may_have_taken_effect: bool = True
    fate = Fate.DONE

    def __init__(  # noqa: PLR0913 - the facts of one answer
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
            f"but the body cannot be understood ({one_line(reason)}){advice}"
        )
        self.may_have_taken_effect = may_have_taken_effect
        self.reason = reason
        self.status_code = status_code
        self.method = method
        self.path = path
        self.body = body
        self.request_id: str | None = request_id and one_line(request_id)


class CloseFailedError(ThreeCommasError):
    """The server accepted the close, but the trade or deal ended in failure: check the exchange.

    Attributes:
        trade_id: the id of the trade or deal.
        reason: the server's text (`status.error`) on one line, up to 500 characters; None without
            one.
    """

    fate = Fate.DONE

    def __init__(self, trade_id: int, reason: str | None, *, noun: str = "trade") -> None:
        reason = reason and one_line(reason)
        super().__init__(
            f"{noun} {trade_id} ended in failure: {reason or 'the server gives no reason'}. "
            "What it held may still be on the exchange: look there."
        )
        self.trade_id = trade_id
        self.reason = reason


class APIStatusError(ThreeCommasError):
    """The server answered with an error status.

    Each text of the server is one line of at most 500 characters; a longer one ends in an ellipsis.

    Attributes:
        status_code: HTTP status of the answer.
        error: the server's code or short text (`error`); None without a JSON body.
        error_description: the server's longer text, often missing, localised.
        error_attributes: messages by field name, empty if the server named none; at most 20 fields
            with 5 messages each.
        request_id: the answer's `X-Request-Id` header, for the 3Commas support.
        from_api: whether the body is the API's own JSON error. If not, a gateway or proxy may have
            answered instead.
        method: verb of the request.
        path: path of the request, without host and query.
        body: the first 10,000 characters of the answer's body, with the key and signature redacted.
    """

    def __init__(  # noqa: PLR0913 - the facts of one answer
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
        self.error = error
        self.error_description = error_description
        self.error_attributes: dict[str, tuple[str, ...]] = dict(error_attributes or {})
        self.request_id: str | None = request_id and one_line(request_id)
        self.from_api: bool = bool(error)
        self.fate: Fate = fate_of_status(status_code, from_api=self.from_api)
        self.may_have_taken_effect = may_have_taken_effect
        super().__init__(self._message(body))
        self.body: str = shortened(body, MAX_BODY_LENGTH)

    def _message(self, body: str) -> str:
        reason = self.error or read_error_body(body).plain or "without an error text"
        if self.error_description:
            reason += f": {self.error_description}"
        for name, messages in self.error_attributes.items():
            reason += f"; {name}: {', '.join(messages)}"
        reason = shortened(reason, _MAX_REASON_LENGTH)
        text = f"{self.method} {self.path}: {self.status_code} {reason}"
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

    stops_everything = True

    def _advice(self) -> str:
        return "Check the key, its secret, and the addresses it is allowed from."


class PermissionDeniedError(APIStatusError):
    """403: the key lacks the permission, or the entity's present state forbids the action.

    Only the text says which. One that mentions the permission or the key stops everything.

    Attributes:
        may_be_the_key: False when the text mentions the account: calls for another may succeed.
    """

    def __init__(self, **facts: Any) -> None:  # noqa: ANN401 - see `APIStatusError`
        super().__init__(**facts)
        text = f"{self.error or ''} {self.error_description or ''}".casefold()
        self.may_be_the_key: bool = "account" not in text
        self.stops_everything: bool = any(word in text for word in _KEY_WORDS)

    def _advice(self) -> str:
        return "Check the key's permissions and the state of the entity."


class NotFoundError(APIStatusError):
    """404, or 400 with the text "Not found": no such entity for this key.

    A 404 that is not the API's own (`from_api` is False) comes from a gateway or proxy. It means
    neither that there is no such entity, nor that the request was not carried out.
    """

    def _advice(self) -> str:
        if self.from_api:
            return ""
        between = "This is a page of something in between, not an answer of the API."
        return f"{between} {super()._advice()}".strip()


class UnprocessableEntityError(APIStatusError):
    """422: refused by validation, by the entity's state, or by the exchange."""


class _BlockedError(APIStatusError):
    """An answer after which the server refuses all requests for a while.

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
    """429: too many requests. The request was refused, and all calls wait until `retry_at`."""


class IPBannedError(_BlockedError):
    """418: this address is banned for requests after a 429, for 2 minutes to 3 days."""

    stops_everything = True

    def _advice(self) -> str:
        return super()._advice() + " Going on would make the ban longer."


class PlanLimitError(APIStatusError):
    """429 or 403 that refuses the subscription plan: waiting does not help."""

    stops_everything = True

    def _advice(self) -> str:
        return "The subscription plan does not allow this call; waiting does not help."


class ServerError(APIStatusError):
    """5xx: the server failed. A call that changes something may have been carried out."""
