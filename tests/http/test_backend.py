"""TCP and TLS failures: refused and silent addresses, floods, certificates."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpcore
import pytest

from tests.http.conftest import certificate
from tests.http.wire import Connection, Received, WireServer, answer
from tests.support import KEY, SECRET, trade_json
from threecommas_async import (
    AsyncClient,
    OutcomeUnknownError,
    RequestNotSentError,
    RetryPolicy,
)
from threecommas_async.endpoint import Endpoint, Safety
from threecommas_async.http.backend import AsyncioBackend

ONCE = RetryPolicy(attempts=1)
TRADE = json.dumps(trade_json(7, "waiting_targets")).encode()


def client_of(server: WireServer, timeout: float = 5.0) -> AsyncClient:
    return AsyncClient(KEY, secret=SECRET, base_url=server.base_url, retry=ONCE, timeout=timeout)


async def one_trade(_: Received, __: Connection) -> bytes:
    return answer(200, TRADE)


def port_of(server: WireServer) -> int:
    return int(server.base_url.split(":")[2].split("/")[0])


async def test_requests_go_over_tls_to_a_server_with_a_trusted_certificate(
    tls: ssl.SSLContext,
) -> None:
    async with WireServer(one_trade, tls=tls) as server, client_of(server) as client:
        trades = await asyncio.gather(*(client.smart_trades.get(7) for _ in range(50)))
        assert len(trades) == 50
        assert server.peak_connections <= 20


async def test_server_with_an_untrusted_certificate_is_sent_nothing(tmp_path: Path) -> None:
    tls = certificate(tmp_path)
    async with WireServer(one_trade, tls=tls) as server, client_of(server) as client:
        with pytest.raises(RequestNotSentError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.smart_trades.get(7)
        assert server.received == []


@pytest.mark.usefixtures("tls")
async def test_server_that_does_not_finish_the_handshake_is_sent_nothing() -> None:
    async with WireServer(one_trade) as server:
        url = server.base_url.replace("http:", "https:")
        client = AsyncClient(KEY, secret=SECRET, base_url=url, retry=ONCE, timeout=0.05)
        with pytest.raises(RequestNotSentError, match="ConnectTimeout"):
            await client.smart_trades.get(7)
        await client.aclose()


async def test_silent_address_raises_connect_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", never)
    with pytest.raises(httpcore.ConnectTimeout):
        await AsyncioBackend().connect_tcp("127.0.0.1", 9, timeout=0.01)


def addresses(monkeypatch: pytest.MonkeyPatch, port: int, *hosts: str) -> list[str]:
    """Resolve every name to these hosts; those ending in 9 never answer. Return the hosts tried."""
    loop, tried = asyncio.get_running_loop(), list[str]()
    really_connect = loop.sock_connect

    async def found(*_: object, **__: object) -> list[tuple[int, int, int, str, object]]:
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(families[":" in host], socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]

    async def connect(sock: socket.socket, where: tuple[str, int]) -> None:
        tried.append(where[0])
        await (asyncio.sleep(60) if where[0].endswith("9") else really_connect(sock, where))

    monkeypatch.setattr(loop, "getaddrinfo", found)
    monkeypatch.setattr(loop, "sock_connect", connect)
    return tried


@pytest.mark.parametrize(
    "hosts",
    [
        pytest.param(["127.0.0.9", "127.0.0.1"], id="one-is-silent"),
        pytest.param(["127.0.0.2", "127.0.0.1"], id="one-refuses"),
        pytest.param(["127.0.0.1", "127.0.0.9"], id="the-first-answers"),
    ],
)
async def test_host_is_reached_at_any_address_that_answers(
    hosts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with WireServer(one_trade) as server, client_of(server) as client:
        addresses(monkeypatch, port_of(server), *hosts)
        assert (await client.smart_trades.get(7)).id == 7
        assert server.connections == 1


@pytest.mark.parametrize("late", ["connects", "loses the race"])
async def test_slow_address_is_still_used_and_a_surplus_connection_is_closed(
    late: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, refused = asyncio.Barrier(2), asyncio.Event()
    async with WireServer(one_trade) as server, client_of(server) as client:
        port = port_of(server)
        loop = asyncio.get_running_loop()
        really_connect = loop.sock_connect

        async def connect(sock: socket.socket, where: tuple[str, int]) -> None:
            if late == "connects" and where[0] == "2":
                refused.set()
                raise ConnectionRefusedError
            if late == "connects":
                await refused.wait()
            await really_connect(sock, ("127.0.0.1", port))
            if late == "loses the race":
                await both.wait()

        addresses(monkeypatch, port, "1", "2")
        monkeypatch.setattr(loop, "sock_connect", connect)
        assert (await client.smart_trades.get(7)).id == 7
        await asyncio.sleep(0.01)
        assert server.open_connections == 1


async def test_broken_ipv6_does_not_keep_a_host_from_being_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with WireServer(one_trade) as server, client_of(server) as client:
        port = port_of(server)
        tried = addresses(monkeypatch, port, "::9", "::9", "::9", "127.0.0.1")
        assert (await client.smart_trades.get(7)).id == 7
    assert tried == ["::9", "127.0.0.1"]


@pytest.mark.parametrize("hosts", [["127.0.0.2", "127.0.0.3"], []])
async def test_host_without_an_address_that_answers_is_sent_nothing(
    hosts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with WireServer(one_trade) as server, client_of(server) as client:
        addresses(monkeypatch, port_of(server), *hosts)
        with pytest.raises(RequestNotSentError, match="ConnectError"):
            await client.smart_trades.get(7)


async def test_large_answer_that_arrives_faster_than_it_is_read_is_complete() -> None:
    big = json.dumps(["x" * 1000] * 3000).encode()

    async def handler(_: Received, __: Connection) -> bytes:
        return answer(200, big)

    everything = Endpoint("GET", "/ver1/everything", list[str], Safety.SAFE)
    async with WireServer(handler) as server, client_of(server) as client:
        response = await client.request(everything)
    assert len(response.data) == 3000
    assert response.content == big


async def test_large_body_is_sent_completely_to_a_slow_server() -> None:
    async def handler(request: Received, _: Connection) -> bytes:
        return answer(201, json.dumps([str(len(request.body))]).encode())

    upload = Endpoint("POST", "/ver1/upload", list[str], Safety.UNSAFE)
    note = "x" * 5_000_000
    async with WireServer(handler) as server, client_of(server) as client:
        response = await client.request(upload, json={"note": note})
    assert response.data == [str(len(note) + len('{"note":""}'))]


@asynccontextmanager
async def deaf_server() -> AsyncGenerator[int]:
    """A server that reads nothing of what it is sent. Yields its port."""
    over = asyncio.Event()

    async def take_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.transport.abort()

    async with await asyncio.start_server(take_nothing, "127.0.0.1", 0, limit=1024) as server:
        yield server.sockets[0].getsockname()[1]
        over.set()


async def test_body_that_the_server_does_not_read_raises_outcome_unknown() -> None:
    upload = Endpoint("POST", "/upload", list[str], Safety.UNSAFE)
    async with (
        deaf_server() as port,
        AsyncClient(
            KEY, secret=SECRET, base_url=f"http://127.0.0.1:{port}/p", retry=ONCE, timeout=0.1
        ) as client,
    ):
        # Which timeout expires first, that of the write or that of the attempt, is random.
        with pytest.raises(OutcomeUnknownError, match=r"(Write|Read)Timeout|whole attempt"):
            await client.request(upload, json={"note": "x" * 30_000_000})


async def test_write_to_a_server_that_does_not_read_raises_write_timeout() -> None:
    async with deaf_server() as port:
        stream = await AsyncioBackend().connect_tcp("127.0.0.1", port)
        with pytest.raises(httpcore.WriteTimeout):
            await stream.write(b"x" * 30_000_000, timeout=0.01)
        await stream.aclose()


async def test_connection_reports_its_addresses_and_fails_after_it_was_closed() -> None:
    async def handler(_: Received, connection: Connection) -> None:
        connection.reset()

    async with WireServer(handler) as server:
        port = port_of(server)
        stream = await AsyncioBackend().connect_tcp("127.0.0.1", port)
        assert stream.get_extra_info("server_addr") == ("127.0.0.1", port)
        assert stream.get_extra_info("is_readable") is False
        await stream.write(b"")
        await stream.write(b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(5):
            while not stream.get_extra_info("is_readable"):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)  # the event loop has to see what has arrived
        with pytest.raises(httpcore.WriteError, match="closed by the other side"):
            await stream.write(b"the same request's body")
        with pytest.raises(httpcore.ReadError):
            await stream.read(100, timeout=5)
        with pytest.raises(httpcore.ConnectError, match="nothing was sent"):
            await stream.write(b"more")
        assert stream.get_extra_info("is_readable") is True
        await stream.aclose()


async def test_read_after_end_of_stream_returns_empty_bytes() -> None:
    async def handler(_: Received, connection: Connection) -> bytes:
        connection.close()
        return b""

    async with WireServer(handler) as server:
        stream = await AsyncioBackend().connect_tcp("127.0.0.1", port_of(server))
        await stream.write(b"GET / HTTP/1.1\r\n\r\n")
        assert [await stream.read(100, timeout=5) for _ in range(2)] == [b"", b""]
        await stream.aclose()


async def test_call_cancelled_while_it_connects_leaves_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connecting = list[asyncio.Task[object]]()
    loop = asyncio.get_running_loop()
    really_connect = loop.create_connection

    def connect_and_cancel(protocol: Callable[[], Any], **options: Any) -> Any:
        def make_protocol() -> Any:
            connecting[0].cancel()
            return protocol()

        return really_connect(make_protocol, **options)

    monkeypatch.setattr(loop, "create_connection", connect_and_cancel)
    async with WireServer(one_trade) as server:
        connection = AsyncioBackend().connect_tcp("127.0.0.1", port_of(server))
        connecting.append(asyncio.ensure_future(connection))
        await asyncio.wait(connecting)
        assert connecting[0].cancelled()
        async with asyncio.timeout(5):
            while not server.connections or server.open_connections:
                await asyncio.sleep(0.01)


async def test_flood_of_unread_bytes_arrives_completely() -> None:
    flood = b"x" * 4_000_000

    async def handler(_: Received, connection: Connection) -> None:
        connection.send(flood)

    async with WireServer(handler) as server:
        port = port_of(server)
        stream = await AsyncioBackend().connect_tcp("127.0.0.1", port)
        await stream.write(b"GET / HTTP/1.1\r\n\r\n")
        await asyncio.sleep(0.05)
        read = 0
        while read < len(flood):
            read += len(await stream.read(65_536, timeout=5))
        assert read == len(flood)
        await stream.aclose()


async def test_unsigned_endpoint_sends_neither_key_nor_signature() -> None:
    everything = Endpoint("GET", "/ver1/pairs", list[str], Safety.SAFE, signed=False)

    async def handler(request: Received, _: Connection) -> bytes:
        return answer(
            200, json.dumps(sorted({"apikey", "signature"} & set(request.headers))).encode()
        )

    async with WireServer(handler) as server, client_of(server) as client:
        assert (await client.request(everything)).data == []
