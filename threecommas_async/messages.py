"""Requests and answers: httpx's own, without the work that is known to be needless."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Answer", "receive", "Request", "answer_of", "target_of"]


class Request(httpx.Request):
    """A request whose URL is parsed only if someone asks for it.

    Whoever handles it, a transport, an event hook, a mock, sees a complete httpx request. But
    parsing and escaping a URL takes httpx as long as parsing the answer takes us, and ours are
    escaped when a call is prepared.

    Args:
        method: the HTTP method, in capitals.
        origin: scheme, host and port of the API.
        target: path and query, escaped, as they stand in the request line.
        headers: all of them; httpx adds none.
        body: the body; empty for none.
        extensions: see httpx.
    """

    def __init__(  # noqa: PLR0913 - the parts of a request, by name
        self,
        method: str,
        *,
        origin: httpx.URL,
        target: str,
        headers: httpx.Headers,
        body: bytes,
        extensions: Mapping[str, Any],
    ) -> None:
        stream = httpx.ByteStream(body)
        super().__init__(method, origin, headers=headers, stream=stream, extensions=extensions)
        del self.url  # so that the one below counts
        self.read()
        self._origin = origin
        self.target = target

    @cached_property
    def url(self) -> httpx.URL:  # type: ignore[override] # a plain attribute there
        """The URL, parsed."""
        return self._origin.copy_with(raw_path=self.target.encode())


def target_of(request: httpx.Request) -> str:
    """Return path and query of a request as they stand in the request line."""
    if isinstance(request, Request):
        return request.target
    return request.url.raw_path.decode("ascii")


class _PlainResponse(httpx.Response):
    """An answer whose body came whole and as it is; httpx would look for what to undo."""

    def __init__(self, status_code: int, headers: httpx.Headers, body: bytes) -> None:
        stream = httpx.ByteStream(body)
        super().__init__(status_code, headers=headers, stream=stream)
        self._body = body

    @property
    def content(self) -> bytes:
        """The body."""
        return self._body

    def read(self) -> bytes:
        """Return the body."""
        return self._body

    async def aread(self) -> bytes:
        """Return the body."""
        return self._body


def answer_of(
    status_code: int, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> httpx.Response:
    """Return a complete answer of what came over the wire."""
    parsed = httpx.Headers(headers)
    if "content-encoding" not in parsed:
        return _PlainResponse(status_code, parsed, body)
    response = httpx.Response(status_code, headers=parsed, stream=httpx.ByteStream(body))
    response.read()
    return response


class Answer:
    def __init__(self, status_code, headers, body):
        self.status_code, self.headers, self.body = status_code, headers, body
    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

async def receive(response, *, max_bytes):
    body = await response.aread()
    return Answer(response.status_code, response.headers, body)
