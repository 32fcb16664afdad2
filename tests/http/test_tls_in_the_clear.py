"""Bytes received in plain text before the TLS handshake are never accepted."""

import asyncio
import gc
import importlib.util
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.http.conftest import certificate
from tests.support import KEY, SECRET
from threecommas_async import AsyncClient, RequestNotSentError, RetryPolicy

FORGED = (
    b'HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"id": 7}'
)
Loop = Callable[[], asyncio.AbstractEventLoop]


def uvloop() -> asyncio.AbstractEventLoop:
    import uvloop as package  # noqa: PLC0415 - not on Windows

    return package.new_event_loop()


on_both_loops = pytest.mark.parametrize(
    "loop",
    [
        pytest.param(asyncio.new_event_loop, id="asyncio"),
        pytest.param(
            uvloop,
            id="uvloop",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed"
            ),
        ),
    ],
)


class PlainTextForger:
    """Forges an answer in plain text, then completes the handshake as the real server."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._forge, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _forge(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(FORGED)
        try:
            await writer.start_tls(self._tls)
            await asyncio.sleep(0.2)  # the real server has not answered: any answer is forged
        except (OSError, RuntimeError):
            pass
        finally:
            writer.transport.abort()

    async def __aexit__(self, *_: object) -> None:
        self._server.close()


@on_both_loops
def test_plain_text_answer_before_tls_is_never_accepted(loop: Loop, tls: ssl.SSLContext) -> None:
    async def close(client: AsyncClient, trade_id: int) -> object:
        try:
            return await client.smart_trades.close_by_market(trade_id)
        except RequestNotSentError:
            return "not sent"

    async def main() -> list[object]:
        async with (
            PlainTextForger(tls) as port,
            AsyncClient(
                KEY,
                secret=SECRET,
                base_url=f"https://localhost:{port}/public/api",
                retry=RetryPolicy(attempts=1),
                timeout=5.0,
                rate_limiter=None,
            ) as client,
        ):
            return await asyncio.gather(*(close(client, i) for i in range(120)))

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(main()) == ["not sent"] * 120


@on_both_loops
@pytest.mark.skipif(sys.platform != "linux", reason="counts the open files in /proc")
def test_failed_or_abandoned_handshake_leaves_no_socket_open(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = certificate(tmp_path)

    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def ignore(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        pass

    async def main(silent: socket.socket) -> None:
        silent_port: int = silent.getsockname()[1]
        server = await asyncio.start_server(ignore, "127.0.0.1", 0, ssl=tls)
        port: int = server.sockets[0].getsockname()[1]
        before = open_files()
        gc.disable()  # sockets must be closed by the client, not by the garbage collector
        try:
            for wrong in (port, silent_port):
                url = f"https://localhost:{wrong}/public/api"
                async with AsyncClient(KEY, secret=SECRET, base_url=url, timeout=0.05) as client:
                    attempts = [
                        asyncio.create_task(client.smart_trades.get(i, deadline=0.2))
                        for i in range(1, 4)
                    ]
                    ended = await asyncio.gather(*attempts, return_exceptions=True)
                assert all(isinstance(error, RequestNotSentError) for error in ended)
            async with asyncio.timeout(5):
                while open_files() > before:
                    await asyncio.sleep(0.01)  # closing takes an iteration of the loop
        finally:
            gc.enable()
        server.close()

    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        asyncio.Runner(loop_factory=loop) as runner,
    ):
        runner.run(main(silent))
