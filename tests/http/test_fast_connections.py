"""Connections that break, close, stall or cannot be made: the fast ones, and the default's."""

import asyncio
import random
import socket
import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.http.conftest import certificate
from tests.http.roads import (
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
from tests.http.test_tls_in_the_clear import on_both_loops
from tests.http.wire import Connection, Received, WireServer, answer
from threecommas_async import (
    OutcomeUnknownError,
    RateLimitError,
    RequestNotSentError,
    ResponseDecodeError,
    ThreeCommasError,
)
from threecommas_async.http.network import SocketProtocol, attach
from threecommas_async.signing import HmacSigner

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
async def test_a_large_body_is_sent_whole_to_a_slow_reader(fast: bool) -> None:  # noqa: FBT001
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.02)
        await reader.readexactly(20_000_000)
        writer.write(OK + TEN)

    async with serving(serve) as url, transport_of(url, fast=fast) as client:
        response = await client.post("/x", content=b"x" * 20_000_000)
        assert response.json() == {"id": 77}


async def test_a_connection_that_is_over_before_anything_was_sent_means_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def attached_and_over(protocol: SocketProtocol, *rest: Any) -> None:
        await attach(protocol, *rest)
        while not protocol.ended:
            await asyncio.sleep(0.001)

    monkeypatch.setattr("threecommas_async.http.fast.attach", attached_and_over)
    async with serving(serve) as url, client_of(url, fast=True) as client:
        with pytest.raises(RequestNotSentError, match="nothing was sent over it"):
            await client.request(CLOSE)


async def test_each_request_has_its_own_patience() -> None:
    async def handler(request: Received, _: Connection) -> bytes:
        await asyncio.sleep(5 if "silent" in request.target else 0)
        return OK + TEN

    async with WireServer(handler) as server, transport_of(server.base_url, fast=True) as client:
        for patience in (5, None, 0.05, 5):
            await client.post("/x", timeout=patience)
        await asyncio.sleep(0.1)  # longer than one of them would have waited
        await client.post("/x", timeout=5)
        assert server.connections == 1
        async with asyncio.timeout(2):
            with pytest.raises(httpx.ReadTimeout):
                await client.post("/silent", timeout=0.05)


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
