"""What one command leaves for the next: without it, two of them together breach the limit."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, export
from threecommas_async.cli.pace import Pace, WatchedLimiter
from threecommas_async.endpoint import Priority
from threecommas_async.sandbox import Faults, RateLimit, Sandbox


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "threecommas-async" / "pace.json"


def left_in(file: Path) -> dict[str, Any]:
    left: dict[str, Any] = json.loads(file.read_text())
    return left


def leave(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


async def test_commands_one_after_the_other_keep_to_the_limit_together(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=4, rate_limit=RateLimit(requests=5)) as sandbox:
        export(monkeypatch, sandbox)
        for _ in range(2):
            await cli("trades", "list", "--rate-limit", 5)

        command = ("trades", "close", *sandbox.trade_ids, "--yes", "--json", "--rate-limit", 5)
        ran = await cli(*command, "--deadline", 0.5)
        again = await cli(*command, "--deadline", 0.5)

        assert ran.data["counts"] == {"accepted": 3, "not_sent": 1}
        assert again.data["counts"] == {"not_sent": 4}
        assert "Earlier commands have used up the rate limit for" in again.err
        assert not sandbox.ledger.breaches


async def test_a_command_does_not_run_into_a_refusal_that_another_has_met(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(early_429_text=1.0, block=300.0)
    async with Sandbox(trades=1, faults=faults) as sandbox:
        export(monkeypatch, sandbox)
        command = ("trades", "close", *sandbox.trade_ids, "--yes", "--json", "--deadline", 0.5)
        await cli(*command)
        ran = await cli(*command)

        assert ran.status == 1
        assert ran.data["counts"] == {"not_sent": 1}
        assert "3Commas has refused this key for another" in ran.err
        assert len(sandbox.ledger.requests) == 1


async def test_another_key_has_a_limit_of_its_own(cli: Run, sandbox: Sandbox, file: Path) -> None:
    await cli("trades", "list")
    (pace,) = left_in(file).values()
    leave(file, json.dumps({"another": pace}))

    await cli("trades", "list", "--rate-limit", 1)

    assert len(left_in(file)) == 2


async def test_neither_key_nor_address_can_be_read_from_what_is_left(
    cli: Run, sandbox: Sandbox, file: Path
) -> None:
    await cli("trades", "list")

    left = str(left_in(file))
    assert sandbox.api_key not in left
    assert sandbox.secret not in left
    assert "127.0.0.1" not in left


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a": 1}', '{"a": {}}', '{"a": {"sent": ["x"], "blocked_until": 0}}']
)
async def test_what_cannot_be_understood_is_done_without(
    cli: Run, sandbox: Sandbox, file: Path, text: str
) -> None:
    leave(file, text)

    ran = await cli("trades", "list")

    assert (ran.status, ran.err) == (0, "")
    assert len(left_in(file)) == 1


async def test_where_nothing_can_be_left_the_command_runs_all_the_same(
    cli: Run, sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")

    assert (await cli("trades", "list")).status == 0


async def test_without_a_home_nothing_is_left_just_anywhere(
    cli: Run, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "somewhere")

    assert (await cli("trades", "list")).status == 0
    assert not (tmp_path / "somewhere").exists()


async def test_a_command_that_sends_nothing_leaves_nothing(
    cli: Run, sandbox: Sandbox, file: Path
) -> None:
    await cli("trades", "close", 1, "--yes", "--deadline", 0)

    assert not list(file.parent.parent.glob("*"))


async def test_what_is_over_is_forgotten(cli: Run, sandbox: Sandbox, file: Path) -> None:
    old = {"sent": [time.time() - 61, time.time() + 3600], "blocked_until": time.time() - 1}
    leave(file, json.dumps({"another": old}))

    await cli("trades", "list")

    assert "another" not in left_in(file)


def test_what_two_commands_leave_adds_up() -> None:
    assert Pace((1.0, 3.0), 5.0).joined(Pace((2.0, 3.0), 4.0)) == Pace((1.0, 2.0, 3.0), 5.0)


def test_a_clock_that_was_set_back_is_no_reason_to_forget() -> None:
    assert Pace((95.0, 105.0, 200.0)).since(100.0) == Pace((95.0, 105.0))


def test_a_refusal_longer_than_any_is_not_believed() -> None:
    assert Pace((), 1e12).since(100.0) is None
    assert Pace((), 200.0).since(100.0) == Pace((), 200.0)
    assert Pace((99.0,), 50.0).since(100.0) == Pace((99.0,))


@pytest.mark.looptime
async def test_slots_come_free_as_if_the_requests_had_been_its_own() -> None:
    limiter = WatchedLimiter(limit=2)
    await limiter.recall(Pace((time.time() - 50, time.time() - 20)))

    assert limiter.seconds_until_sent(1) == pytest.approx(10, abs=1)
    assert limiter.seconds_until_sent(2) == pytest.approx(40, abs=1)
    await limiter.release(await limiter.acquire(Priority.CLOSE), sent=False)
    assert limiter.pace() == Pace()
