"""Fast connections: asyncio's transports below, llhttp above, nothing in between.

The rules are those of `transport`: one connection for each call under way, thrown away after
anything odd. A request counts as sent from its first byte on, and nothing is ever sent twice.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

import httpx
from attrs import frozen

from ..signing import Secret
from .answer import MAX_RESPONSE_BYTES, answer_of, collect
from .network import Arrivals, SocketProtocol, attach, connect_errors, open_socket, wake
from .reply import Reply
from .request import Request, target_of
from .slots import DEFAULT_PORTS, KEEPALIVE, IdleConnections, OwnConnections
from .transport import environment_proxy

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from .answer import Answer

__all__ = ["FastTransport"]

# Headers that say where a request ends.
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
# How many spaces a request line has.
_SPACES: Final = 2

_connect_errors: Final = partial(
    connect_errors, failed=httpx.ConnectError, timed_out=httpx.ConnectTimeout
)


@frozen
class _Route:
    """Where a transport connects to."""

    address: tuple[str, str, int]
    """Scheme, host and port."""
    tls: ssl.SSLContext | None


class _Connection(SocketProtocol):
    """One connection: sends a request, and takes in its answer."""

    def __init__(self) -> None:
        super().__init__()
        self.idle_since = 0.0
        self._reply: Reply | None = None
        """The answer to the request under way."""
        self._loop = asyncio.get_running_loop()
        self._arrivals: Arrivals
        self._writing_paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = 0.0
        self._patience: float | None = None
        """Seconds of silence that the wait goes on for."""

    # ---------------------------------------------------------------- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._arrivals = Arrivals(transport)

    def data_received(self, data: bytes) -> None:
        reply = self._reply
        if reply is None or reply.over:  # nobody has asked for it
            self.close()
            return
        self._heard_at = self._loop.time()
        if reply.feed(data):
            wake(self._waiter)

    def eof_received(self) -> None:
        self.ended = True
        if self._reply is not None:
            self._reply.end()
        wake(self._waiter)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        wake(self._waiter)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        wake(self._waiter)

    # ---------------------------------------------------------------- called by the transport

    def can_be_reused(self) -> bool:
        """Return whether it still works, holds nothing unasked, and is not too old."""
        expired = self._loop.time() > self.idle_since + KEEPALIVE
        return not (self.ended or expired or self._arrivals)

    def send(self, wire: Secret[bytes], reply: Reply) -> None:
        """Send a request, whose answer goes to `reply`.

        Raises:
            ConnectError: the connection is over. Nothing was sent.
        """
        if self.ended:
            text = "the other side has closed the connection; nothing was sent over it"
            raise httpx.ConnectError(text) from self.error
        self._reply = reply
        self.transport.write(wire.value)

    async def head(self, reply: Reply, write: float | None, read: float | None) -> Answer:
        """Wait for the head of the answer."""
        while reply.head is None:
            await self._change(reply, write, read)
        return reply.head

    async def body(
        self, reply: Reply, write: float | None, read: float | None
    ) -> AsyncIterator[bytes]:
        """Wait for the body, and yield it whole."""
        while not reply.done:
            await self._change(reply, write, read)
        yield bytes(reply.body)

    def finish(self, reply: Reply) -> bool:
        """Let go of an answer; return whether the connection may have another request."""
        self._reply = None
        self.idle_since = self._loop.time()
        sent_whole = not self.transport.get_write_buffer_size()
        return reply.reusable and sent_whole and not self.ended

    def close(self) -> None:
        """Close at once: nothing that is not answered yet is of use any more."""
        self.ended, self._reply = True, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.transport.abort()

    async def _change(self, reply: Reply, write: float | None, read: float | None) -> None:
        """Wait until more is known.

        Raises:
            httpx.TransportError: nothing more will be, or not in time.
        """
        if reply.refused is not None:
            raise httpx.RemoteProtocolError(f"this is no HTTP answer: {reply.refused}")
        if self.ended:
            raise self._broken(reply)
        self._waiter = self._loop.create_future()
        self._heard_at = self._loop.time()
        self._patience = write if self._writing_paused else read
        if self._patience is not None:
            self._look_at(self._heard_at + self._patience)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _look_at(self, moment: float) -> None:
        """Look then whether anything was heard. One timer serves many waits: most are short."""
        if self._timer is not None:
            if self._timer.when() <= moment:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(moment, self._look)

    def _look(self) -> None:
        """Fail the wait after too long a silence."""
        self._timer = None
        if self._waiter is None or self._waiter.done() or self._patience is None:
            return
        if self._loop.time() < self._heard_at + self._patience:
            self._look_at(self._heard_at + self._patience)
            return
        kind = httpx.WriteTimeout if self._writing_paused else httpx.ReadTimeout
        self._waiter.set_exception(kind(f"nothing was heard for {self._patience:g} s"))

    def _broken(self, reply: Reply) -> httpx.TransportError:
        """Return what a connection that is over means for a request that has left."""
        if self.error is not None:
            kind = httpx.WriteError if self._writing_paused else httpx.ReadError
            return kind(str(self.error))
        missing = "the end of its answer" if reply.head is not None else "an answer"
        return httpx.RemoteProtocolError(f"the server closed the connection without {missing}")


class FastTransport(OwnConnections):
    """Connections with little work for each request, for one address.

    Give one to `AsyncClient(transport=...)`; any `httpx.AsyncClient` can use it too. It uses no
    proxy, and refuses to go around one that the environment names.

    Args:
        tls: the TLS settings; default: those of httpx.
        max_bytes: how long a body may be, as it comes over the wire, for an httpx client. An
            `AsyncClient` has a limit of its own, `max_response_bytes`.

    Raises:
        httpx.TransportError: see httpx. The client turns it into an error of its own.
    """

    def __init__(
        self, *, tls: ssl.SSLContext | None = None, max_bytes: int = MAX_RESPONSE_BYTES
    ) -> None:
        self._tls = tls
        self._max_bytes = max_bytes
        self._idle = IdleConnections[_Connection]()
        self._route: _Route | None = None
        self._last_seen: httpx.URL | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send, and read the whole answer, for whoever uses this as an httpx transport."""
        await request.aread()
        if isinstance(request, Request):
            request.check_before_sending()  # event hooks of a borrowed client take time
        return answer_of(*await self.exchange(request, self._max_bytes))

    async def exchange(self, request: httpx.Request, max_bytes: int) -> tuple[Answer, bytes]:
        """Send, and read the whole answer, before the connection is another's."""
        route = self._route_of(request)
        given = request.extensions.get("timeout", {})
        write, read = given.get("write"), given.get("read")
        idle = self._idle.here()
        connection = _take(idle)
        is_new = connection is None
        reply = Reply(request.method, max_bytes)
        if connection is None:
            connection = await _connect(route, given.get("connect"))
        try:
            if is_new and isinstance(request, Request):
                request.check_before_sending()  # to connect takes time
            _send(request, connection, reply)
            head = await connection.head(reply, write, read)
            if isinstance(request, Request):
                request.receive_head(head)
            if reply.done and len(reply.body) <= max_bytes:  # as nearly always
                body = bytes(reply.body)
            else:
                body = await collect(connection.body(reply, write, read), head, max_bytes)
        except BaseException:
            connection.close()
            raise
        if connection.finish(reply) and self._idle.keeps(idle):
            idle.append(connection)
        else:
            connection.close()
        return head, body

    def _route_of(self, request: httpx.Request) -> _Route:
        """Return where a request goes: to the address of the first one, or nowhere."""
        url = request.origin if isinstance(request, Request) else request.url
        if self._route is None:
            self._route = self._new_route(url)
        elif url is not self._last_seen and _address(url) != self._route.address:
            raise httpx.UnsupportedProtocol("a FastTransport serves one address; make another")
        self._last_seen = url
        return self._route

    def _new_route(self, url: httpx.URL) -> _Route:
        if environment_proxy(url) is not None:  # which may hold a password, and is no local here
            text = (
                "FastTransport uses no proxy, and the environment names one (HTTPS_PROXY, "
                "HTTP_PROXY or ALL_PROXY): leave `transport` out, or unset the variable"
            )
            raise httpx.UnsupportedProtocol(text)
        if url.scheme not in DEFAULT_PORTS:
            raise httpx.UnsupportedProtocol("FastTransport speaks http:// and https://")
        tls = (self._tls or httpx.create_ssl_context()) if url.scheme == "https" else None
        if tls is not None:
            tls.set_alpn_protocols(["http/1.1"])
        return _Route(_address(url), tls)

    async def aclose(self) -> None:
        """Close the idle connections; one in use is closed by its caller's failure."""
        for connection in self._idle.drop():
            connection.close()


