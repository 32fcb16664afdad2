"""A strict HTTP server on a loopback socket that sends exactly what a test says."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from attrs import define, field, frozen


@frozen
class Received:
    """One request as it came over the wire."""

    at: float
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@define
class Connection:
    """What a handler can do instead of answering."""

    writer: asyncio.StreamWriter

    def reset(self) -> None:
        """Send a TCP reset."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        """Close the connection properly."""
        self.writer.close()

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self.writer.write(data)


Handler = Callable[[Received, Connection], Awaitable[bytes | None]]


def answer(status: int, body: bytes = b"", content_type: str = "application/json") -> bytes:
    lines = (
        f"HTTP/1.1 {status} X",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@define
class WireServer:
    """Serves a handler that returns raw bytes, or None to send nothing more."""

    handler: Handler
    received: list[Received] = field(factory=list[Received])
    connections: int = 0
    open_connections: int = 0
    peak_connections: int = 0
    tls: ssl.SSLContext | None = None
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(factory=set[asyncio.StreamWriter])

    @property
    def base_url(self) -> str:
        assert self._server is not None
        scheme = "https" if self.tls else "http"
        return f"{scheme}://localhost:{self._server.sockets[0].getsockname()[1]}/public/api"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)  # lets the aborted connections' tasks end

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        self.peak_connections = max(self.peak_connections, self.open_connections)
        self._writers.add(writer)
        try:
            while not writer.is_closing():
                request = await self._read(reader)
                self.received.append(request)
                reply = await self.handler(request, Connection(writer))
                if reply is not None:
                    writer.write(reply)
                    await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self.open_connections -= 1
            self._writers.discard(writer)
            writer.close()

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> Received:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Received(asyncio.get_running_loop().time(), method, target, headers, body)
