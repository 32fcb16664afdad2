"""Answers that a naive parser gets wrong, over fast connections and the default's."""

import asyncio
import gzip
import json

import httpx
import pytest

from tests.http.roads import (
    CHUNKED,
    CLOSE,
    NOTE,
    OK,
    TEN,
    client_of,
    no_connection_is_left,
    over_both,
    saying,
    serving,
    transport_of,
)
from tests.http.wire import Connection, Received, WireServer
from tests.support import trade_json
from threecommas_async import (
    OutcomeUnknownError,
    RequestNotSentError,
    ResponseDecodeError,
)
from threecommas_async.endpoint import Endpoint, Safety
from threecommas_async.http.fast import FastTransport

# ------------------------------------------------------------------ what an answer may look like


@over_both
@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        pytest.param(OK + TEN, True, id="length"),
        pytest.param(b"HTTP/1.1 200\r\n" + TEN, True, id="no reason"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + TEN, True, id="100"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 3 + OK + TEN, True, id="103"),
        pytest.param(CHUNKED + b'4\r\n{"id\r\n6\r\n": 77}\r\n0\r\n\r\n', True, id="chunks"),
        pytest.param(
            CHUNKED + b'A;x=y\r\n{"id": 77}\r\n0\r\nX-Sum: 3\r\n\r\n', True, id="trailers"
        ),
        pytest.param(OK + b"Connection: close\r\n" + TEN, False, id="closing"),
        pytest.param(b"HTTP/1.0 200 OK\r\n" + TEN, False, id="1.0"),
        pytest.param(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + TEN, False, id="1.0 kept"),
        pytest.param(OK + TEN + b"\r\n", False, id="surplus blank line"),
        pytest.param(OK + TEN + OK + TEN, False, id="surplus answer"),
        pytest.param(
            CHUNKED + b'A\r\n{"id": 77}\r\n0\r\n\r\n\r\n', False, id="surplus after chunks"
        ),
        pytest.param(
            CHUNKED + b'A\r\n{"id": 77}\r\n0\r\n\r\n' + OK + TEN, False, id="answer after chunks"
        ),
        pytest.param(CHUNKED + b'A\r\n{"id": 77}\r\n0\r\n\r\nXX', False, id="rubbish after chunks"),
    ],
)
async def test_an_answer_is_understood_and_the_next_one_is_not_its_rest(
    raw: bytes,
    kept: bool,  # noqa: FBT001
    fast: bool,  # noqa: FBT001
) -> None:
    async with (
        WireServer(saying(raw)) as server,
        transport_of(server.base_url, fast=fast) as client,
    ):
        for _ in range(3):
            response = await client.post("/x")
            assert (response.status_code, response.json()) == (200, {"id": 77})
        assert server.connections == (1 if kept else 3)


@over_both
async def test_an_answer_may_come_byte_by_byte(fast: bool) -> None:  # noqa: FBT001
    raw = b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + b'A\r\n{"id": 77}\r\n0\r\nX: y\r\n\r\n'

    async def handler(_: Received, connection: Connection) -> None:
        for at in range(len(raw)):
            connection.send(raw[at : at + 1])
            await asyncio.sleep(0)

    async with (
        WireServer(handler) as server,
        transport_of(server.base_url, fast=fast) as client,
    ):
        for _ in range(3):
            assert (await client.post("/x")).json() == {"id": 77}


@over_both
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_without_a_length_the_end_of_the_connection_is_the_end(
    version: bytes,
    fast: bool,  # noqa: FBT001
) -> None:
    raw = b"HTTP/%b 200 OK\r\n\r\n" % version + b"x" * 100_000
    async with (
        WireServer(saying(raw, close=True)) as server,
        transport_of(server.base_url, fast=fast) as client,
    ):
        for _ in range(2):
            assert len((await client.get("/x")).content) == 100_000
        assert server.connections == 2


