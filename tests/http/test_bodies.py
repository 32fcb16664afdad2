"""Limits on what a server can make a client hold and do: endless bodies, bombs, header floods."""

import asyncio
import gzip
import json
import zlib

import httpx
import pytest

from tests.http.wire import Connection, Received, WireServer
from tests.support import KEY, SECRET, trade_json
from threecommas_async import (
    AsyncClient,
    OutcomeUnknownError,
    RateLimitError,
    RequestNotSentError,
    ResponseDecodeError,
    RetryPolicy,
    ThreeCommasError,
)
from threecommas_async.speed import FastTransport

TRADE = json.dumps(trade_json(7, "panic_sell_pending")).encode()
ONCE = RetryPolicy(attempts=1, rate_limit_waits=0)
MB = 1024 * 1024
over_both = pytest.mark.parametrize("speed", [False, True], ids=["own", "speed"])


def client_of(base_url: str, *, speed: bool = False, timeout: float = 5.0) -> AsyncClient:
    return AsyncClient(
        KEY,
        secret=SECRET,
        base_url=base_url,
        retry=ONCE,
        timeout=timeout,
        transport=FastTransport() if speed else None,
    )


def encoded(status: int, encoding: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


@over_both
async def test_endless_body_is_given_up_at_the_limit_and_its_connection_closed(
    speed: bool,  # noqa: FBT001
) -> None:
    sent = 0

    async def handler(_: Received, connection: Connection) -> None:
        nonlocal sent
        connection.send(b"HTTP/1.1 201 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.send(b"100000\r\n" + b" " * MB + b"\r\n")
            sent += MB
            await connection.writer.drain()

    async with WireServer(handler) as server, client_of(server.base_url, speed=speed) as client:
        with pytest.raises(ResponseDecodeError, match=r"16777216 bytes.*max_response_bytes"):
            await client.smart_trades.cancel(7)
        async with asyncio.timeout(5):
            while server.open_connections:
                await asyncio.sleep(0.01)
    assert sent < 30 * MB  # the limit, and what the sockets hold


@pytest.mark.slow
@over_both
async def test_decompression_bomb_is_given_up_at_the_limit_without_blocking_the_loop(
    speed: bool,  # noqa: FBT001
) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join([*(packer.compress(b" " * MB) for _ in range(400)), packer.flush()])

    async def handler(_: Received, __: Connection) -> bytes:
        return encoded(201, "gzip", bomb)

    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with WireServer(handler) as server, client_of(server.base_url, speed=speed) as client:
        beside = asyncio.create_task(count_turns())
        with pytest.raises(ResponseDecodeError, match="16777216 bytes"):
            await client.smart_trades.cancel(7)
        beside.cancel()
    assert turns > 200  # one per piece of 64 KB


@over_both
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "GZIP", "raw"])
async def test_compressed_answer_is_decoded(encoding: str, speed: bool) -> None:  # noqa: FBT001
    big = json.dumps([trade_json(i, "waiting_targets") for i in range(1, 101)]).encode()

    async def handler(request: Received, _: Connection) -> bytes:
        assert request.headers["accept-encoding"] == "gzip, deflate"
        if encoding == "raw":  # deflate without zlib's header, as some servers send it
            packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            return encoded(200, "deflate", packer.compress(big) + packer.flush())
        packed = zlib.compress(big) if encoding == "deflate" else gzip.compress(big)
        return encoded(200, encoding, packed)

    async with WireServer(handler) as server, client_of(server.base_url, speed=speed) as client:
        page = await client.smart_trades.list_page(per_page=100)
    assert len(page) == 100


@pytest.mark.parametrize(
    ("encoding", "body", "why"),
    [
        ("br", b"\x0b", "'br' was not asked for"),
        ("gzip", b"no gzip", "incorrect header check"),
        ("gzip", gzip.compress(TRADE)[:-9], "ends too early"),
    ],
)
async def test_2xx_that_cannot_be_decompressed_raises_response_decode_error(
    encoding: str, body: bytes, why: str
) -> None:
    async def handler(_: Received, __: Connection) -> bytes:
        return encoded(201, encoding, body)

    async with WireServer(handler) as server, client_of(server.base_url) as client:
        with pytest.raises(ResponseDecodeError, match=why):
            await client.smart_trades.cancel(7)


@over_both
@pytest.mark.parametrize("fault", ["br", "gzip", "cut", "endless"])
async def test_429_blocks_whatever_its_body(fault: str, speed: bool) -> None:  # noqa: FBT001
    async def handler(_: Received, connection: Connection) -> bytes | None:
        if fault in {"br", "gzip"}:
            return encoded(429, fault, b"\x0b")
        length = 100 if fault == "cut" else 20 * MB
        connection.send(b"HTTP/1.1 429 X\r\nContent-Length: %d\r\n\r\n" % length)
        connection.send(b"x" * (5 if fault == "cut" else 20 * MB))
        connection.close()
        return None

    async with WireServer(handler) as server, client_of(server.base_url, speed=speed) as client:
        with pytest.raises(RateLimitError):
            await client.smart_trades.get(7)
        with pytest.raises(RequestNotSentError):
            await client.smart_trades.get(7, deadline=0.1)
        assert len(server.received) == 1


async def test_endless_headers_raise_outcome_unknown() -> None:
    async def handler(_: Received, connection: Connection) -> None:
        connection.send(b"HTTP/1.1 201 X\r\n")
        while True:
            connection.send(b"X-A: " + b"a" * 1000 + b"\r\n")
            await connection.writer.drain()

    async with WireServer(handler) as server, client_of(server.base_url) as client:
        with pytest.raises(OutcomeUnknownError, match="RemoteProtocolError"):
            await client.smart_trades.cancel(7)


@pytest.mark.own_transport
async def test_flood_of_interim_answers_does_not_block_the_loop_and_ends_when_cancelled() -> None:
    async def handler(_: Received, connection: Connection) -> None:
        while True:
            connection.send(b"HTTP/1.1 103 Early\r\n\r\n" * 10_000)
            await connection.writer.drain()

    async with WireServer(handler) as server, client_of(server.base_url) as client:
        call = asyncio.create_task(client.smart_trades.cancel(7))
        for _ in range(200):
            await asyncio.sleep(0)
        assert not call.done()
        call.cancel()
        await asyncio.wait({call})
        async with asyncio.timeout(5):
            while server.open_connections:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "host", [f"{'a' * 64}.invalid", f"{'.'.join(['a' * 60] * 6)}.invalid", "a\0b"]
)
@over_both
async def test_request_to_an_impossible_host_is_not_sent(
    host: str,
    speed: bool,  # noqa: FBT001
) -> None:
    try:
        client = client_of(f"https://{host}/public/api", speed=speed)
    except ThreeCommasError:
        return  # refused even earlier
    async with client:
        with pytest.raises(RequestNotSentError):
            await client.smart_trades.cancel(7)


async def test_body_limit_applies_to_a_mock_transport() -> None:
    async def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(201, content=b" " * (17 * MB))

    async with AsyncClient(
        KEY, secret=SECRET, retry=ONCE, transport=httpx.MockTransport(handler)
    ) as client:
        with pytest.raises(ResponseDecodeError, match="16777216 bytes"):
            await client.smart_trades.cancel(7)
