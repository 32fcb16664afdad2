"""Event hooks and transports of the user's, between us and real connections."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.http.wire import Connection, Received, WireServer, answer
from tests.support import KEY, SECRET, trade_json
from threecommas_async import (
    AsyncClient,
    CloseState,
    OutcomeUnknownError,
    PlanLimitError,
    RateLimitError,
    RequestNotSentError,
    ResponseDecodeError,
    RetryPolicy,
    SlidingWindowLimiter,
)
from threecommas_async.rate_limit import NoLimit

pytestmark = pytest.mark.own_transport

OPEN = json.dumps(trade_json(7, "waiting_targets")).encode()
CLOSING = json.dumps(trade_json(7, "panic_sell_pending")).encode()
HEAD_201 = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"
HEAD_429 = b"HTTP/1.1 429 X\r\nContent-Length: 100\r\n\r\n"


async def read_body(response: httpx.Response) -> None:
    """Read the body, as hooks that log answers do."""
    await response.aread()


@asynccontextmanager
async def hooked_client(base_url: str, **settings: object) -> AsyncGenerator[AsyncClient]:
    """A client over an httpx client whose response hook reads the body."""
    async with (
        httpx.AsyncClient(event_hooks={"response": [read_body]}, trust_env=False) as http,
        AsyncClient(
            KEY,
            secret=SECRET,
            base_url=base_url,
            http_client=http,
            retry=RetryPolicy(attempts=2, backoff=0.01),
            **settings,  # type: ignore[arg-type] # settings of the client
        ) as client,
    ):
        yield client


async def test_close_whose_body_breaks_off_in_a_hook_is_not_sent_again() -> None:
    async def handler(request: Received, connection: Connection) -> bytes | None:
        if request.method == "GET":
            return answer(200, OPEN)  # lags behind
        connection.send(HEAD_201)
        await connection.writer.drain()
        connection.close()
        return None

    async with WireServer(handler) as server, hooked_client(server.base_url) as client:
        report = await client.smart_trades.close_many([7])
        assert report.counts == {CloseState.UNKNOWN: 1}
        assert isinstance(report[7].error, ResponseDecodeError)
        assert [request.method for request in server.received].count("POST") == 1


@pytest.mark.parametrize("drips", [False, True])
async def test_429_whose_body_does_not_come_blocks_although_a_hook_reads_it(
    drips: bool,  # noqa: FBT001
) -> None:
    async def handler(_: Received, connection: Connection) -> None:
        connection.send(HEAD_429)
        await connection.writer.drain()
        while drips and not connection.writer.is_closing():
            connection.send(b" ")
            await asyncio.sleep(0.05)
        connection.close()

    async with WireServer(handler) as server, hooked_client(server.base_url) as client:
        with pytest.raises(RateLimitError):
            await client.smart_trades.get(7, deadline=4)
        with pytest.raises(RequestNotSentError):
            await client.smart_trades.get(7, deadline=0.1)
        assert len(server.received) == 1


async def test_hook_that_sends_the_request_elsewhere_does_not_make_a_close_not_sent() -> None:
    async def handler(_: Received, __: Connection) -> bytes:
        return answer(201, CLOSING)

    async def mirror(response: httpx.Response) -> None:
        async with httpx.AsyncClient(trust_env=False) as elsewhere:
            request = response.request
            request.url = httpx.URL("http://127.0.0.1:9/")
            await elsewhere.send(request)

    async with (
        WireServer(handler) as server,
        httpx.AsyncClient(event_hooks={"response": [mirror]}, trust_env=False) as http,
        AsyncClient(KEY, secret=SECRET, base_url=server.base_url, http_client=http) as client,
    ):
        report = await client.smart_trades.close_many([7], deadline=1)
        assert CloseState.NOT_SENT not in report.counts
        assert len([request for request in server.received if request.method == "POST"]) == 1


class Retrying(httpx.AsyncBaseTransport):
    """A transport that sends a request again when its connection breaks."""

    def __init__(self) -> None:
        self._inner = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._inner.handle_async_request(request)
        except httpx.RemoteProtocolError:
            raise httpx.ConnectError("refused", request=request) from None

    async def aclose(self) -> None:
        await self._inner.aclose()


async def test_transport_that_says_not_connected_after_it_sent_is_not_believed() -> None:
    async def handler(request: Received, connection: Connection) -> bytes | None:
        if request.method == "GET":
            return answer(200, CLOSING)
        connection.close()  # carried out, but not answered
        return None

    async with (
        WireServer(handler) as server,
        AsyncClient(KEY, secret=SECRET, base_url=server.base_url, transport=Retrying()) as client,
    ):
        report = await client.smart_trades.close_many([7])
        assert report.counts == {CloseState.ACCEPTED: 1}
        assert [request.method for request in server.received] == ["POST", "GET"]
        with pytest.raises(OutcomeUnknownError):
            await client.smart_trades.cancel(7)


async def test_plan_refusal_does_not_end_the_pause_of_a_rate_refusal() -> None:
    rate_head_sent = asyncio.Event()
    plan = answer(429, b'{"error": "plan", "error_description": "Upgrade your plan"}')

    async def handler(request: Received, connection: Connection) -> bytes | None:
        if "/1" in request.target.removeprefix("/public/api/v2"):
            connection.send(HEAD_429)
            rate_head_sent.set()
            await asyncio.sleep(0.8)
            connection.send(b" " * 100)
            return None
        await rate_head_sent.wait()
        return plan

    async with (
        WireServer(handler) as server,
        AsyncClient(KEY, secret=SECRET, base_url=server.base_url, rate_limiter=NoLimit()) as client,
    ):
        rate = asyncio.create_task(client.smart_trades.get(1, deadline=3))
        with pytest.raises(PlanLimitError):
            await client.smart_trades.get(2)
        with pytest.raises(RequestNotSentError):
            await client.smart_trades.get(3, deadline=0.3)
        with pytest.raises(RateLimitError):
            await rate
        assert len(server.received) == 2


async def test_clients_that_share_a_limiter_share_the_pause_of_a_refusal() -> None:
    head_sent = asyncio.Event()

    async def handler(_: Received, connection: Connection) -> None:
        connection.send(HEAD_429)
        head_sent.set()
        await asyncio.sleep(0.8)
        connection.send(b" " * 100)

    limiter = SlidingWindowLimiter()
    async with (
        WireServer(handler) as server,
        AsyncClient(KEY, secret=SECRET, base_url=server.base_url, rate_limiter=limiter) as first,
        AsyncClient(KEY, secret=SECRET, base_url=server.base_url, rate_limiter=limiter) as second,
    ):
        refused = asyncio.create_task(first.smart_trades.get(1, deadline=3))
        await head_sent.wait()
        await asyncio.sleep(0.05)
        with pytest.raises(RequestNotSentError):
            await second.smart_trades.get(2, deadline=0.3)
        with pytest.raises(RateLimitError):
            await refused
        assert len(server.received) == 1


async def test_nothing_leaves_after_a_refusal_that_came_while_it_was_signed() -> None:
    """RSA signatures are made in two threads, so the last of many waits for the others."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=4096)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )

    async def handler(request: Received, _: Connection) -> bytes:
        if request.method == "GET":
            return answer(200, OPEN)
        return answer(429, b'{"error": "rate", "error_description": "Rate limit exceeded."}')

    async with (
        WireServer(handler) as server,
        AsyncClient(
            KEY,
            private_key=pem,
            base_url=server.base_url,
            rate_limiter=NoLimit(),
        ) as client,
    ):
        await asyncio.gather(*(client.smart_trades.get(7) for _ in range(20)))  # 20 connections
        await asyncio.gather(
            *(client.smart_trades.close_by_market(i, deadline=2) for i in range(100, 120)),
            return_exceptions=True,
        )
        posts = [request for request in server.received if request.method == "POST"]
        assert len(posts) < 20


async def test_answer_of_a_proxy_to_connect_is_not_the_answer_to_a_close() -> None:
    async def tunnel_and_cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(tunnel_and_cut, "127.0.0.1", 0) as proxy:
        port: int = proxy.sockets[0].getsockname()[1]
        async with (
            httpx.AsyncClient(proxy=f"http://127.0.0.1:{port}", trust_env=False) as http,
            AsyncClient(
                KEY,
                secret=SECRET,
                base_url="https://api.example.com/public/api",
                http_client=http,
                retry=RetryPolicy(attempts=1),
            ) as client,
        ):
            report = await client.smart_trades.close_many([7])
    assert report.counts == {CloseState.NOT_SENT: 1}
