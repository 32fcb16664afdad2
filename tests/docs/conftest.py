"""A sandbox in a thread of its own, and an environment in which the examples reach it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from threecommas_async.closing import confirm as confirming
from threecommas_async.sandbox import Sandbox

SPEED = 100.0
"""The sandbox's clock, on which closing takes its time, runs so many times as fast."""


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Serve 20 open trades and a bot's deals to whoever asks the environment where 3Commas is."""
    _keep_to_loopback(monkeypatch)
    # On a clock this fast everything is closed long before the first look of `confirm=True`.
    defaults = confirming.watch.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "pause", 0.05)
    with _served(Sandbox(trades=20, pending=2, deals=3, time_scale=SPEED)) as sandbox:
        monkeypatch.setenv("THREECOMMAS_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("THREECOMMAS_API_KEY", sandbox.api_key)
        monkeypatch.setenv("THREECOMMAS_API_SECRET", sandbox.secret)
        monkeypatch.delenv("THREECOMMAS_PRIVATE_KEY", raising=False)
        monkeypatch.delenv("THREECOMMAS_MODE", raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield sandbox


@contextmanager
def _served(sandbox: Sandbox) -> Generator[Sandbox]:
    """Run a sandbox beside the test: the examples call `asyncio.run` themselves."""
    serving = threading.Event()
    ends: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        end = asyncio.Event()
        async with sandbox:
            ends.append((asyncio.get_running_loop(), end))
            serving.set()
            await end.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="sandbox")
    thread.start()
    try:
        assert serving.wait(10), "the sandbox did not start"
        yield sandbox
    finally:
        for loop, end in ends:
            loop.call_soon_threadsafe(end.set)
        thread.join(10)


def _keep_to_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no example reach the real 3Commas, whatever it says."""
    look_up = socket.getaddrinfo

    def only_loopback(host: Any, *arguments: Any, **options: Any) -> Any:
        assert host in {"127.0.0.1", b"127.0.0.1"}, f"an example asked for {host!r}"
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", only_loopback)
