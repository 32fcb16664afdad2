"""TCP and TLS for httpcore, straight on asyncio.

httpcore's own backend goes through anyio, whose cancel scopes around each read and write cost more
than half of what the HTTP parsing itself does. httpcore lets a network backend be handed in; this
is one. HTTP stays with httpcore and h11.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import httpcore

from .network import Arrivals, SocketProtocol, attach, connecting, open_socket, wake

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Iterable

__all__ = ["AsyncioBackend"]

# Beyond so many bytes that nobody has read, the peer is made to wait.
_HIGH_WATER = 256 * 1024
# So many bytes are read at a time, and parsed before anything else has its turn.
_PIECE = 16 * 1024

_connecting: Final = partial(
    connecting, failed=httpcore.ConnectError, timed_out=httpcore.ConnectTimeout
)


class AsyncioBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections on the running event loop.

    Args:
        encrypted: whether TLS is agreed on before anything is read from a connection.
    """

    def __init__(self, *, encrypted: bool = False) -> None:
        self._encrypted = encrypted

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - never given by us
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002 - never given by us
    ) -> httpcore.AsyncNetworkStream:
        """Connect, trying the host's addresses side by side."""
        async with _connecting(timeout):
            connected = await open_socket(host, port)
            return _Unencrypted(connected) if self._encrypted else await _open(connected)


class _Bytes(SocketProtocol):
    """What has come in over a connection and was not read yet."""

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
        self.over = True
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

    async def readable(self) -> None:
        """Wait until there is something to read or the connection is over."""
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    async def writable(self) -> None:
        """Wait until what was written has found its way out, as far as it must."""
        while self._writing_paused and not self.over:
            self._writer = asyncio.get_running_loop().create_future()
            try:
                await self._writer
            finally:
                self._writer = None

    def take(self, max_bytes: int) -> bytes:
        """Take what has come in, up to so many bytes."""
        data = bytes(self.buffer[:max_bytes])
        del self.buffer[:max_bytes]
        if self._reading_paused and len(self.buffer) <= _HIGH_WATER:
            self._reading_paused = False
            self.transport.resume_reading()
        return data


async def _open(
    connected: socket.socket,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
) -> _Stream:
    protocol = _Bytes()
    await attach(protocol, connected, tls, server_hostname)
    return _Stream(protocol)


class _Unencrypted(httpcore.AsyncNetworkStream):
    """A connection of which nothing is read or written before TLS has been agreed on.

    What somebody in between writes in the clear thus reaches TLS, which refuses it, and can never
    be taken for an answer.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Go on encrypted."""
        async with _connecting(timeout):
            return await _open(self._socket, ssl_context, server_hostname)


class _Stream(httpcore.AsyncNetworkStream):
    """One connection."""

    def __init__(self, protocol: _Bytes) -> None:
        self._protocol = protocol
        self._between_requests = True
        self._arrivals = Arrivals(protocol.transport)

    async def read(
        self,
        max_bytes: int,
        timeout: float | None = None,
    ) -> bytes:
        """Return what has come in; empty when the connection is over."""
        protocol = self._protocol
        self._between_requests = True  # what is written after this belongs to the next request
        if protocol.buffer:
            await asyncio.sleep(0)  # a flood does not keep the event loop to itself
        elif not protocol.over:
            try:
                async with asyncio.timeout(timeout):
                    await protocol.readable()
            except TimeoutError as error:
                raise httpcore.ReadTimeout(str(error)) from error
        if not protocol.buffer and protocol.error is not None:
            raise httpcore.ReadError(str(protocol.error)) from protocol.error
        return protocol.take(min(max_bytes, _PIECE))

    async def write(
        self,
        buffer: bytes,
        timeout: float | None = None,
    ) -> None:
        """Send bytes.

        Raises:
            ConnectError: they begin a request, but the connection is over or holds bytes that
                would be taken for the answer. Nothing was sent.
            WriteError: the connection broke in the middle of a request.
            WriteTimeout: the other side does not take them.
        """
        protocol = self._protocol
        if not buffer:
            return
        # httpcore looks some turns of the event loop earlier; this is the last moment.
        if self._between_requests and (protocol.over or protocol.buffer):
            text = "the connection cannot be used any more; nothing was sent over it"
            raise httpcore.ConnectError(text) from protocol.error
        self._between_requests = False
        if protocol.over:
            text = "the connection was closed by the other side"
            raise httpcore.WriteError(text) from protocol.error
        protocol.transport.write(buffer)
        try:
            async with asyncio.timeout(timeout):
                await protocol.writable()
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error

    async def aclose(self) -> None:
        """Close at once: nothing that is not answered yet is of use any more."""
        self._protocol.transport.abort()

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's interface
        """Tell about the connection; `is_readable` on an idle one means that it is no good."""
        if info == "is_readable":
            protocol = self._protocol
            # The last one tells of what has arrived but was not read by the event loop yet.
            return protocol.over or bool(protocol.buffer) or bool(self._arrivals)
        names = {"client_addr": "sockname", "server_addr": "peername"}
        return self._protocol.transport.get_extra_info(names.get(info, info))
