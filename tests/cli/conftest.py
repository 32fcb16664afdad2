"""Fixtures: a sandbox on a real socket, and functions that run commands in this process."""

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
class Result:
    """Exit status and output of a command."""

    status: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


RunCommand = Callable[..., Awaitable[Result]]


class Terminal(io.StringIO):
    """A standard stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Provide an environment without keys, an empty cache folder, and a capable terminal."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("API_KEY", "API_SECRET", "PRIVATE_KEY", "BASE_URL", "MODE"):
        monkeypatch.delenv(f"THREECOMMAS_{name}", raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> RunCommand:
    async def run_command(*arguments: object) -> Result:
        status = await run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return run_command


@pytest.fixture
async def sandbox(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sandbox]:
    """Serve three open trades, a pending one and three deals; set its key in the environment."""
    async with Sandbox(trades=3, pending=1, deals=3, close_delay=(900.0, 900.0)) as sandbox:
        export(monkeypatch, sandbox)
        yield sandbox


def export(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    monkeypatch.setenv("THREECOMMAS_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("THREECOMMAS_API_KEY", sandbox.api_key)
    monkeypatch.setenv("THREECOMMAS_API_SECRET", sandbox.secret)


def count_closes(sandbox: Sandbox) -> int:
    return sum(request.closes for request in sandbox.ledger.requests)


InterruptCommand = Callable[..., Awaitable[Result]]


@pytest.fixture
def run_interrupted(capsys: pytest.CaptureFixture[str]) -> InterruptCommand:
    """Return a function that runs a command and cancels it once a condition holds."""

    async def run_until(until: Callable[[], bool], *arguments: object) -> Result:
        running = asyncio.create_task(run([str(argument) for argument in arguments]))
        while not until():
            assert not running.done()
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # let the client receive the answers that the ledger has recorded
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        captured = capsys.readouterr()
        return Result(130, captured.out, captured.err)

    return run_until
