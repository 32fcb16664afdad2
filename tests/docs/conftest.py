"""Fixtures: a sandbox in its own thread, its key in the environment, and a faster clock."""

from __future__ import annotations

import asyncio
import selectors
import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from threecommas_async.sandbox import Sandbox

SPEED = 100.0
"""Factor by which the sandbox's clock is faster than real time."""
LOOP_SPEED = 10.0
"""Factor by which the clock of the examples' event loops is faster than real time."""


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Serve 20 open trades, two pending and three deals; set the key in the environment."""
    _allow_only_loopback(monkeypatch)
    with _running(Sandbox(trades=20, pending=2, deals=3, time_scale=SPEED)) as sandbox:
        monkeypatch.setenv("THREECOMMAS_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("THREECOMMAS_API_KEY", sandbox.api_key)
        monkeypatch.setenv("THREECOMMAS_API_SECRET", sandbox.secret)
        monkeypatch.delenv("THREECOMMAS_PRIVATE_KEY", raising=False)
        monkeypatch.delenv("THREECOMMAS_MODE", raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield sandbox


@contextmanager
def _running(sandbox: Sandbox) -> Generator[Sandbox]:
    """Run a sandbox in a thread: the examples call `asyncio.run` themselves."""
    started = threading.Event()
    stop_events: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        async with sandbox:
            stop_events.append((asyncio.get_running_loop(), stop))
            started.set()
            await stop.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run, name="sandbox")
    thread.start()
    try:
        assert started.wait(10), "the sandbox did not start"
        yield sandbox
    finally:
        for loop, stop in stop_events:
            loop.call_soon_threadsafe(stop.set)
        thread.join(10)


def speed_up_event_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits between reads: the sandbox closes trades much sooner."""
    monkeypatch.setattr(asyncio.events, "new_event_loop", _FastEventLoop)


class _FastEventLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__(_FastSelector())

    def time(self) -> float:
        return super().time() * LOOP_SPEED


class _FastSelector(selectors.DefaultSelector):
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout and timeout / LOOP_SPEED)


def _allow_only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevent examples from connecting to the real 3Commas."""
    getaddrinfo = socket.getaddrinfo

    def only_loopback(host: Any, *arguments: Any, **options: Any) -> Any:
        assert host in {"127.0.0.1", b"127.0.0.1"}, f"an example asked for {host!r}"
        return getaddrinfo(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", only_loopback)
