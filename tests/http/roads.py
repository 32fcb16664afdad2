"""The two kinds of connections, and servers for the tests that hold both to the same."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from tests.http.wire import Connection, Handler, Received, WireServer
from tests.support import KEY, SECRET
from threecommas_async import (
    AsyncClient,
    RetryPolicy,
)
from threecommas_async.endpoint import Endpoint, Safety
from threecommas_async.http.fast import FastTransport
from threecommas_async.http.transport import ConnectionSlots

ONCE = RetryPolicy(attempts=1, rate_limit_waits=0)
CLOSE = Endpoint("POST", "/ver1/close", dict[str, object], Safety.UNSAFE)
NOTE = Endpoint("POST", "/ver1/note", dict[str, object], Safety.UNSAFE)
OK = b"HTTP/1.1 200 OK\r\n"
TEN = b"Content-Length: 10\r\n\r\n" + b'{"id": 77}'
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

over_both = pytest.mark.parametrize("fast", [False, True], ids=["default", "fast"])


def transport_of(url: str, *, fast: bool, tls: ssl.SSLContext | None = None) -> httpx.AsyncClient:
    """An httpx client over one of the two kinds of connections."""
    own = FastTransport(tls=tls) if fast else ConnectionSlots(httpx.URL(url), tls)
    return httpx.AsyncClient(transport=own, base_url=url, timeout=5)


def client_of(url: str, *, fast: bool, timeout: float = 5.0, **settings: object) -> AsyncClient:
    return AsyncClient(
        KEY,
        secret=SECRET,
        base_url=url,
        retry=ONCE,
        timeout=timeout,
        transport=FastTransport() if fast else None,
        rate_limiter=None,
        **settings,  # type: ignore[arg-type] # settings of the client
    )


def saying(raw: bytes, *, close: bool = False) -> Handler:
    async def handler(_: Received, connection: Connection) -> None:
        connection.send(raw)
        if close:
            await connection.writer.drain()
            connection.close()

    return handler


@asynccontextmanager
async def serving(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    host: str = "127.0.0.1",
) -> AsyncGenerator[str]:
    """Serve each connection as the function says; give the address."""
    writers = list[asyncio.StreamWriter]()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(OSError):
            await serve(reader, writer)

    server = await asyncio.start_server(accept, host, 0, limit=1024)
    shown = f"[{host}]" if ":" in host else host
    try:
        yield f"http://{shown}:{server.sockets[0].getsockname()[1]}/public/api"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)  # lets the aborted connections' tasks end


async def no_connection_is_left(server: WireServer) -> None:
    async with asyncio.timeout(5):
        while server.open_connections:
            await asyncio.sleep(0.01)
