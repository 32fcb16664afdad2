"""Connections that are correct where naive ones are not: the fast ones, and the default's."""

import asyncio
import gzip
import json
import random
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from tests.http.conftest import certificate
from tests.http.test_tls_in_the_clear import on_both_loops
from tests.http.wire import Connection, Handler, Received, WireServer, answer
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
from threecommas_async.endpoint import Endpoint, Safety
from threecommas_async.http.fast import FastTransport
from threecommas_async.http.transport import ConnectionSlots
from threecommas_async.signing import HmacSigner

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
        pytest.param(OK + TEN + b"\r\n", False, id="surplus blank line"),
        pytest.param(OK + TEN + OK + TEN, False, id="surplus answer"),
        pytest.param(
            CHUNKED + b'A\r\n{"id": 77}\r\n0\r\n\r\n\r\n', False, id="surplus after chunks"
        ),
        pytest.param(
            CHUNKED + b'A\r\n{"id": 77}\r\n0\r\n\r\n' + OK + TEN, False, id="answer after chunks"
        ),
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


# ------------------------------------------------------------------ connections that end


@over_both
async def test_a_kept_connection_closed_in_answer_to_a_request_makes_it_unknown(
    fast: bool,  # noqa: FBT001
) -> None:
    async def handler(_: Received, connection: Connection) -> bytes | None:
        if len(server.received) == 1:
            return OK + TEN
        connection.close()
        return None

    async with WireServer(handler) as server, client_of(server.base_url, fast=fast) as client:
        await client.request(CLOSE)
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.request(CLOSE)
        assert caught.value.may_have_taken_effect
        assert (len(server.received), server.connections) == (2, 1)


@over_both
async def test_a_kept_connection_that_was_closed_while_idle_is_not_used(
    fast: bool,  # noqa: FBT001
) -> None:
    async with (
        WireServer(saying(OK + TEN, close=True)) as server,
        client_of(server.base_url, fast=fast) as client,
    ):
        for _ in range(3):
            await client.request(CLOSE)
            await no_connection_is_left(server)
        assert server.connections == 3


@over_both
async def test_closed_at_any_moment_no_request_is_sent_twice(fast: bool) -> None:  # noqa: FBT001
    chooser = random.Random(3)

    async def handler(_: Received, connection: Connection) -> None:
        connection.send(OK + TEN)
        asyncio.get_running_loop().call_later(chooser.uniform(0, 0.001), connection.close)

    ended: dict[type, int] = {}
    async with WireServer(handler) as server, client_of(server.base_url, fast=fast) as client:
        for _ in range(200):
            try:
                await client.request(CLOSE)
                kind: type = dict
            except (OutcomeUnknownError, RequestNotSentError) as error:
                kind = type(error)
            ended[kind] = ended.get(kind, 0) + 1
            await asyncio.sleep(chooser.uniform(0, 0.0005))
        got = len(server.received)
    assert got <= 200 - ended.get(RequestNotSentError, 0)
    assert got >= ended[dict]


@over_both
@pytest.mark.parametrize("how", ["close", "reset", "half", "in the head", "in the body"])
async def test_an_answer_that_breaks_off_is_not_taken_for_whole(
    how: str,
    fast: bool,  # noqa: FBT001
) -> None:
    async def handler(_: Received, connection: Connection) -> None:
        if how == "reset":
            connection.reset()
        elif how == "half":
            connection.writer.write_eof()
            await asyncio.sleep(0.2)
        else:
            begun = {"in the head": (OK + TEN)[:30], "in the body": (OK + TEN)[:-1]}
            connection.send(begun.get(how, b""))
            await connection.writer.drain()
            connection.close()

    async with WireServer(handler) as server, client_of(server.base_url, fast=fast) as client:
        kind = ResponseDecodeError if how == "in the body" else OutcomeUnknownError
        with pytest.raises(kind) as caught:
            await client.request(CLOSE)
        assert caught.value.may_have_taken_effect
        assert len(server.received) == 1


