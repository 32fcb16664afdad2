"""The request of one attempt: everything but the signature, which comes last.

`RequestFactory` builds it from a `Call`. `Request` also carries two callbacks for what happens
inside the HTTP library: a check right before it is sent, and the head of its answer.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import httpx

from .answer import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..errors import RequestNotSentError
    from .call import Call

__all__ = ["Request", "RequestFactory", "SendRefused", "target_of"]

# Methods that send Content-Length even without a body (RFC 9110, section 8.6).
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
# The encodings that `answer.decompress` knows.
_ACCEPT_ENCODING: Final = "gzip, deflate"


class Request(httpx.Request):
    """An httpx request whose URL is parsed only on access.

    Transports, event hooks and mocks see a complete httpx request. But httpx needs as long to parse
    and escape a URL as we need to parse the answer, and ours is escaped when the call is prepared.

    Args:
        method: the HTTP method, in capitals.
        origin: scheme, host and port of the API.
        target: path and query, escaped, as in the request line.
        headers: all headers; httpx adds none.
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
        del self.url  # the instance attribute would hide the property below
        self.read()
        self.origin = origin
        self.target = target
        self.head: Answer | None = None
        """Status and headers of the answer, as soon as they are known."""
        self.on_head: Callable[[Answer], None] | None = None
        """Called with `head` before the body is read."""
        self.check: Callable[[], RequestNotSentError | None] | None = None
        """Returns the error with which to end the attempt instead of sending the request, or None.
        Called when it has been signed, and again when a new connection has been made."""
        self.sent: bool = False
        """Whether the connection has begun to send it; through httpcore, only known with
        `traced_extensions`."""

    @cached_property
    def url(self) -> httpx.URL:  # type: ignore[override] # a plain attribute there
        """The URL, parsed."""
        return self.origin.copy_with(raw_path=self.target.encode())

    def receive_head(self, head: Answer) -> None:
        """Store status and headers of the answer; called before its body is read."""
        if self.head is not None:
            return  # both the connection and whoever reads its answer report it
        self.head = head
        if self.on_head is not None:
            self.on_head(head)

    def traced_extensions(self) -> dict[str, Any]:
        """Return the extensions by which httpcore reports how far the request has come.

        Event hooks and transports of the user's may do anything between httpcore and us.

        https://www.encode.io/httpcore/extensions/#trace
        """
        return {**self.extensions, "trace": self._on_event}

    async def _on_event(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith("send_request_headers.started"):
            if info["request"].method != b"CONNECT":  # httpcore asks a proxy for a tunnel with it
                self.check_before_sending()
                self.sent = True
        elif event.endswith("receive_response_headers.complete") and self.sent:
            answered = info["return_value"]  # over HTTP/1.1 with version and reason
            status_code, headers = answered if len(answered) == 2 else (answered[1], answered[3])  # noqa: PLR2004
            self.receive_head(Answer(status_code, httpx.Headers(headers), b""))

    def check_before_sending(self) -> None:
        """Ask `check` for the last time.

        Raises:
            SendRefused: the request must not be sent any more.
        """
        error = self.check and self.check()
        if error:
            raise SendRefused(error)


def target_of(request: httpx.Request) -> str:
    """Return path and query of a request as in the request line."""
    if isinstance(request, Request):
        return request.target
    return request.url.raw_path.decode("ascii")


class SendRefused(Exception):  # noqa: N818 - reads better where it is caught
    """`Request.check` refused to send the request.

    Attributes:
        error: the error for the caller.
    """

    def __init__(self, error: RequestNotSentError) -> None:
        super().__init__("the request was not sent")
        self.error = error


class RequestFactory:
    """Builds the requests of one client.

    Args:
        http: the httpx client that sends them; its headers go with each.
        base_url: the address of the API.
        headers: our headers, which override those of the httpx client.
        timeout: the timeouts of each phase, for calls without their own.
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
        self._client_headers: list[tuple[bytes, bytes]] | None = None
        self._by_method: dict[str, httpx.Headers] = {}

    def make(self, call: Call[Any]) -> Request:
        """Build the unsigned request of a call."""
        # No limit for the pool: calls wait at the gate, not for a connection inside httpx.
        timeout = self._timeout if call.timeout is None else httpx.Timeout(call.timeout)
        request = Request(
            call.endpoint.method,
            origin=self._origin,
            target=call.target,
            headers=self._common_headers(call.endpoint.method),
            body=call.body or b"",
            extensions={"timeout": {**timeout.as_dict(), "pool": None}},
        )
        if call.extra_headers:
            request.headers.update(call.extra_headers)
        if call.body is not None:
            request.headers["Content-Type"] = "application/json"
            request.headers["Content-Length"] = str(len(call.body))
        return request

    def _common_headers(self, method: str) -> httpx.Headers:
        """Return the headers of all requests: those of the httpx client, overridden by ours."""
        client_headers = self._http.headers.raw
        if client_headers != self._client_headers:  # the user may change a borrowed client's
            self._client_headers, self._by_method = client_headers, {}
        if method not in self._by_method:
            headers = httpx.Headers({"Host": self._origin.netloc.decode("ascii")})
            headers.update(self._http.headers)
            headers.update(self._headers)
            headers["Accept-Encoding"] = _ACCEPT_ENCODING
            if method in _WITH_BODY:
                headers["Content-Length"] = "0"
            self._by_method[method] = headers
        return self._by_method[method]
