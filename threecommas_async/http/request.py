"""Building the request of a call: everything but the signature, which comes last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpx

from .messages import Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .call import Call

__all__ = ["RequestFactory"]

# A request of these says how long its body is, also when it has none.
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
# What `messages.receive` can undo.
_ACCEPT_ENCODING: Final = "gzip, deflate"


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
