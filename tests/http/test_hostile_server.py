"""A server, or an attacker in between, that forges answers or blocks the client."""

import asyncio
import json
import os
import random
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpcore
import httpx
import pytest

from tests.http.test_backend import ONCE, client_of
from tests.http.test_tls_in_the_clear import on_both_loops
from tests.http.wire import Connection, Handler, Received, WireServer, answer
from tests.support import KEY, SECRET, trade_json
from threecommas_async import AsyncClient, OutcomeUnknownError, RequestNotSentError
from threecommas_async.endpoint import Endpoint, Safety
from threecommas_async.http.answer import receive
from threecommas_async.http.backend import AsyncioBackend
from threecommas_async.http.fast import FastTransport
from threecommas_async.http.slots import OwnConnections
from threecommas_async.http.transport import ConnectionSlots

LIMIT = 100_000
over_both = pytest.mark.parametrize("fast", [False, True], ids=["default", "fast"])
FORGED = answer(201, json.dumps(trade_json(7, "panic_sold")).encode())
CLOSE = Endpoint("POST", "/ver1/close", dict[str, object], Safety.UNSAFE)
Main = Callable[[], Coroutine[Any, Any, None]]


def run(loop: Callable[[], asyncio.AbstractEventLoop], main: Main) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


def request_of(server: WireServer) -> httpx.Request:
    timeout = {"connect": 5, "read": 5, "write": 5, "pool": None}
    return httpx.Request("GET", f"{server.base_url}/x", extensions={"timeout": timeout})


def slots_of(server: WireServer, *, fast: bool) -> OwnConnections:
    return FastTransport() if fast else ConnectionSlots(httpx.URL(server.base_url), None)


# ------------------------------------------------------------------ before the handshake


@asynccontextmanager
async def forger(real_port: int, moment: str) -> AsyncGenerator[int]:
    """An attacker without keys: forges an answer in plain text and forwards everything else."""
    writers = list[asyncio.StreamWriter]()

    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            sink.write(data)
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", real_port)
        writers.extend([writer, far_writer])
        with suppress(OSError):
            if moment == "before the hello":
                writer.write(FORGED)
            far_writer.write(await reader.read(65_536))
            if moment == "after the hello":
                writer.write(FORGED)
            writer.write(await far_reader.read(65_536))
            if moment == "after the server's hello":
                writer.write(FORGED)
            await asyncio.gather(pass_on(reader, far_writer), pass_on(far_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0.05)  # lets the aborted connections' tasks end


@on_both_loops
@pytest.mark.parametrize(
    "moment", ["before the hello", "after the hello", "after the server's hello"]
)
def test_answer_forged_before_the_handshake_is_never_accepted(
    loop: Callable[[], asyncio.AbstractEventLoop], moment: str, tls: ssl.SSLContext
) -> None:
    async def silent(_: Received, __: Connection) -> None:
        await asyncio.sleep(60)

    late = moment == "after the server's hello"

    async def main() -> None:
        async with WireServer(silent, tls=tls) as real:
            real_port = int(real.base_url.split(":")[2].split("/")[0])
            async with forger(real_port, moment) as port:
                client = AsyncClient(
                    KEY,
                    secret=SECRET,
                    base_url=f"https://localhost:{port}/public/api",
                    rate_limiter=None,
                    retry=ONCE,
                )
                # The last forgery may break TLS only after the handshake, when the request has been
                # sent.
                expected = (RequestNotSentError, OutcomeUnknownError)
                async with client:
                    for _ in range(40):
                        with pytest.raises(expected if late else RequestNotSentError):
                            await client.request(CLOSE)
            assert late or real.received == []

    run(loop, main)


@on_both_loops
def test_tls_connection_is_reused_on_both_event_loops(
    loop: Callable[[], asyncio.AbstractEventLoop], tls: ssl.SSLContext
) -> None:
    async def handler(_: Received, __: Connection) -> bytes:
        return answer(200, b'{"x": "' + b"y" * 300_000 + b'"}')

    async def main() -> None:
        async with WireServer(handler, tls=tls) as server, client_of(server) as client:
            for _ in range(3):
                await client.request(CLOSE)
            assert server.connections == 1

    run(loop, main)


@on_both_loops
def test_cancelling_while_connecting_or_in_the_handshake_leaks_no_socket(
    loop: Callable[[], asyncio.AbstractEventLoop], tls: ssl.SSLContext
) -> None:
    chooser = random.Random(5)

    async def handler(_: Received, __: Connection) -> bytes:
        await asyncio.sleep(chooser.uniform(0, 0.002))
        return answer(200, b"{}")

    async def main() -> None:
        async with WireServer(handler, tls=tls) as server:
            client = client_of(server)
            await client.request(CLOSE)
            for _ in range(150):
                task = asyncio.create_task(client.request(CLOSE))
                for _ in range(chooser.randint(0, 25)):
                    await asyncio.sleep(0)
                await asyncio.sleep(chooser.choice([0, 0.001, 0.003]))
                task.cancel()
                await asyncio.wait({task})
            await client.aclose()
            async with asyncio.timeout(10):
                while server.open_connections:
                    await asyncio.sleep(0.01)

    run(loop, main)


@pytest.mark.parametrize("name", ["", "." * 3, "x" * 80])
async def test_handshake_with_an_impossible_name_is_not_sent_and_leaks_no_socket(
    name: str,
) -> None:
    async def handler(_: Received, __: Connection) -> bytes:
        return answer(200)

    async with WireServer(handler) as server:
        port = int(server.base_url.split(":")[2].split("/")[0])
        stream = await AsyncioBackend(encrypted=True).connect_tcp("127.0.0.1", port)
        with pytest.raises((httpcore.ConnectError, httpcore.ConnectTimeout)):
            await stream.start_tls(ssl.create_default_context(), name, timeout=0.2)
        async with asyncio.timeout(5):
            while server.open_connections:
                await asyncio.sleep(0.01)


async def test_nothing_is_sent_over_a_connection_with_unrequested_bytes() -> None:
    """The connection is checked when the first bytes of a request are written, not before."""

    async def handler(_: Received, connection: Connection) -> bytes:
        asyncio.get_running_loop().call_later(0.01, connection.send, FORGED)
        return answer(200, b"{}")

    async with WireServer(handler) as server:
        port = int(server.base_url.split(":")[2].split("/")[0])
        stream = await AsyncioBackend().connect_tcp("127.0.0.1", port)
        await stream.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await stream.read(65_536)).endswith(b"{}")
        async with asyncio.timeout(5):
            while not stream.get_extra_info("is_readable"):
                await asyncio.sleep(0.005)
        for _ in range(3):  # it has arrived: now the event loop reads it
            await asyncio.sleep(0)
        with pytest.raises(httpcore.ConnectError, match="nothing was sent"):
            await stream.write(b"GET / HTTP/1.1\r\n\r\n")
        await stream.aclose()
        assert len(server.received) == 1


