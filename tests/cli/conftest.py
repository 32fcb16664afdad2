"""A sandbox on a real socket, and the command line run as a person would, minus the terminal."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
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


@pytest.fixture(autouse=True)
def no_keys_around(monkeypatch: pytest.MonkeyPatch) -> None:
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
    """Three open trades and one whose entry is not filled; the environment has the key."""
    async with Sandbox(trades=3, pending=1, seed=7, close_delay=(900.0, 900.0)) as sandbox:
        export(monkeypatch, sandbox)
        yield sandbox


def export(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    monkeypatch.setenv("THREECOMMAS_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("THREECOMMAS_API_KEY", sandbox.api_key)
    monkeypatch.setenv("THREECOMMAS_API_SECRET", sandbox.secret)