def _address(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.raw_host.decode("ascii"), url.port or DEFAULT_PORTS.get(url.scheme, 0)


def _take(idle: list[_Connection]) -> _Connection | None:
    """Take an idle connection that still works, the last one used first."""
    while idle:
        connection = idle.pop()
        if connection.can_be_reused():
            return connection
        connection.close()
    return None


async def _connect(route: _Route, timeout: float | None) -> _Connection:
    _, host, port = route.address
    async with _connect_errors(timeout):
        connection = _Connection()
        connected = await open_socket(host, port)
        await attach(connection, connected, route.tls, host if route.tls else None)
        return connection


def _send(request: httpx.Request, connection: _Connection, reply: Reply) -> None:
    """Send a request.

    Raises:
        LocalProtocolError: it cannot be sent as it is.
        ConnectError: the connection is over. Nothing was sent.
    """
    wire = _wire(request)
    if wire is None:
        text = "method, target and headers must be plain, and a body as long as Content-Length says"
        raise httpx.LocalProtocolError(text)
    connection.send(wire, reply)
    if isinstance(request, Request):
        request.sent = True


def _wire(request: httpx.Request) -> Secret[bytes] | None:
    """Return the bytes of a request; None if they would not be taken for what it says.

    Wrapped, since key and signature are in them: they are locals of frames that may raise.
    """
    headers, body = request.headers.raw, request.content
    line = f"{request.method} {target_of(request)} HTTP/1.1".encode()
    head = b"\r\n".join([line, *map(b": ".join, headers)])
    framing = [value for name, value in headers if name.lower() in _FRAMING]
    if framing != [b"%d" % len(body)] and (framing or body):
        return None
    if line.count(b" ") != _SPACES or b"\0" in head:
        return None
    if not head.count(b"\r") == head.count(b"\n") == len(headers):
        return None
    return Secret(b"%b\r\n\r\n%b" % (head, body))
