"""`threecommas demo` and `threecommas sandbox`."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.cli.conftest import Result, RunCommand
from threecommas_async import (
    AsyncClient,
    CloseBatch,
    CloseOutcome,
    CloseReport,
    CloseState,
    SmartTrade,
)
from threecommas_async.cli import sandbox_commands
from threecommas_async.cli.app import run
from threecommas_async.cli.audit import audit
from threecommas_async.cli.faults import faults_table
from threecommas_async.cli.output import Output
from threecommas_async.resources.smart_trades import SmartTrades
from threecommas_async.sandbox import Fault, Sandbox

# Seeds with many kinds of faults but no silence, which would take long.
SEED_FOR_4, SEED_FOR_40 = ("--seed", 9), ("--seed", 13)


async def test_demo_closes_all_trades_and_the_ledger_agrees(cli: RunCommand) -> None:
    result = await cli("demo", "--trades", 12, "--json")

    assert result.status == 0
    assert result.data["ok"] is True
    assert result.data["counts"] == {"accepted": 12}
    assert len(result.data["outcomes"]) == 12
    assert result.data["ledger"] == {
        "agrees": True,
        "contradictions": [],
        "carried_out": 12,
        "sent_again_after_acceptance": 0,
        "refused_429": 0,
        "requests": 14,
        "busiest_window": 14,
        "limit": 100,
        "peak_connections": 12,
        "faults": {},
    }


async def test_demo_shows_outcomes_next_to_the_ledger(cli: RunCommand) -> None:
    result = await cli("demo", "--trades", 3, "--seed", 8, "--real-time")

    assert result.status == 0
    assert "3 of 3 closing or closed" in result.out
    assert "held against the ledger of the server" in result.out
    assert "WRONG" not in result.out
    assert "100 requests per 60 s" in result.err
    assert "3 of 3 trades closed in" in result.err


async def test_demo_stays_within_the_rate_limit_over_several_windows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = await sandbox_commands.run_demo(Output(as_json=True), trades=150, seed=7, speed=60.0)

    captured = capsys.readouterr()
    data = Result(status, captured.out, captured.err).data
    assert status == 0
    assert data["counts"] == {"accepted": 150}
    assert data["ledger"]["refused_429"] == 0
    assert data["ledger"]["busiest_window"] <= 100


async def test_demo_fails_when_not_all_trades_are_closed(
    monkeypatch: pytest.MonkeyPatch, cli: RunCommand
) -> None:
    close_many = SmartTrades.close_many

    def close_half(
        trades: SmartTrades, ids: Sequence[int], **options: Any
    ) -> CloseBatch[SmartTrade]:
        return close_many(trades, ids[::2], **options)

    monkeypatch.setattr(SmartTrades, "close_many", close_half)

    result = await cli("demo", "--trades", 4, "--json")

    assert result.status == 1
    assert result.data["ok"] is False


async def wait_for_message(
    capsys: pytest.CaptureFixture[str], task: asyncio.Task[int], text: str
) -> Result:
    """Wait until a command has printed `text` to standard error; return all output so far."""
    out = err = ""
    while text not in err:
        assert not task.done()
        await asyncio.sleep(0.01)
        captured = capsys.readouterr()
        out, err = out + captured.out, err + captured.err
    return Result(0, out, err)


async def test_interrupted_demo_prints_the_report_so_far(
    capsys: pytest.CaptureFixture[str],
) -> None:
    running = asyncio.create_task(run(["demo", "--trades", "150", "--json"]))
    await wait_for_message(capsys, running, "The market turns")
    await asyncio.sleep(0.3)  # two requests list, 98 close, the rest wait for the next window

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    captured = capsys.readouterr()
    data = Result(130, captured.out, captured.err).data
    assert data["ok"] is False
    assert len(data["outcomes"]) == 150
    assert data["counts"]["not_sent"] >= 52
    assert data["ledger"]["agrees"] is True


async def test_demo_with_faults_closes_every_trade_exactly_once(cli: RunCommand) -> None:
    result = await cli("demo", "--trades", 40, "--faults", 0.6, *SEED_FOR_40, "--json")

    ledger = result.data["ledger"]
    assert result.status == 0
    assert result.data["ok"] is True
    assert ledger["carried_out"] == 40
    assert ledger["contradictions"] == []
    assert ledger["sent_again_after_acceptance"] == 0
    assert ledger["requests"] > 41
    assert {fault.partition("_")[2] for fault in ledger["faults"]} >= {"before", "after"}
    assert sum(ledger["faults"].values()) > 10


async def test_demo_shows_injected_faults_before_and_after_the_close(cli: RunCommand) -> None:
    result = await cli("demo", "--trades", 4, "--faults", 1, *SEED_FOR_4)

    assert result.status == 0
    assert "100% of the closes meet a fault" in result.err
    assert "answers lost" in result.err
    assert "faults injected" in result.out
    assert "after the close had been carried out" in result.out
    assert "before" in result.out
    assert "closes sent again after being accepted" in result.out
    assert "WRONG" not in result.out
    assert "4 of 4 trades closed in" in result.err
    assert "faults.\n" in result.err


async def test_demo_without_faults_mentions_none(cli: RunCommand) -> None:
    result = await cli("demo", "--trades", 2)

    assert "fault" not in result.out + result.err


def test_faults_table_counts_before_and_after_separately(
    capsys: pytest.CaptureFixture[str],
) -> None:
    faults = {Fault.RESET_BEFORE: 3, Fault.RESET_AFTER: 4, Fault.GARBAGE_AFTER: 5}

    Output().result(None, faults_table(faults))

    out = capsys.readouterr().out
    rows = {words[0]: words for line in out.splitlines() if (words := line.split())}
    assert "12 faults injected, 9 of them after the close had been carried out" in out
    assert rows["reset"][-2:] == ["3", "4"]
    assert rows["garbage"][-2:] == ["JSON", "5"]
    assert rows["all"] == ["all", "3", "9"]
    assert "silence" not in rows


async def close_trades(sandbox: Sandbox, ids: Sequence[int]) -> None:
    async with AsyncClient(
        sandbox.api_key, secret=sandbox.secret, base_url=sandbox.base_url
    ) as client:
        await client.smart_trades.close_many(ids)


def report_of(**states: CloseState) -> CloseReport[SmartTrade]:
    return CloseReport(
        tuple(CloseOutcome[SmartTrade](int(name[1:]), state) for name, state in states.items())
    )


async def test_audit_finds_outcomes_that_contradict_the_ledger() -> None:
    async with Sandbox(trades=4) as sandbox:
        one, two, three, four = sandbox.trade_ids
        await close_trades(sandbox, [one, two])
        report = report_of(
            **{
                f"t{one}": CloseState.ACCEPTED,
                f"t{two}": CloseState.NOT_SENT,
                f"t{three}": CloseState.CLOSED,
                f"t{four}": CloseState.REJECTED,
            }
        )

        found = audit(report, sandbox.ledger, limit=100)

    assert found.contradictions == (two, three)
    assert not found.ok


async def test_unknown_outcomes_are_no_contradiction() -> None:
    async with Sandbox(trades=2) as sandbox:
        one, two = sandbox.trade_ids
        await close_trades(sandbox, [one])
        report = report_of(**{f"t{one}": CloseState.UNKNOWN, f"t{two}": CloseState.UNKNOWN})

        found = audit(report, sandbox.ledger, limit=100)

    assert found.contradictions == ()
    assert not found.ok


async def test_audit_counts_repeated_closes(capsys: pytest.CaptureFixture[str]) -> None:
    async with Sandbox(trades=1) as sandbox:
        await close_trades(sandbox, sandbox.trade_ids)
        await close_trades(sandbox, sandbox.trade_ids)
        report = report_of(**{f"t{sandbox.trade_ids[0]}": CloseState.ACCEPTED})

        found = audit(report, sandbox.ledger, limit=100)

    Output().result(None, found.table())
    assert found.contradictions == ()
    assert found.repeated == 1
    assert not found.ok
    assert "WRONG" in capsys.readouterr().out


async def wait_until_served(capsys: pytest.CaptureFixture[str], task: asyncio.Task[int]) -> Result:
    """Wait until a sandbox has printed all of its first messages."""
    return await wait_for_message(capsys, task, " ends it.")


def apply_exports(monkeypatch: pytest.MonkeyPatch, started: Result) -> None:
    """Set the environment variables that the printed export lines would set."""
    for line in started.out.splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        monkeypatch.setenv(name, value)


async def test_printed_exports_configure_the_client_for_the_sandbox(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cli: RunCommand
) -> None:
    task = asyncio.create_task(run(["sandbox", "--trades", "2"]))
    started = await wait_until_served(capsys, task)
    apply_exports(monkeypatch, started)

    result = await cli("trades", "list", "--json")
    task.cancel()

    assert len(result.data) == 2
    assert "SlidingWindowLimiter" not in started.err
    assert await task == 0
    assert "Served 2 requests; 0 trades were closed, 0 requests were refused" in (
        capsys.readouterr().err
    )


async def test_sandbox_json_has_address_and_key(
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = asyncio.create_task(run(["sandbox", "--json", "--time-scale", "10"]))
    started = await wait_until_served(capsys, task)
    task.cancel()

    assert await task == 0
    assert set(started.data) == {
        "THREECOMMAS_API_KEY",
        "THREECOMMAS_API_SECRET",
        "THREECOMMAS_BASE_URL",
    }
    assert "SlidingWindowLimiter(100, 6, 30)" in started.err


async def test_sandbox_has_the_requested_entities_and_reports_what_it_served(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cli: RunCommand
) -> None:
    arguments = ["--trades", "1", "--pending", "2", "--deals", "3", "--fault", "reset-after=1"]
    task = asyncio.create_task(run(["sandbox", *arguments]))
    started = await wait_until_served(capsys, task)
    apply_exports(monkeypatch, started)

    closed = await cli("trades", "close-all", "--yes")
    task.cancel()

    assert await task == 0
    assert (
        "1 SmartTrades are open, 2 more are not entered, bot 7001 has 3 deals open." in started.err
    )
    assert closed.status == 0
    end = capsys.readouterr().err
    assert "1 trades and 0 deals were closed" in end
    assert "1 faults were injected: 1 reset_after." in end
    assert "sent again" not in end


async def test_sandbox_reads_lag_behind_closes_with_read_lag(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cli: RunCommand
) -> None:
    arguments = ["--trades", "1", "--time-scale", "10", "--fault", "read-lag=900"]
    task = asyncio.create_task(run(["sandbox", *arguments]))
    apply_exports(monkeypatch, await wait_until_served(capsys, task))

    (trade,) = (await cli("trades", "list", "--json")).data
    await cli("trades", "close", trade["id"], "--yes")
    shown = await cli("trades", "show", trade["id"], "--json")
    task.cancel()

    assert await task == 0
    assert shown.data["status"]["basic_type"] == "waiting_targets"
    assert "1 faults were injected: 1 read_lag." in capsys.readouterr().err


async def test_sandbox_reports_repeated_closes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cli: RunCommand
) -> None:
    task = asyncio.create_task(run(["sandbox", "--trades", "1"]))
    apply_exports(monkeypatch, await wait_until_served(capsys, task))
    (trade,) = (await cli("trades", "list", "--json")).data

    for _ in range(2):
        await cli("trades", "close", trade["id"], "--yes")
    task.cancel()

    assert await task == 0
    assert "Closes sent again after being accepted: 1." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("--fault bad_weather=0.1", "no such kind of fault"),
        ("--fault ban", "takes a rate"),
        ("--fault ban=often", "takes a rate"),
        ("--fault read_lag", "takes seconds"),
        ("--fault read_lag=-1", "'read_lag' must be >= 0"),
        ("--fault wrong_id_before=0.6 --fault drip_after=0.6", "must not exceed 1"),
        ("--fault ban=2", "'ban' must be <= 1"),
        ("--fault ban=nan", "'ban' must be"),
        ("--faults 0.8 --fault ban=0.3", "must not exceed 1"),
        ("--faults 1.5", "--faults"),
    ],
)
async def test_invalid_faults_are_a_usage_error(cli: RunCommand, arguments: str, why: str) -> None:
    result = await cli("sandbox", *arguments.split())

    assert result.status == 2
    assert why in result.err
    assert result.err.count("\n") == 1


async def test_sandbox_help_names_every_fault(cli: RunCommand) -> None:
    result = await cli("sandbox", "--help")

    assert [fault.value for fault in Fault if fault.value not in result.out] == []
