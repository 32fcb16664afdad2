"""Building a request: everything but the signature, which comes last."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..errors import RequestNotSentError
    from .answer import Answer
    from .call import Call

__all__ = ["KeptBack", "Request", "RequestFactory", "target_of"]

# A request of these says how long its body is, also when it has none.
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
# What `answer.receive` can undo.
_ACCEPT_ENCODING: Final = "gzip, deflate"


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
        self.origin = origin
        self.target = target
        self.head: Answer | None = None
        """Status and headers of the answer, as soon as they are known."""
        self.on_head: Callable[[Answer], None] | None = None
        """Called with `head` before the body is read."""
        self.check: Callable[[], RequestNotSentError | None] | None = None
        """Return why the request may not leave any more; asked when its connection is made."""

    @cached_property
    def url(self) -> httpx.URL:  # type: ignore[override] # a plain attribute there
        """The URL, parsed."""
        return self.origin.copy_with(raw_path=self.target.encode())

    def answered(self, head: Answer) -> None:
        """Take down status and headers of the answer, which come before its body."""
        self.head = head
        if self.on_head is not None:
            self.on_head(head)

    def asking_before_it_leaves(self) -> dict[str, Any]:
        """Return its extensions with one by which httpcore asks `check` before the request leaves.

        https://www.encode.io/httpcore/extensions/#trace
        """
        return {**self.extensions, "trace": self._on_event}

    async def _on_event(self, event: str, info: object) -> None:  # noqa: ARG002 - httpcore's own
        if event.endswith("send_request_headers.started"):
            self.leave()

    def leave(self) -> None:
        """Keep the request back if things have changed while its connection was made.

        Raises:
            KeptBack: it may not leave any more.
        """
        if self.check and (why := self.check()):
            raise KeptBack(why)


def target_of(request: httpx.Request) -> str:
    """Return path and query of a request as they stand in the request line."""
    if isinstance(request, Request):
        return request.target
    return request.url.raw_path.decode("ascii")


class KeptBack(Exception):  # noqa: N818 - reads better where it is caught
    """The request did not leave, for it may not any more.

    Attributes:
        why: the error that says so to whoever called.
    """

    def __init__(self, why: RequestNotSentError) -> None:
        super().__init__("the request was kept back")
        self.why = why


class RequestFactory:
    """Makes the requests of one client.

    Args:
        http: the httpx client that sends them; its headers go with each.
        base_url: the address of the API.
        headers: ours, which go before those of the httpx client.
        timeout: the timeouts of each phase, where a call has none of its own.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        base_url: httpx.URL,
        headers: Mapping[str, str],
        timeout: httpx.Timeout,
    ) -> None:
        self._http = http
        self._origin = base_url.copy_with(raw_path=b"/")
        self._headers = headers
        self._timeout = timeout
        self._theirs: list[tuple[bytes, bytes]] | None = None
        self._prepared: dict[str, httpx.Headers] = {}

    def make(self, call: Call[Any]) -> Request:
        """Return the request of a call, to be signed."""
        # No call waits for a connection inside httpx: the gate is in front of it.
        timeout = self._timeout if call.timeout is None else httpx.Timeout(call.timeout)
        request = Request(
            call.endpoint.method,
            origin=self._origin,
            target=call.target,
            headers=self._headers_of_all(call.endpoint.method),
            body=call.body or b"",
            extensions={"timeout": {**timeout.as_dict(), "pool": None}},
        )
        if call.extra_headers:
            request.headers.update(call.extra_headers)
        if call.body is not None:
            request.headers["Content-Type"] = "application/json"
            request.headers["Content-Length"] = str(len(call.body))
        return request

    def _headers_of_all(self, method: str) -> httpx.Headers:
        """Return what all requests carry: the headers of the httpx client, and ours on top."""
        theirs = self._http.headers.raw
        if theirs != self._theirs:  # the client is the user's, who may set some at any time
            self._theirs, self._prepared = theirs, {}
        if method not in self._prepared:
            headers = httpx.Headers({"Host": self._origin.netloc.decode("ascii")})
            headers.update(self._http.headers)
            headers.update(self._headers)
            headers["Accept-Encoding"] = _ACCEPT_ENCODING
            if method in _WITH_BODY:
                headers["Content-Length"] = "0"
            self._prepared[method] = headers
        return self._prepared[method]
