"""The connections of one client, without a pool: each call under way has one for itself.

httpcore's pool scans its queue on every request and release, so its cost grows with the waiting
calls. Here the `Gate` limits the calls under way before a request is built: no connection is
shared, and no call fails for lack of one (`PoolTimeout`). Idle connections are kept and reused if
they provably hold nothing of an earlier answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from ..config import is_loopback
from .answer import MAX_RESPONSE_BYTES, Answer, answer_of, collect, decompress, receive
from .backend import AsyncioBackend
from .request import Request, target_of
from .slots import DEFAULT_PORTS, KEEPALIVE, IdleConnections, OwnConnections

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
    """An httpx transport that sends each request over an idle connection, or a new one.

    The one used last is taken first, so that the others expire in quiet times. A connection is
    dropped if anything went wrong on it, if it holds more than the answer to its request, or if it
    belongs to another process or event loop.
    """

    def __init__(
        self,
        url: httpx.URL,
        tls: ssl.SSLContext | None,
        max_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        port = url.port or DEFAULT_PORTS[url.scheme]
        self._origin = httpcore.Origin(url.raw_scheme, url.raw_host, port)
        self._tls = tls
        self._max_bytes = max_bytes
        self._backend = AsyncioBackend(encrypted=url.scheme == "https")
        self._idle = IdleConnections[httpcore.AsyncHTTPConnection]()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send, and read the whole answer, see `httpx.AsyncBaseTransport`."""
        return answer_of(*await self.exchange(request, self._max_bytes))

    async def exchange(self, request: httpx.Request, max_bytes: int) -> tuple[Answer, bytes]:
        """Send, and read the whole answer, before the connection is reused."""
        idle = self._idle.here()
        connection = await self._take_idle(idle)
        extensions = request.extensions
        if connection is None:
            connection = self._new_connection()
            if isinstance(request, Request):  # over an idle connection it is sent at once
                extensions = request.traced_extensions()
        try:
            answer = await connection.handle_async_request(
                _to_httpcore(request, self._origin, extensions)
            )
            head = Answer(answer.status, httpx.Headers(answer.headers), b"")
            if isinstance(request, Request):
                request.receive_head(head)
            body = await collect(answer.aiter_stream(), head, max_bytes)
            await answer.aclose()
        except BaseException as error:
            await connection.aclose()
            httpx_error = _HTTPX_ERRORS.get(type(error))
            if httpx_error is None:
                raise
            raise httpx_error(str(error)) from error
        if self._idle.keeps(idle) and _is_reusable(connection):
            idle.append(connection)
        else:
            await connection.aclose()
        return head, body

    async def _take_idle(
        self, idle: list[httpcore.AsyncHTTPConnection]
    ) -> httpcore.AsyncHTTPConnection | None:
        """Remove and return an idle connection that still works; None if there is none."""
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
        """Close the idle connections; `exchange` closes one in use when it is done."""
        for connection in self._idle.drop():
            await connection.aclose()


def _is_reusable(connection: httpcore.AsyncHTTPConnection) -> bool:
    """Return whether no bytes are left that could be taken for the answer to the next request.

    h11 buffers bytes that follow the answer, and httpcore has no public access to them. A
    connection whose buffer cannot be inspected is not reused.
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
    """The httpx client that an `AsyncClient` makes for itself.

    `sign_and_send` bypasses `httpx.AsyncClient.send`. What that would add (redirects, cookies,
    event hooks, credentials from the environment) is refused by this library or cannot be set on
    such a client, and costs more CPU time than signing and parsing together.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, headers: dict[str, str]) -> None:
        super().__init__(transport=transport, headers=headers)
        self._own_transport = transport

    @property
    def has_own_connections(self) -> bool:
        """Whether nobody's code but ours is between this client and the network."""
        return isinstance(self._own_transport, OwnConnections)

    async def sign_and_send(
        self, request: Request, auth: SigningAuth | None, max_bytes: int
    ) -> Answer:
        """Sign, send, and return the whole answer.

        Raises:
            BodyError: there is an answer, but its body cannot be read.
            httpx.TransportError: there is no answer.
        """
        if auth is not None:
            await auth.sign(request)
            request.check_before_sending()  # RSA signatures take time, and wait for each other
        if isinstance(self._own_transport, OwnConnections):
            return await decompress(
                *await self._own_transport.exchange(request, max_bytes), max_bytes
            )
        request.extensions = request.traced_extensions()
        response = await self._own_transport.handle_async_request(request)
        return await receive(response, max_bytes=max_bytes, on_head=request.receive_head)


def environment_proxy(url: httpx.URL) -> str | None:
    """Return the proxy for a URL from the environment, as httpx does for its own clients."""
    if is_loopback(url.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(url.host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