# ------------------------------------------------------------------ after a fork


async def echo_asker(request: Received, _: Connection) -> bytes:
    return answer(200, request.headers["x-who"].encode())


async def ask(slots: OwnConnections, server: WireServer, who: str) -> str:
    request = request_of(server)
    request.headers["X-Who"] = who
    response = await slots.handle_async_request(request)
    return (await receive(response, max_bytes=LIMIT)).text


@over_both
@on_both_loops
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded:DeprecationWarning"
)  # resolving runs on a thread
def test_parent_and_child_never_use_each_others_connections_after_a_fork(
    loop: Callable[[], asyncio.AbstractEventLoop],
    fast: bool,  # noqa: FBT001
) -> None:
    async def begin() -> tuple[WireServer, OwnConnections]:
        server = await WireServer(echo_asker).__aenter__()
        slots = slots_of(server, fast=fast)
        assert await ask(slots, server, "parent") == "parent"
        return server, slots

    async def in_the_child(server: WireServer, slots: OwnConnections) -> None:
        assert await ask(slots, server, "child") == "child"
        assert await ask(slots, server, "child") == "child"
        await slots.aclose()

    async def in_the_parent(server: WireServer, slots: OwnConnections, child: int) -> int:
        ended, status = 0, 0
        while not ended:
            assert await ask(slots, server, "parent") == "parent"
            await asyncio.sleep(0.01)
            ended, status = os.waitpid(child, os.WNOHANG)  # noqa: ASYNC222 - does not wait
        assert await ask(slots, server, "parent") == "parent"
        assert server.connections == 2  # one each, and the parent's has survived the child
        await slots.aclose()
        await server.__aexit__(None, None, None)
        return os.waitstatus_to_exitcode(status)

    with asyncio.Runner(loop_factory=loop) as runner:
        server, slots = runner.run(begin())
        child = os.fork()
        if not child:
            code = 1
            try:
                run(loop, lambda: in_the_child(server, slots))
                code = 0
            finally:
                os._exit(code)
        assert runner.run(in_the_parent(server, slots, child)) == 0


# ------------------------------------------------------------------ endless answers


async def wait_until_disconnected(server: WireServer) -> None:
    async with asyncio.timeout(10):
        while server.open_connections:
            await asyncio.sleep(0.01)


def endless(head: bytes, more: bytes, pause: float = 0.0) -> Handler:
    async def handler(_: Received, connection: Connection) -> None:
        connection.send(head)
        while True:  # until the client disconnects
            connection.send(more)
            await connection.writer.drain()
            await asyncio.sleep(pause)

    return handler


CHUNKED = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"


@over_both
@pytest.mark.parametrize(
    ("head", "more", "pause"),
    [
        pytest.param(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 0, id="100"),
        pytest.param(b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 1000, 0, id="103"),
        pytest.param(CHUNKED, b"1\r\nx\r\n", 0.005, id="a drip of the body"),
        pytest.param(b"HTTP/1.1 201 ", b"x", 0.005, id="a drip of the head"),
    ],
)
async def test_endless_answer_can_be_abandoned_at_any_time(
    head: bytes,
    more: bytes,
    pause: float,
    fast: bool,  # noqa: FBT001
) -> None:
    async with WireServer(endless(head, more, pause)) as server:
        slots = slots_of(server, fast=fast)
        with pytest.raises((TimeoutError, httpx.RemoteProtocolError)):
            async with asyncio.timeout(0.1):
                await slots.handle_async_request(request_of(server))
        await wait_until_disconnected(server)
