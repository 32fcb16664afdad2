"""A sandbox on a real socket, and the command line run as a person would, minus the terminal."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from threecommas_async.cli.app import run
from threecommas_async.sandbox import Sandbox


@frozen
class Ran:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Awaitable[Ran]]


class Terminal(io.StringIO):
    """A standard stream with a person at it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key in the environment, nothing left by earlier commands, a terminal that can draw."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("API_KEY", "API_SECRET", "PRIVATE_KEY", "BASE_URL", "MODE"):
        monkeypatch.delenv(f"THREECOMMAS_{name}", raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Run:
    async def ran(*arguments: object) -> Ran:
        status = await run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return ran


@pytest.fixture
async def sandbox(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sandbox]:
    """Three trades, one more that is not entered, three deals; the environment has the key."""
    async with Sandbox(trades=3, pending=1, deals=3, close_delay=(900.0, 900.0)) as sandbox:
        export(monkeypatch, sandbox)
        yield sandbox


def export(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    monkeypatch.setenv("THREECOMMAS_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("THREECOMMAS_API_KEY", sandbox.api_key)
    monkeypatch.setenv("THREECOMMAS_API_SECRET", sandbox.secret)


def closes(sandbox: Sandbox) -> int:
    return sum(request.closes for request in sandbox.ledger.requests)


Interrupt = Callable[..., Awaitable[Ran]]


@pytest.fixture
def interrupted(capsys: pytest.CaptureFixture[str]) -> Interrupt:
    """Runs a command until something is so, then interrupts it as Ctrl-C does."""

    async def ran(until: Callable[[], bool], *arguments: object) -> Ran:
        running = asyncio.create_task(run([str(argument) for argument in arguments]))
        while not until():
            assert not running.done()
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # what the ledger has seen is also answered by now
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        captured = capsys.readouterr()
        return Ran(130, captured.out, captured.err)

    return ran
