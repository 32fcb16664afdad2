"""A network backend for httpcore that uses asyncio directly: TCP and TLS, no HTTP.

httpcore's own backend uses anyio, whose cancel scopes around each read and write cost more than
half as much CPU time as parsing HTTP. This one also refuses to start a request on a connection that
holds unread bytes: they would be taken for the answer.
https://www.encode.io/httpcore/network-backends/
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import httpcore

from .network import Arrivals, SocketProtocol, attach, connect_errors, open_socket, wake

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Iterable

__all__ = ["AsyncioBackend"]

# Pause reading above this many unread bytes.
_HIGH_WATER = 256 * 1024
# Maximum bytes of one read: httpcore parses them before other tasks run.
_READ_SIZE = 16 * 1024

_connect_errors: Final = partial(
    connect_errors, failed=httpcore.ConnectError, timed_out=httpcore.ConnectTimeout
)


class AsyncioBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections on the running event loop.

    Args:
        encrypted: whether the connections use TLS. If so, nothing is read from one before the
            handshake.
    """

    def __init__(self, *, encrypted: bool = False) -> None:
        self._encrypted = encrypted

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - part of the interface
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002 - part of the interface
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first of the host's addresses that answers (happy eyeballs)."""
        async with _connect_errors(timeout):
            connected = await open_socket(host, port)
            return _AwaitingTLS(connected) if self._encrypted else await _open_stream(connected)


class _Protocol(SocketProtocol):
    """Buffers the bytes that arrive on a connection until they are read."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = bytearray()
        self._reading_paused = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._writing_paused = False

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if len(self.buffer) > _HIGH_WATER and not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()
        wake(self._reader)

    def eof_received(self) -> None:
        self.ended = True
        wake(self._reader)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        wake(self._reader)
        wake(self._writer)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        wake(self._writer)

    async def wait_readable(self) -> None:
        """Wait until there is something to read or the connection has ended."""
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    async def drain(self) -> None:
        """Wait until the transport's write buffer is below its limit."""
        while self._writing_paused and not self.ended:
            self._writer = asyncio.get_running_loop().create_future()
            try:
                await self._writer
            finally:
                self._writer = None

    def take(self, max_bytes: int) -> bytes:
        """Remove and return at most this many bytes of the buffer."""
        data = bytes(self.buffer[:max_bytes])
        del self.buffer[:max_bytes]
        if self._reading_paused and len(self.buffer) <= _HIGH_WATER:
            self._reading_paused = False
            self.transport.resume_reading()
        return data


async def _open_stream(
    connected: socket.socket,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
) -> _Stream:
    protocol = _Protocol()
    await attach(protocol, connected, tls, server_hostname)
    return _Stream(protocol)


class _AwaitingTLS(httpcore.AsyncNetworkStream):
    """A connection before its TLS handshake; nothing is read or written until then.

    So plain text that an attacker injects breaks the handshake, and is never taken for an answer.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Return the encrypted stream, after the handshake."""
        async with _connect_errors(timeout):
            return await _open_stream(self._socket, ssl_context, server_hostname)


class _Stream(httpcore.AsyncNetworkStream):
    """One connection."""

    def __init__(self, protocol: _Protocol) -> None:
        self._protocol = protocol
        self._between_requests = True
        self._arrivals = Arrivals(protocol.transport)

    async def read(
        self,
        max_bytes: int,
        timeout: float | None = None,
    ) -> bytes:
        """Return the bytes that have arrived; empty when the connection has ended."""
        protocol = self._protocol
        self._between_requests = True  # the next write starts a new request
        if protocol.buffer:
            await asyncio.sleep(0)  # let other tasks run while a flood of data arrives
        elif not protocol.ended:
            try:
                async with asyncio.timeout(timeout):
                    await protocol.wait_readable()
            except TimeoutError as error:
                raise httpcore.ReadTimeout(str(error)) from error
        if not protocol.buffer and protocol.error is not None:
            raise httpcore.ReadError(str(protocol.error)) from protocol.error
        return protocol.take(min(max_bytes, _READ_SIZE))

    async def write(
        self,
        buffer: bytes,
        timeout: float | None = None,
    ) -> None:
        """Send bytes.

        Raises:
            ConnectError: the bytes start a request, but the connection has ended or holds bytes
                that would be taken for its answer. Nothing was sent.
            WriteError: the connection broke in the middle of a request.
            WriteTimeout: the peer does not read them.
        """
        protocol = self._protocol
        if not buffer:
            return
        # httpcore checks some iterations of the event loop earlier; this is the last moment.
        if self._between_requests and (protocol.ended or protocol.buffer):
            text = "the connection cannot be used any more; nothing was sent over it"
            raise httpcore.ConnectError(text) from protocol.error
        self._between_requests = False
        if protocol.ended:
            text = "the connection was closed by the other side"
            raise httpcore.WriteError(text) from protocol.error
        protocol.transport.write(buffer)
        try:
            async with asyncio.timeout(timeout):
                await protocol.drain()
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error

    async def aclose(self) -> None:
        """Close at once, without flushing: an unanswered request cannot be answered any more."""
        self._protocol.transport.abort()

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's interface
        """Return a property of the connection; an idle one that `is_readable` is unusable."""
        if info == "is_readable":
            protocol = self._protocol
            # The last one sees bytes that the event loop has not read yet.
            return protocol.ended or bool(protocol.buffer) or bool(self._arrivals)
        names = {"client_addr": "sockname", "server_addr": "peername"}
        return self._protocol.transport.get_extra_info(names.get(info, info))
