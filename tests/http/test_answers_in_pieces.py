"""Answers whose head arrives long before the body, and slow connections."""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.http.wire import Connection, Received, WireServer, answer
from tests.support import KEY, SECRET, trade_json
from threecommas_async import (
    AsyncClient,
    AuthenticationError,
    CloseState,
    RateLimitError,
    RequestNotSentError,
    ResponseDecodeError,
    RetryPolicy,
)

CLOSING = json.dumps(trade_json(7, "panic_sell_pending")).encode()
OPEN = json.dumps(trade_json(7, "waiting_targets")).encode()
BEGUN = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n{"
REFUSED_HEAD = b"HTTP/1.1 429 X\r\nContent-Length: 100\r\n\r\n"


def client_of(base_url: str, **settings: object) -> AsyncClient:
    return AsyncClient(
        KEY,
        secret=SECRET,
        base_url=base_url,
        retry=RetryPolicy(attempts=2, backoff=0.01),
        **settings,  # type: ignore[arg-type] # settings of the client
    )


async def cut(connection: Connection) -> None:
    connection.send(BEGUN)
    await connection.writer.drain()
    connection.close()


async def drip(connection: Connection) -> None:
    connection.send(BEGUN)
    while not connection.writer.is_closing():
        connection.send(b" ")
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("fault", [cut, drip])
async def test_close_with_a_truncated_201_is_not_repeated_though_reads_show_it_open(
    fault: object,
) -> None:
    async def handler(request: Received, connection: Connection) -> bytes | None:
        if request.method == "GET":
            return answer(200, OPEN)
        await fault(connection)  # type: ignore[operator]
        return None

    async with (
        WireServer(handler) as server,
        client_of(server.base_url, attempt_timeout=0.3) as client,
    ):
        report = await client.smart_trades.close_many([7])
        assert [outcome.state for outcome in report] == [CloseState.UNKNOWN]
        assert isinstance(report[7].error, ResponseDecodeError)
        assert [request.method for request in server.received].count("POST") == 1


async def test_truncated_read_is_repeated() -> None:
    async def handler(request: Received, connection: Connection) -> bytes | None:
        if len(server.received) == 1:
            await cut(connection)
            return None
        return answer(200, OPEN)

    async with WireServer(handler) as server, client_of(server.base_url) as client:
        assert (await client.smart_trades.get(7)).id == 7


async def test_nothing_is_sent_while_the_body_of_a_429_arrives() -> None:
    head_sent = asyncio.Event()

    async def handler(_: Received, connection: Connection) -> None:
        connection.send(REFUSED_HEAD)
        head_sent.set()
        await asyncio.sleep(0.3)
        connection.send(b" " * 100)

    async with (
        WireServer(handler) as server,
        client_of(server.base_url, max_connections=2) as client,
    ):
        first = asyncio.create_task(client.smart_trades.close_by_market(7, deadline=3))
        await head_sent.wait()
        await asyncio.sleep(0.05)
        with pytest.raises(RequestNotSentError):
            await client.smart_trades.close_by_market(8, deadline=1)
        with pytest.raises(RateLimitError):
            await first
        assert len(server.received) == 1


async def test_body_of_a_429_is_awaited_for_at_most_one_second() -> None:
    async def handler(_: Received, connection: Connection) -> None:
        connection.send(REFUSED_HEAD)
        while not connection.writer.is_closing():
            connection.send(b" ")
            await asyncio.sleep(0.1)

    async with (
        WireServer(handler) as server,
        client_of(server.base_url) as client,
    ):
        began = asyncio.get_running_loop().time()
        with pytest.raises(RateLimitError):
            await client.smart_trades.get(7, deadline=5)
        assert asyncio.get_running_loop().time() < began + 2
        assert len(server.received) == 1


class Relay:
    """Forwards connections to a server; all but the first only once `go_on` is set."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.go_on = asyncio.Event()
        self.connections = 0

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[str]:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        port: int = server.sockets[0].getsockname()[1]
        try:
            yield f"https://localhost:{port}/public/api"
        finally:
            server.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.connections > 1:
            await self.go_on.wait()
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        pumps = [asyncio.create_task(pump(reader, back)), asyncio.create_task(pump(there, writer))]
        await asyncio.wait(pumps)

    async def until_connected(self, number: int) -> None:
        while self.connections < number:
            await asyncio.sleep(0.01)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(4096):
            writer.write(data)
    writer.transport.abort()


@asynccontextmanager
async def slow_to_connect(
    tls: ssl.SSLContext, reply: bytes
) -> AsyncGenerator[tuple[WireServer, Relay, str]]:
    """A TLS server that answers with `reply`, behind a `Relay`."""

    async def handler(_: Received, __: Connection) -> bytes:
        return reply

    async with WireServer(handler, tls=tls) as server:
        relay = Relay(int(server.base_url.split(":")[2].split("/")[0]))
        async with relay.serving() as base_url:
            yield server, relay, base_url


async def test_429_also_stops_requests_that_are_still_connecting(tls: ssl.SSLContext) -> None:
    refused = answer(429, b'{"error": "rate", "error_description": "Rate limit exceeded."}')
    async with (
        slow_to_connect(tls, refused) as (server, relay, base_url),
        client_of(base_url, rate_limiter=None) as client,
    ):
        closes = [
            asyncio.create_task(client.smart_trades.close_by_market(i, deadline=5)) for i in (7, 8)
        ]
        await relay.until_connected(2)
        await asyncio.wait(closes, return_when=asyncio.FIRST_COMPLETED)
        relay.go_on.set()
        await asyncio.wait(closes)
        assert {type(close.exception()) for close in closes} <= {
            RateLimitError,
            RequestNotSentError,
        }
        assert len(server.received) == 1


async def test_stopped_batch_also_stops_requests_that_are_still_connecting(
    tls: ssl.SSLContext,
) -> None:
    refused = answer(401, b'{"error": "api_key_invalid_or_expired"}')
    async with (
        slow_to_connect(tls, refused) as (server, relay, base_url),
        client_of(base_url) as client,
    ):
        batch = client.smart_trades.close_many([7, 8, 9])
        closing = asyncio.ensure_future(batch)
        await relay.until_connected(3)
        while batch.report.counts[CloseState.UNKNOWN] == 3:  # all of them are on their way
            await asyncio.sleep(0.01)
        relay.go_on.set()
        report = await closing
        assert report.counts == {CloseState.NOT_SENT: 3}
        assert {type(outcome.error) for outcome in report} == {AuthenticationError}
        assert len(server.received) == 1


async def test_attempt_timeout_below_a_second_also_limits_the_body_of_a_429() -> None:
    async def handler(_: Received, connection: Connection) -> None:
        connection.send(REFUSED_HEAD)

    async with (
        WireServer(handler) as server,
        client_of(server.base_url, attempt_timeout=0.2) as client,
    ):
        began = asyncio.get_running_loop().time()
        with pytest.raises(RateLimitError):
            await client.smart_trades.get(7, deadline=5)
        assert asyncio.get_running_loop().time() < began + 0.9