@over_both
async def test_a_server_that_closes_its_half_after_an_answer_gets_no_more(
    fast: bool,  # noqa: FBT001
) -> None:
    async def handler(_: Received, connection: Connection) -> None:
        connection.send(OK + TEN)
        connection.writer.write_eof()

    async with WireServer(handler) as server, client_of(server.base_url, fast=fast) as client:
        for _ in range(5):
            await client.request(CLOSE)
            await asyncio.sleep(0.01)
        assert (len(server.received), server.connections) == (5, 5)


@pytest.mark.parametrize("late", [0.0, 0.02], ids=["at once", "later"])
async def test_an_answer_may_come_before_the_request_is_sent(late: float) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(late)
        writer.write(b"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n")
        await asyncio.sleep(0.3)  # and never reads the rest
        writer.transport.abort()

    async with serving(serve) as url, client_of(url, fast=True) as client:
        with pytest.raises(ThreeCommasError, match="413"):
            await client.request(NOTE, json={"note": "x" * 20_000_000})
        with pytest.raises(ThreeCommasError, match="413"):  # over a new connection
            await client.request(CLOSE)


@over_both
async def test_a_body_that_nobody_takes_is_a_write_that_timed_out(fast: bool) -> None:  # noqa: FBT001
    over = asyncio.Event()

    async def deaf(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.transport.abort()

    async with serving(deaf) as url, transport_of(url, fast=fast) as client:
        with pytest.raises(httpx.WriteTimeout):
            await client.post("/x", content=b"x" * 20_000_000, timeout=0.1)
        over.set()


async def test_a_connection_that_breaks_while_a_body_is_sent_is_a_write_error() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        Connection(writer).reset()

    async with serving(serve) as url, transport_of(url, fast=True) as client:
        with pytest.raises(httpx.WriteError):
            await client.post("/x", content=b"x" * 20_000_000)


@over_both
@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 ", OK + b"Content-Length: 10\r\n\r\n{"])
async def test_silence_is_a_read_that_timed_out(begun: bytes, fast: bool) -> None:  # noqa: FBT001
    async with (
        WireServer(saying(begun)) as server,
        transport_of(server.base_url, fast=fast) as client,
    ):
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/x", timeout=0.05)
        await no_connection_is_left(server)


@over_both
async def test_a_drip_is_no_silence_and_ends_with_the_attempt(fast: bool) -> None:  # noqa: FBT001
    async def handler(_: Received, connection: Connection) -> None:
        connection.send(OK + b"Content-Length: 1000\r\n\r\n")
        while not connection.writer.is_closing():
            connection.send(b" ")
            await asyncio.sleep(0.02)

    async with (
        WireServer(handler) as server,
        client_of(server.base_url, fast=fast, timeout=0.1, attempt_timeout=0.4) as client,
    ):
        began = asyncio.get_running_loop().time()
        with pytest.raises(ResponseDecodeError, match="whole attempt"):
            await client.request(CLOSE)
        assert asyncio.get_running_loop().time() >= began + 0.35
        await no_connection_is_left(server)


@over_both
async def test_the_head_of_a_429_counts_before_its_body(fast: bool) -> None:  # noqa: FBT001
    async with (
        WireServer(saying(b"HTTP/1.1 429 X\r\nContent-Length: 10\r\n\r\n")) as server,
        client_of(server.base_url, fast=fast) as client,
    ):
        began = asyncio.get_running_loop().time()
        with pytest.raises(RateLimitError):
            await client.request(CLOSE)
        assert asyncio.get_running_loop().time() < began + 3
        await no_connection_is_left(server)


@over_both
async def test_a_429_also_keeps_back_what_is_being_signed(
    fast: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusing, signing, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handler(request: Received, _: Connection) -> bytes:
        if "note" in request.target:
            await signing.wait()
            refusing.set()
            return b"HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n"
        return OK + TEN

    async def slow_sign(_: HmacSigner, __: bytes) -> str:
        if len(server.received) == 3:
            signing.set()
            await go_on.wait()
        return "signed"

    monkeypatch.setattr(HmacSigner, "sign", slow_sign)
    async with WireServer(handler) as server, client_of(server.base_url, fast=fast) as client:
        await asyncio.gather(client.request(CLOSE), client.request(CLOSE))  # two that are kept
        note = asyncio.create_task(client.request(NOTE))
        while len(server.received) < 3:
            await asyncio.sleep(0.001)
        close = asyncio.create_task(client.request(CLOSE))
        await refusing.wait()
        await asyncio.wait({note})
        go_on.set()
        with pytest.raises(RequestNotSentError):
            await close
        assert isinstance(note.exception(), RateLimitError)
        assert len(server.received) == 3


@on_both_loops
@over_both
def test_cancelled_at_any_await_it_leaks_no_connection(
    loop: Callable[[], asyncio.AbstractEventLoop],
    tls: ssl.SSLContext,
    fast: bool,  # noqa: FBT001
) -> None:
    async def handler(_: Received, connection: Connection) -> None:
        for part in (OK, TEN[:5], TEN[5:]):
            connection.send(part)
            await asyncio.sleep(0)

    async def main() -> None:
        for secure in (None, tls):
            async with (
                WireServer(handler, tls=secure) as server,
                client_of(server.base_url, fast=fast) as client,
            ):
                for turns in range(60):
                    call = asyncio.create_task(client.request(CLOSE))
                    for _ in range(turns % 30):
                        await asyncio.sleep(0)
                    await asyncio.sleep(0.0005 * (turns // 30))
                    call.cancel()
                    await asyncio.wait({call})
                await client.aclose()
                await no_connection_is_left(server)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


# ------------------------------------------------------------------ before anything is sent


@over_both
@pytest.mark.parametrize(
    ("host", "until", "trusted"),
    [
        pytest.param("localhost", timedelta(days=1), False, id="self-signed"),
        pytest.param("localhost", timedelta(days=-1), True, id="expired"),
        pytest.param("api.example", timedelta(days=1), True, id="other name"),
    ],
)
async def test_a_server_that_cannot_prove_who_it_is_is_sent_nothing(  # noqa: PLR0913, PLR0917
    host: str,
    until: timedelta,
    trusted: bool,  # noqa: FBT001
    fast: bool,  # noqa: FBT001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tls = certificate(tmp_path, host, until)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    async with (
        WireServer(saying(OK + TEN), tls=tls) as server,
        client_of(server.base_url, fast=fast) as client,
    ):
        with pytest.raises(RequestNotSentError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.request(CLOSE)
        assert server.received == []
        await no_connection_is_left(server)


@over_both
@pytest.mark.usefixtures("tls")
@pytest.mark.parametrize("reply", [b"", OK + TEN, b"\x15\x03\x01\x00\x02\x02\x28", None])
async def test_a_handshake_that_breaks_means_not_sent(reply: bytes | None, fast: bool) -> None:  # noqa: FBT001
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        if reply is None:
            Connection(writer).reset()
        else:
            writer.write(reply)
            writer.close()

    async with (
        serving(serve) as url,
        client_of(url.replace("http://127.0.0.1", "https://localhost"), fast=fast) as client,
    ):
        with pytest.raises(RequestNotSentError, match="ConnectError"):
            await client.request(CLOSE)


@on_both_loops
@over_both
def test_over_tls_a_connection_is_used_again(
    loop: Callable[[], asyncio.AbstractEventLoop],
    tls: ssl.SSLContext,
    fast: bool,  # noqa: FBT001
) -> None:
    big = b'{"x": "' + b"y" * 300_000 + b'"}'

    async def main() -> None:
        async with (
            WireServer(saying(answer(200, big)), tls=tls) as server,
            client_of(server.base_url, fast=fast) as client,
        ):
            for _ in range(3):
                await client.request(NOTE, json={"x": "y" * 300_000})
            assert server.connections == 1

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


@over_both
@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_an_address_of_ipv6_is_reached(fast: bool) -> None:  # noqa: FBT001
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"Host: [::1]:" in await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + TEN)

    try:
        async with serving(serve, "::1") as url, client_of(url, fast=fast) as client:
            assert (await client.request(CLOSE)).data == {"id": 77}
    except OSError:
        pytest.skip("no IPv6 here")


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
