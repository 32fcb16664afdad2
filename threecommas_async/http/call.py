"""A call as data: what is sent (`Call`), and what comes back (`Response`).

`prepare` checks and encodes the arguments once, for all attempts. Each is checked before anything
leaves, so that a mistake of the caller's is an `InvalidRequestError`.
"""

from __future__ import annotations

import json as jsonlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Generic, TypeAlias, TypeVar, cast
from urllib.parse import quote, urlencode

from attrs import field, frozen

from ..converter import check_returns, to_json
from ..endpoint import Endpoint, Priority, Safety
from ..errors import InvalidRequestError
from ..options import CallOptions, check_options, check_time
from ..text import one_line

__all__ = ["Call", "QueryValue", "Response", "prepare"]

T = TypeVar("T")

_PARAMETER = re.compile(r"\{(\w+)\}")

QueryValue: TypeAlias = str | int | bool | Decimal | datetime | None


@frozen
class Response(Generic[T]):
    """A complete answer.

    Attributes:
        data: the parsed body.
        status_code: HTTP status, some 2xx.
        headers: the answer's headers, names case-insensitive.
        content: the decompressed body, including fields that the class of `data` does not have.
    """

    data: T
    status_code: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)

    @property
    def request_id(self) -> str | None:
        """The answer's `X-Request-Id`, for the 3Commas support."""
        return self.headers.get("x-request-id")


@frozen
class Call(Generic[T]):
    """A checked and encoded call, from which the request of each attempt is built."""

    endpoint: Endpoint[T]
    path: str
    target: str = field(repr=False)
    """Path with encoded query, as in the request line."""
    body: bytes | None = field(repr=False)
    timeout: float | None
    """Seconds for each phase (connect, write, read); None for the client's own."""
    extra_headers: Mapping[str, str] = field(repr=False)
    priority: Priority
    entity_id: int | None
    """Id that the answer must have; None for any."""
    slot_within: float | None
    """Maximum seconds to wait for a slot; None without a limit."""

    @property
    def unsafe(self) -> bool:
        """Whether the call changes something."""
        return self.endpoint.safety is Safety.UNSAFE


def prepare(  # noqa: PLR0913 - the parts of a request
    prefix: str,
    endpoint: Endpoint[T],
    *,
    path: Mapping[str, str | int],
    query: Mapping[str, QueryValue],
    json: object,
    options: CallOptions,
    priority: Priority | None = None,
    entity_id: int | None = None,
    slot_within: float | None = None,
) -> Call[T]:
    """Check and encode the parts of a request, once for all its attempts.

    Raises:
        InvalidRequestError: an argument that cannot be sent.
    """
    if options:
        check_options(options)
    _check_endpoint(endpoint)
    _check_names(path, "path")
    _check_names(query, "query")
    if query and json is not None:
        # The signed payload of a request with both is not documented.
        # https://developers.3commas.io/quick-start/signing-a-request-using-hmac-sha256
        msg = "a call has either a query or a JSON body, not both; nothing was sent"
        raise InvalidRequestError(msg)
    full_path = prefix + _PARAMETER.sub(lambda found: _path_part(path, found[1]), endpoint.path)
    encoded = query and urlencode(
        [(name, _query_text(name, value)) for name, value in query.items() if value is not None],
        quote_via=quote,
    )
    return Call(
        endpoint=endpoint,
        path=full_path,
        target=f"{full_path}?{encoded}" if encoded else full_path,
        body=None if json is None else _json_bytes(json),
        timeout=options.get("timeout"),
        extra_headers=options.get("extra_headers", {}),
        priority=endpoint.priority if priority is None else priority,
        entity_id=entity_id,
        slot_within=slot_within,
    )


def _check_endpoint(endpoint: object) -> None:
    if not isinstance(endpoint, Endpoint):
        msg = f"endpoint must be an Endpoint, not {type(endpoint).__name__}; nothing was sent"
        raise InvalidRequestError(msg)
    check_returns(cast("Endpoint[object]", endpoint).returns)


def _check_names(values: object, where: str) -> None:
    if not isinstance(values, Mapping) or not all(
        map(_is_text, cast("Mapping[object, object]", values))
    ):
        msg = f"{where} must be a mapping of names to values; nothing was sent"
        raise InvalidRequestError(msg)


def _is_text(value: object) -> bool:
    """Return whether a value is a str without lone surrogates, which cannot be encoded."""
    if not isinstance(value, str):
        return False
    return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)


def _path_part(values: Mapping[str, object], name: str) -> str:
    value = values.get(name)
    if type(value) is int:
        return str(value)
    # An empty part or dots would address another path.
    if not _is_text(value) or value in {"", ".", ".."}:
        msg = f"{name}: {one_line(repr(value), 100)} cannot be part of a path; nothing was sent"
        raise InvalidRequestError(msg)
    return quote(str(value), safe="")


def _json_bytes(value: object) -> bytes:
    """Encode a JSON body as compact text. Exactly these bytes are signed and sent."""
    try:
        text = jsonlib.dumps(
            to_json(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return text.encode()
    except Exception as error:  # noqa: BLE001 - an object of the caller's may raise anything
        # The message does not quote the body: it may hold an exchange's keys.
        msg = f"the body cannot be written as JSON ({type(error).__name__}); nothing was sent"
    raise InvalidRequestError(msg)


def _query_text(name: str, value: object) -> str:
    if isinstance(value, datetime):
        check_time(value, name)
        moment = value.astimezone(UTC)
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
    if isinstance(value, bool):
        return "true" if value else "false"
    if type(value) is int or (isinstance(value, Decimal) and value.is_finite()):
        return str(value)
    if not _is_text(value):
        msg = f"{name} is no value of a query: {type(value).__name__}; nothing was sent"
        raise InvalidRequestError(msg)
    return str(value)
