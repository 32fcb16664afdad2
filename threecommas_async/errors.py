"""Every error this library raises, and what each one says about the trade.

The question a trading bot asks of an error is not "what went wrong" but "may it have happened?".
Each error answers it with `may_have_taken_effect`. The line is drawn where Azure's core library
draws it: what failed before the request left is certain not to have happened; what failed after
it left may have happened, whatever the failure looks like.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from .error_body import LONGEST_BODY, one_line, read_error_body, shortened

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

_LONGEST_MESSAGE = 2_000
# Words of a 403 that concern the key and not the entity.
_ABOUT_THE_KEY = ("permission", "scope", "api key", "api_key")


class Fate(Enum):
    """What an attempt at a request came to."""

    NOT_SENT = "not sent"
    """Provably never left: no connection, no slot."""
    REJECTED = "rejected"
    """The server answered that it does not do it."""
    UNKNOWN = "unknown"
    """It may have left, and what came back does not say whether it was carried out."""
    DONE = "done"
    """The server answered that it was carried out."""


def fate_of_status(status_code: int, *, from_api: bool = True) -> Fate:
    """Return what a complete answer means for its request.

    5xx leaves open whether it was carried out. So do a redirect (never followed), 408, and a 404
    without the API's own error: they come from something in between, which cannot speak for the
    server behind it.

    Args:
        status_code: HTTP status of the answer.
        from_api: an error is the API's own, see `APIStatusError`.
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
        may_have_taken_effect: True when the server may have carried the request out all the same:
            read the trade before you repeat anything.
        fate: what the attempt came to.
        stops_everything: True when the error concerns key, address or client, so that no other call
            can pass.
    """

    may_have_taken_effect: bool = False
    fate: Fate = Fate.NOT_SENT
    stops_everything: bool = False

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

    stops_everything = True


class InvalidRequestError(RequestNotSentError, ValueError):
    """An argument that cannot be sent: refused before anything left this process."""


class OutcomeUnknownError(ThreeCommasError):
    """The request may have left, and no answer that could be understood came back.

    For a call that changes something: it may have happened. Read the trade before you repeat the
    call. For a call that only reads, nothing has changed and it may simply be repeated.
    """

    may_have_taken_effect = True
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
        body: the body as it came, as text: whole, for the ids that it holds.
    """

    may_have_taken_effect = True
    fate = Fate.DONE

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
            f"but the body cannot be understood ({one_line(reason)}){advice}"
        )
        self.may_have_taken_effect = may_have_taken_effect
        self.reason = reason
        self.status_code = status_code
        self.method = method
        self.path = path
        self.body = body
        self.request_id = request_id and one_line(request_id)


class CloseFailedError(ThreeCommasError):
    """The server took the close on, and the trade or deal ended in failure: look at the exchange.

    Attributes:
        trade_id: the id of the trade or deal.
        reason: the server's text (`status.error`) on one line, up to 500 characters; None where
            it gave none.
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

    Each text of the server is on one line, of at most 500 characters: an ellipsis says that it was
    cut.

    Attributes:
        status_code: HTTP status of the answer.
        error: the server's code or short text (`error`); None without a JSON body.
        error_description: the server's longer text, often missing, localised.
        error_attributes: field name to messages, empty when the server named none; at most 20
            fields with 5 messages each.
        request_id: the answer's `X-Request-Id` header, for the 3Commas support.
        from_api: the body is the API's own JSON error. Where it is not, a gateway or proxy in
            between may have answered instead.
        method: verb of the request.
        path: path of the request, without host and query.
        body: the first 10,000 characters of the answer's body, with the key and signature blotted
            out.
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
        self.error = error
        self.error_description = error_description
        self.error_attributes = dict(error_attributes or {})
        self.request_id = request_id and one_line(request_id)
        self.from_api = bool(error)
        self.fate = fate_of_status(status_code, from_api=self.from_api)
        self.may_have_taken_effect = may_have_taken_effect
        super().__init__(self._message(body))
        self.body = shortened(body, LONGEST_BODY)

    def _message(self, body: str) -> str:
        said = self.error or read_error_body(body).plain or "without an error text"
        if self.error_description:
            said += f": {self.error_description}"
        for name, messages in self.error_attributes.items():
            said += f"; {name}: {', '.join(messages)}"
        text = f"{self.method} {self.path}: {self.status_code} {shortened(said, _LONGEST_MESSAGE)}"
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

    No code tells which. One that speaks of the permission stops everything.

    Attributes:
        may_be_the_key: False when the text speaks of the account: another account may do.
    """

    def __init__(self, **facts: Any) -> None:  # noqa: ANN401 - see `APIStatusError`
        super().__init__(**facts)
        text = f"{self.error or ''} {self.error_description or ''}".casefold()
        self.may_be_the_key = "account" not in text
        self.stops_everything = any(word in text for word in _ABOUT_THE_KEY)

    def _advice(self) -> str:
        return "Check the key's permissions and the state of the entity."


class NotFoundError(APIStatusError):
    """404, or 400 with the text "Not found": no such entity for this key.

    A 404 that is not the API's own (`from_api` is False) is a page of something in between. It does
    not say that there is no such entity, nor that the request was not carried out.
    """

    def _advice(self) -> str:
        if self.from_api:
            return ""
        between = "This is a page of something in between, not an answer of the API."
        return f"{between} {super()._advice()}".strip()


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

    stops_everything = True

    def _advice(self) -> str:
        return super()._advice() + " Going on would make the ban longer."


class PlanLimitError(APIStatusError):
    """429 or 403 that refuses the subscription plan: waiting does not help."""

    stops_everything = True

    def _advice(self) -> str:
        return "The subscription plan does not allow this call; waiting does not help."


class ServerError(APIStatusError):
    """5xx: failure on the server. A call that changes something may have happened."""
