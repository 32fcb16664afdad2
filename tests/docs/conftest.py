"""A sandbox in a thread of its own, and an environment in which the examples reach it."""

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
"""The sandbox's clock, on which closing takes its time, runs so many times as fast."""
HURRY = 10.0
"""The clock of the event loops on which the examples wait runs so many times as fast."""


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Serve 20 open trades and a bot's deals to whoever asks the environment where 3Commas is."""
    _keep_to_loopback(monkeypatch)
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

    def run() -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run, name="sandbox")
    thread.start()
    try:
        assert serving.wait(10), "the sandbox did not start"
        yield sandbox
    finally:
        for loop, end in ends:
            loop.call_soon_threadsafe(end.set)
        thread.join(10)


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the examples wait on a fast clock for what is closed long before they look again."""
    monkeypatch.setattr(asyncio.events, "new_event_loop", _Hurried)


class _Hurried(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__(_HurriedSelector())

    def time(self) -> float:
        return super().time() * HURRY


class _HurriedSelector(selectors.DefaultSelector):
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout and timeout / HURRY)


def _keep_to_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no example reach the real 3Commas, whatever it says."""
    look_up = socket.getaddrinfo

    def only_loopback(host: Any, *arguments: Any, **options: Any) -> Any:
        assert host in {"127.0.0.1", b"127.0.0.1"}, f"an example asked for {host!r}"
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", only_loopback)