@over_both
@pytest.mark.parametrize(
    ("method", "raw"),
    [
        ("HEAD", OK + b"Content-Length: 10\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 X\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 X\r\nContent-Length: 10\r\n\r\n"),
        ("POST", OK + b"Content-Length: 0\r\n\r\n"),
    ],
    ids=["HEAD", "204", "304", "0"],
)
async def test_an_answer_without_a_body_is_complete_with_its_head(
    method: str,
    raw: bytes,
    fast: bool,  # noqa: FBT001
) -> None:
    async with (
        WireServer(saying(raw)) as server,
        transport_of(server.base_url, fast=fast) as client,
    ):
        for _ in range(3):
            assert (await client.request(method, "/x")).content == b""
        assert server.connections == 1


@over_both
async def test_a_body_that_an_answer_may_not_have_is_never_the_next_answer(fast: bool) -> None:  # noqa: FBT001
    raw = b"HTTP/1.1 204 X\r\nContent-Length: 48\r\n\r\n" + OK + TEN
    async with (
        WireServer(saying(raw)) as server,
        transport_of(server.base_url, fast=fast) as client,
    ):
        for _ in range(3):
            assert (await client.get("/x")).status_code == 204
        assert server.connections == 3


@over_both
async def test_a_compressed_answer_is_read(fast: bool) -> None:  # noqa: FBT001
    packed = gzip.compress(json.dumps(trade_json(7, "waiting_targets")).encode())
    raw = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
    async with WireServer(saying(raw)) as server, client_of(server.base_url, fast=fast) as client:
        assert (await client.smart_trades.get(7)).id == 7


