"""The rate limit is shared between consecutive commands through a file."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import RunCommand, export
from threecommas_async.cli.limiter import RateLimitState, TrackingLimiter
from threecommas_async.endpoint import Priority
from threecommas_async.sandbox import Faults, RateLimit, Sandbox


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "threecommas-async" / "pace.json"


def stored(file: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(file.read_text())
    return data


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


async def test_consecutive_commands_share_the_rate_limit(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=4, rate_limit=RateLimit(requests=5)) as sandbox:
        export(monkeypatch, sandbox)
        # Two requests: a page, and the empty one that ends the list.
        await cli("trades", "list", "--rate-limit", 5)

        command = ("trades", "close", *sandbox.trade_ids, "--yes", "--json", "--rate-limit", 5)
        result = await cli(*command, "--deadline", 0.5)
        again = await cli(*command, "--deadline", 0.5)

        assert result.data["counts"] == {"accepted": 3, "not_sent": 1}
        assert again.data["counts"] == {"not_sent": 4}
        assert "Earlier commands have used up the rate limit for" in again.err
        assert not sandbox.ledger.breaches


async def test_block_met_by_one_command_holds_for_the_next(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(early_429_text=1.0, block=300.0)
    async with Sandbox(trades=1, faults=faults) as sandbox:
        export(monkeypatch, sandbox)
        command = ("trades", "close", *sandbox.trade_ids, "--yes", "--json", "--deadline", 0.5)
        await cli(*command)
        result = await cli(*command)

        assert result.status == 1
        assert result.data["counts"] == {"not_sent": 1}
        assert "3Commas has refused this key for another" in result.err
        assert len(sandbox.ledger.requests) == 1


async def test_each_key_has_its_own_rate_limit(
    cli: RunCommand, sandbox: Sandbox, file: Path
) -> None:
    await cli("trades", "list")
    (state,) = stored(file).values()
    write(file, json.dumps({"another": state}))

    await cli("trades", "list", "--rate-limit", 2)

    assert len(stored(file)) == 2


async def test_file_reveals_neither_key_nor_address(
    cli: RunCommand, sandbox: Sandbox, file: Path
) -> None:
    await cli("trades", "list")

    content = str(stored(file))
    assert sandbox.api_key not in content
    assert sandbox.secret not in content
    assert "127.0.0.1" not in content


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a": 1}', '{"a": {}}', '{"a": {"sent": ["x"], "blocked_until": 0}}']
)
async def test_malformed_file_is_ignored_and_replaced(
    cli: RunCommand, sandbox: Sandbox, file: Path, text: str
) -> None:
    write(file, text)

    result = await cli("trades", "list")

    assert (result.status, result.err) == (0, "")
    assert len(stored(file)) == 1


async def test_command_runs_when_the_file_cannot_be_written(
    cli: RunCommand, sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")

    assert (await cli("trades", "list")).status == 0


async def test_no_file_is_written_under_a_relative_path(
    cli: RunCommand, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "somewhere")

    assert (await cli("trades", "list")).status == 0
    assert not (tmp_path / "somewhere").exists()


async def test_command_that_sends_nothing_writes_no_file(
    cli: RunCommand, sandbox: Sandbox, file: Path
) -> None:
    await cli("trades", "close", 1, "--yes", "--deadline", 0)

    assert not list(file.parent.parent.glob("*"))


async def test_expired_entries_are_removed(cli: RunCommand, sandbox: Sandbox, file: Path) -> None:
    old = {"sent": [time.time() - 61, time.time() + 3600], "blocked_until": time.time() - 1}
    write(file, json.dumps({"another": old}))

    await cli("trades", "list")

    assert "another" not in stored(file)


def test_merging_keeps_the_requests_of_both_and_the_later_block() -> None:
    assert RateLimitState((1.0, 3.0), 5.0).merged(
        RateLimitState((2.0, 3.0), 4.0)
    ) == RateLimitState((1.0, 2.0, 3.0), 5.0)


def test_requests_survive_a_clock_that_was_set_back() -> None:
    assert RateLimitState((95.0, 105.0, 200.0)).pruned(100.0) == RateLimitState((95.0, 105.0))


def test_implausibly_long_block_is_dropped() -> None:
    assert RateLimitState((), 1e12).pruned(100.0) is None
    assert RateLimitState((), 200.0).pruned(100.0) == RateLimitState((), 200.0)
    assert RateLimitState((99.0,), 50.0).pruned(100.0) == RateLimitState((99.0,))


@pytest.mark.looptime
async def test_restored_requests_occupy_slots_until_they_expire() -> None:
    limiter = TrackingLimiter(limit=2)
    await limiter.restore(RateLimitState((time.time() - 50, time.time() - 20)))

    assert limiter.seconds_until_sent(1) == pytest.approx(10, abs=1)
    assert limiter.seconds_until_sent(2) == pytest.approx(40, abs=1)
    await limiter.release(await limiter.acquire(Priority.CLOSE), sent=False)
    assert limiter.state() == RateLimitState()
