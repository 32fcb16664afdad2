"""An answer belongs to its own request, never to the next one or to another process."""

import asyncio
import gc
import os
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

import httpx
import pytest

from tests.http.wire import Connection, Received, WireServer, answer
from threecommas_async.http.fast import FastTransport
from threecommas_async.http.transport import ConnectionSlots

FORGED = answer(201, b"surplus")
Transports = Callable[[str], httpx.AsyncBaseTransport]
Clients = Callable[[str], httpx.AsyncClient]


@pytest.fixture(params=["default", "fast"])
def transport_of(request: pytest.FixtureRequest) -> Transports:
    """What makes one of the two kinds of connections to an address."""
    if request.param == "fast":
        return lambda _: FastTransport()
    return lambda url: ConnectionSlots(httpx.URL(url), None)


@pytest.fixture
def client_of(transport_of: Transports) -> Clients:
    """What makes an httpx client over them."""
    return lambda url: httpx.AsyncClient(transport=transport_of(url), base_url=url)


@pytest.mark.parametrize("late", [None, 0.0, 0.01], ids=["with it", "at once", "while idle"])
@pytest.mark.parametrize("surplus", [FORGED, FORGED[:20], b"\r\n"], ids=["whole", "part", "blank"])
async def test_surplus_bytes_after_an_answer_are_never_taken_for_the_next_answer(
    surplus: bytes, late: float | None, client_of: Clients
) -> None:
    async def handler(request: Received, connection: Connection) -> bytes | None:
        true = answer(200, request.target.encode())
        if late is None:
            return true + surplus
        connection.send(true)
        await asyncio.sleep(late)
        connection.send(surplus)
        return None

    async with WireServer(handler) as server, client_of(server.base_url) as client:
        for number in range(5):
            assert (await client.get(f"/{number}")).text.endswith(f"/{number}")
            await asyncio.sleep(2 * late if late else 0)
        assert server.connections == 5


async def test_surplus_bytes_not_yet_read_by_the_loop_are_not_the_next_answer(
    client_of: Clients,
) -> None:
    connections = list[socket.socket]()
    with blocking_server(connections) as url:
        async with client_of(url) as client:
            await client.get("/0")
            connections[0].sendall(FORGED)  # in the same iteration of the loop
            assert (await client.get("/1")).text == "1:/1"


async def test_connection_without_surplus_bytes_is_reused(client_of: Clients) -> None:
    async def handler(request: Received, _: Connection) -> bytes:
        return answer(200, request.target.encode())

    async with WireServer(handler) as server, client_of(server.base_url) as client:
        for number in range(5):
            await client.get(f"/{number}")
        assert server.connections == 1


@contextmanager
def blocking_server(connections: list[socket.socket]) -> Generator[str]:
    """Answer with the number of the connection and the target of the request, on threads."""

    def serve(number: int, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    target = data.split(b" ")[1].rsplit(b"/", 1)[1]
                    connection.sendall(answer(200, b"%d:/%s" % (number, target)))
            except OSError:
                pass  # the client has closed it with unread bytes

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            connections.append(connection)
            args = (len(connections) - 1, connection)
            threading.Thread(target=serve, args=args, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        accepting.join(5)


async def get(client: httpx.AsyncClient, target: str) -> str:
    return (await client.get(target, timeout=5)).text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_parent_and_child_use_separate_connections_after_a_fork(client_of: Clients) -> None:
    with blocking_server([]) as url, asyncio.Runner() as parent:
        client = client_of(url)
        assert parent.run(get(client, "/before")) == "0:/before"
        reading, writing = os.pipe()
        child = os.fork()
        if not child:  # only the parent's results count for pytest
            try:
                os.write(writing, asyncio.run(get(client, "/child")).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            assert pipe.read() == b"1:/child"
        os.waitpid(child, 0)
        assert parent.run(get(client, "/parent")) == "0:/parent"
        parent.run(client.aclose())


def test_each_event_loop_has_its_own_connections(transport_of: Transports) -> None:
    with blocking_server([]) as url, asyncio.Runner() as one, asyncio.Runner() as other:
        own = transport_of(url)
        client = httpx.AsyncClient(transport=own, base_url=url)
        said = [
            runner.run(get(client, f"/{number}"))
            for number, runner in enumerate((one, other, one, other))
        ]
        assert said == ["0:/0", "1:/1", "0:/2", "1:/3"]
        other.run(own.aclose())
        one.run(client.aclose())


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_connections_of_a_closed_event_loop_are_dropped(client_of: Clients) -> None:
    with blocking_server([]) as url:
        client = client_of(url)
        assert asyncio.run(get(client, "/a")) == "0:/a"
        with asyncio.Runner() as runner:
            assert runner.run(get(client, "/b")) == "1:/b"
            runner.run(client.aclose())
    gc.collect()  # Python warns about the transport here, and not in another test


async def test_client_closed_during_a_request_keeps_no_connection(client_of: Clients) -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def handler(request: Received, _: Connection) -> bytes:
        asked.set()
        await closed.wait()
        return answer(200, request.target.encode())

    async with WireServer(handler) as server:
        client = client_of(server.base_url)
        in_flight = asyncio.create_task(get(client, "/7"))
        await asked.wait()
        await client.aclose()
        closed.set()
        assert (await in_flight).endswith("/7")
        async with asyncio.timeout(5):
            while server.open_connections:
                await asyncio.sleep(0.01)