# ------------------------------------------------------------------ what it may not look like


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(OK + b"Content-Length: 10\r\n" + TEN, id="length twice"),
        pytest.param(OK + b"Content-Length: 10, 10\r\n\r\n" + TEN, id="two lengths"),
        pytest.param(OK + b"Content-Length: 9\r\n" + TEN, id="other length"),
        pytest.param(OK + b"Content-Length: -1\r\n\r\n", id="negative length"),
        pytest.param(OK + b"Content-Length: +1\r\n\r\n1", id="length with a sign"),
        pytest.param(OK + b"Content-Length: \r\n\r\n", id="empty length"),
        pytest.param(OK + b"Content-Length: 1_0\r\n\r\n" + TEN, id="length with a line"),
        pytest.param(OK + b"Content-Length: %b\r\n\r\n" % (b"9" * 40), id="length without end"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n" + TEN, id="chunks and length"),
        pytest.param(
            OK + b"Content-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="length and chunks",
        ),
        pytest.param(
            OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="gzip in chunks"
        ),
        pytest.param(OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", id="odd coding"),
        pytest.param(
            OK + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n", id="chunks twice"
        ),
        pytest.param(CHUNKED + b"0\r\nContent-Length: 3\r\n\r\n", id="length in a trailer"),
        pytest.param(CHUNKED + b"-1\r\n\r\n", id="negative chunk"),
        pytest.param(CHUNKED + b"f" * 17 + b"\r\n\r\n", id="chunk without end"),
        pytest.param(CHUNKED + b"1\r\nxyz\r\n0\r\n\r\n", id="longer chunk"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", id="ssh"),
        pytest.param(b"RTSP/1.0 200 OK\r\n" + TEN, id="rtsp"),
        pytest.param(b"HTTP/2.0 200 OK\r\n" + TEN, id="2.0"),
        pytest.param(b"HTTP/1.2 200 OK\r\n" + TEN, id="1.2"),
        pytest.param(b"HTTP/1.1 099 OK\r\n" + TEN, id="status 99"),
        pytest.param(b"HTTP/1.1 1000 OK\r\n" + TEN, id="status 1000"),
        pytest.param(b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", id="101"),
        pytest.param(b"HTTP/1.1 101 X\r\n\r\n", id="plain 101"),
        pytest.param(b"\r\n" + OK + TEN, id="blank line first"),
        pytest.param(OK + b"X: a\0b\r\n" + TEN, id="nul"),
        pytest.param(b"HTTP/1.1 200 OK\n" + TEN, id="line feed alone"),
        pytest.param(OK + b"X: a\rContent-Length: 2\r\n" + TEN, id="carriage return alone"),
        pytest.param(OK + b"X y: z\r\n" + TEN, id="space in a name"),
    ],
)
async def test_what_is_no_clear_answer_is_none(raw: bytes) -> None:
    async with WireServer(saying(raw)) as server, client_of(server.base_url, fast=True) as client:
        # Where the head was a 200, it was done; else nobody knows.
        with pytest.raises((OutcomeUnknownError, ResponseDecodeError), match="no HTTP answer"):
            await client.request(CLOSE)
        assert len(server.received) == 1
        await no_connection_is_left(server)


@over_both
@pytest.mark.parametrize(
    "more", [b"X-A: " + b"a" * 1000 + b"\r\n", b"a" * 1000], ids=["headers", "one header"]
)
async def test_headers_without_end_are_given_up(more: bytes, fast: bool) -> None:  # noqa: FBT001
    async def handler(_: Received, connection: Connection) -> None:
        connection.send(b"HTTP/1.1 201 X\r\nX: ")
        while True:
            connection.send(more)
            await connection.writer.drain()

    async with WireServer(handler) as server, client_of(server.base_url, fast=fast) as client:
        with pytest.raises(OutcomeUnknownError, match="RemoteProtocolError"):
            await client.request(CLOSE)
        await no_connection_is_left(server)


@pytest.mark.parametrize(
    "more", [b"HTTP/1.1 103 X\r\n\r\n" * 500, b"HTTP/1.1 103 X\r\n"], ids=["many", "one"]
)
async def test_interim_answers_without_end_are_given_up(more: bytes) -> None:
    async def handler(_: Received, connection: Connection) -> None:
        while True:
            connection.send(more)
            await connection.writer.drain()

    async with WireServer(handler) as server, client_of(server.base_url, fast=True) as client:
        with pytest.raises(OutcomeUnknownError, match="no HTTP answer"):
            await client.request(CLOSE)
        await no_connection_is_left(server)


@over_both
@pytest.mark.parametrize("framing", ["length", "chunks", "until closed"])
async def test_a_body_beyond_the_limit_is_given_up_and_says_how_to_raise_it(
    framing: str,
    fast: bool,  # noqa: FBT001
) -> None:
    heads = {
        "length": OK + b"Content-Length: 5000000\r\n\r\n",
        "chunks": CHUNKED + b"4C4B40\r\n",
        "until closed": OK + b"\r\n",
    }

    async def handler(_: Received, connection: Connection) -> None:
        connection.send(heads[framing])
        for size in [100_000] * 50:
            connection.send(b" " * size)
            await connection.writer.drain()

    async with (
        WireServer(handler) as server,
        client_of(server.base_url, fast=fast, max_response_bytes=300_000) as client,
    ):
        with pytest.raises(ResponseDecodeError, match=r"300000 bytes.*max_response_bytes"):
            await client.request(CLOSE)
        await no_connection_is_left(server)


@pytest.mark.parametrize(
    "more",
    [b"1" + b"0" * 1000, b"1;" + b"x" * 1000, b"0\r\nX: " + b"y" * 1000],
    ids=["size", "extension", "trailer"],
)
async def test_chunks_that_hold_no_body_are_given_up(more: bytes) -> None:
    async def handler(_: Received, connection: Connection) -> None:
        connection.send(CHUNKED)
        connection.send(more)
        while True:
            connection.send(b"y" * 1000)
            await connection.writer.drain()

    async with (
        WireServer(handler) as server,
        client_of(server.base_url, fast=True, max_response_bytes=100_000) as client,
    ):
        with pytest.raises(ResponseDecodeError, match="no HTTP answer"):
            await client.request(CLOSE)
        await no_connection_is_left(server)


# ------------------------------------------------------------------ what goes out


async def test_both_send_the_same_bytes() -> None:
    everything = Endpoint("GET", "/ver1/things", dict[str, object], Safety.SAFE)
    recorded = list[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            recorded.append(data)
            writer.write(OK + TEN)

    async with serving(serve) as url:
        for fast in (False, True):
            async with client_of(url, fast=fast, mode="paper") as client:
                await client.request(CLOSE)
                await client.request(everything, query={"a": "ä ?&/"})
                await client.request(NOTE, json={"note": "ä"}, extra_headers={"X-Bot": "7"})
    assert len(recorded) == 6
    assert recorded[:3] == recorded[3:]


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nY: b"},
        {"X": "a\nb"},
        {"X": "a\0b"},
        {"Content-Length": "3"},
        {"Transfer-Encoding": "chunked"},
    ],
    ids=json.dumps,
)
async def test_a_request_that_would_be_taken_for_another_is_not_sent(
    headers: dict[str, str],
) -> None:
    async with (
        WireServer(saying(OK + TEN)) as server,
        transport_of(server.base_url, fast=True) as client,
    ):
        with pytest.raises(httpx.LocalProtocolError):
            await client.request("POST", "/x", headers=headers)
        with pytest.raises(httpx.LocalProtocolError):
            await client.request("GET /y HTTP/1.1\r\nX:", "/x")
        assert server.received == []


async def test_one_transport_serves_one_address() -> None:
    async with (
        WireServer(saying(OK + TEN)) as one,
        WireServer(saying(OK + TEN)) as other,
        transport_of(one.base_url, fast=True) as client,
    ):
        await client.get("/x")
        with pytest.raises(httpx.UnsupportedProtocol, match="one address"):
            await client.get(other.base_url)
        assert (await client.get("/x")).json() == {"id": 77}
        assert other.received == []


async def test_it_knows_http_alone() -> None:
    async with httpx.AsyncClient(transport=FastTransport()) as client:
        with pytest.raises(httpx.UnsupportedProtocol):
            await client.get("ftp://127.0.0.1/x")


@pytest.mark.parametrize("proxy", ["http://someone:p%40ss@127.0.0.1:1", "socks5://127.0.0.1:1"])
async def test_a_proxy_in_the_environment_is_not_gone_around(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.setenv("http_proxy", proxy)
    async with client_of("https://api.3commas.io/public/api", fast=True) as client:
        with pytest.raises(RequestNotSentError, match="leave `transport` out") as caught:
            await client.request(CLOSE)
        assert "p%40ss" not in str(caught.value)
    async with (
        WireServer(saying(OK + TEN)) as server,
        client_of(server.base_url, fast=True) as client,
    ):
        assert (await client.request(CLOSE)).data == {"id": 77}


async def test_an_idle_connection_is_kept_for_its_time_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        WireServer(saying(OK + TEN)) as server,
        transport_of(server.base_url, fast=True) as client,
    ):
        await client.get("/x")
        monkeypatch.setattr("threecommas_async.http.fast.KEEPALIVE", -1.0)
        await client.get("/x")
        assert server.connections == 2


async def test_the_connection_used_last_is_used_first() -> None:
    go_on = asyncio.Event()

    async def handler(request: Received, _: Connection) -> bytes:
        if "wait" in request.target:
            await go_on.wait()
        return OK + TEN

    async with (
        WireServer(handler) as server,
        transport_of(server.base_url, fast=True) as client,
    ):
        both = [asyncio.create_task(client.get("/wait")) for _ in range(2)]
        while len(server.received) < 2:
            await asyncio.sleep(0.001)
        go_on.set()
        await asyncio.wait(both)
        for _ in range(5):
            await client.get("/x")
        assert server.connections == 2
