"""The connections: one HTTP connection for each call under way.

A connection pool searches its queue on every request and release, so its cost grows with the
calls that wait in it; a connection that has one caller at a time costs a fraction. Who may be
under way is decided before a request is even built (`Gate`), so none here ever has a second caller,
and no call can fail for want of a connection (`PoolTimeout`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from ..config import is_loopback
from .answer import MAX_RESPONSE_BYTES, Answer, answer_of, collect, decompressed, receive
from .backend import AsyncioBackend
from .request import Request, target_of
from .slots import KEEPALIVE, IdleConnections, OwnConnections

if TYPE_CHECKING:
    import ssl
    from collections.abc import MutableMapping

    from .auth import SigningAuth

__all__ = ["ConnectionSlots", "HTTPClient", "environment_proxy"]

# httpx has an exception of the same name for each of httpcore's.
_HTTPX_ERRORS: dict[type[BaseException], type[httpx.TransportError]] = {
    getattr(httpcore, name): getattr(httpx, name)
    for name in (
        "ConnectError",
        "ConnectTimeout",
        "LocalProtocolError",
        "NetworkError",
        "PoolTimeout",
        "ProtocolError",
        "ProxyError",
        "ReadError",
        "ReadTimeout",
        "RemoteProtocolError",
        "TimeoutException",
        "UnsupportedProtocol",
        "WriteError",
        "WriteTimeout",
    )
}


class ConnectionSlots(OwnConnections):
    """Routes each request to an idle connection, or a new one.

    The last one used goes first, so that in quiet times the others expire. A connection over which
    anything went wrong is dropped, and so is one that holds more than the answer that was asked
    for, or was made by another process or for another event loop.
    """

    def __init__(
        self,
        url: httpx.URL,
        tls: ssl.SSLContext | None,
        max_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        self._origin = httpcore.Origin(url.raw_scheme, url.raw_host, url.port or _PORTS[url.scheme])
        self._tls = tls
        self._max_bytes = max_bytes
        self._backend = AsyncioBackend(encrypted=url.scheme == "https")
        self._idle = IdleConnections[httpcore.AsyncHTTPConnection]()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send, and read the whole answer, for whoever uses this as an httpx transport."""
        return answer_of(*await self.exchange(request, self._max_bytes))

    async def exchange(self, request: httpx.Request, max_bytes: int) -> tuple[Answer, bytes]:
        """Send, and read the whole answer, before the connection is another's."""
        idle = self._idle.here()
        connection = await self._take(idle)
        extensions = request.extensions
        is_new = connection is None
        if connection is None:
            connection = self._new_connection()
        try:
            if isinstance(request, Request):
                if is_new:
                    extensions = request.asking_before_it_leaves()
                else:  # it leaves at once, but to sign it may have taken a while
                    request.leave()
            answer = await connection.handle_async_request(
                _to_httpcore(request, self._origin, extensions)
            )
            head = Answer(answer.status, httpx.Headers(answer.headers), b"")
            if isinstance(request, Request):
                request.answered(head)
            body = await collect(answer.aiter_stream(), head, max_bytes)
            await answer.aclose()
        except BaseException as error:
            await connection.aclose()
            httpx_error = _HTTPX_ERRORS.get(type(error))
            if httpx_error is None:
                raise
            raise httpx_error(str(error)) from error
        if self._idle.keeps(idle) and _is_spent(connection):
            idle.append(connection)
        else:  # or it was closed meanwhile, and keeps none
            await connection.aclose()
        return head, body

    async def _take(
        self, idle: list[httpcore.AsyncHTTPConnection]
    ) -> httpcore.AsyncHTTPConnection | None:
        """Take an idle connection that still works."""
        while idle:
            connection = idle.pop()
            if connection.is_available() and not connection.has_expired():
                return connection
            await connection.aclose()
        return None

    def _new_connection(self) -> httpcore.AsyncHTTPConnection:
        return httpcore.AsyncHTTPConnection(
            self._origin,
            ssl_context=self._tls,
            keepalive_expiry=KEEPALIVE,
            network_backend=self._backend,
        )

    async def aclose(self) -> None:
        """Close the idle connections; one in use is closed by its caller's failure."""
        for connection in self._idle.drop():
            await connection.aclose()


_PORTS = {"http": 80, "https": 443}


def _is_spent(connection: httpcore.AsyncHTTPConnection) -> bool:
    """Return whether nothing is left of the last answer that the next request could get.

    h11 holds what came with the answer but is not part of it, and httpcore shows that nowhere in
    public. Where it cannot be looked at, the connection is not used again.
    """
    http = getattr(connection, "_connection", None)
    parser = getattr(http, "_h11_state", None)
    return getattr(parser, "trailing_data", None) == (b"", False)


def _to_httpcore(
    request: httpx.Request, origin: httpcore.Origin, extensions: MutableMapping[str, Any]
) -> httpcore.Request:
    url = httpcore.URL(
        scheme=origin.scheme, host=origin.host, port=origin.port, target=target_of(request)
    )
    return httpcore.Request(
        request.method,
        url,
        headers=request.headers.raw,
        content=request.content,
        extensions=extensions,
    )


class HTTPClient(httpx.AsyncClient):
    """The httpx client of one `AsyncClient`, which sends to one address and keeps no cookies.

    `answer` goes the short way: what it leaves out (redirects, cookies, event hooks, environment
    credentials) is either refused by this library or cannot be set on a client of its own, and
    costs more than signing and parsing together.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, headers: dict[str, str]) -> None:
        super().__init__(transport=transport, headers=headers)
        self._straight = transport

    async def answer(self, request: Request, auth: SigningAuth | None, max_bytes: int) -> Answer:
        """Sign, send, and return the whole answer.

        Raises:
            BodyError: it has come, but its body cannot be had.
            httpx.TransportError: none has come.
        """
        if auth is not None:
            await auth.sign(request)
        if isinstance(self._straight, OwnConnections):
            return await decompressed(*await self._straight.exchange(request, max_bytes), max_bytes)
        request.extensions = request.asking_before_it_leaves()
        response = await self._straight.handle_async_request(request)
        return await receive(response, max_bytes=max_bytes, request=request)


def environment_proxy(url: httpx.URL) -> str | None:
    """Return the proxy that the environment names for a URL, as httpx does for its own clients."""
    if is_loopback(url.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(url.host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
