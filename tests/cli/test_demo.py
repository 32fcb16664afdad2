"""`threecommas demo` and `threecommas sandbox`."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.cli.conftest import Ran, Run
from threecommas_async import (
    AsyncClient,
    CloseBatch,
    CloseOutcome,
    CloseReport,
    CloseState,
    SmartTrade,
)
from threecommas_async.cli import demo as demos
from threecommas_async.cli.app import run
from threecommas_async.cli.audit import audit
from threecommas_async.cli.faults import faults_table
from threecommas_async.cli.screen import Screen
from threecommas_async.resources.smart_trades import SmartTrades
from threecommas_async.sandbox import Fault, Sandbox

# Seeds of faults of many kinds, and no long silence among them.
SWIFT_4, SWIFT_40 = ("--seed", 9), ("--seed", 13)


async def test_the_demo_closes_everything_and_the_ledger_agrees(cli: Run) -> None:
    ran = await cli("demo", "--trades", 12, "--json")

    assert ran.status == 0
    assert ran.data["ok"] is True
    assert ran.data["counts"] == {"accepted": 12}
    assert len(ran.data["outcomes"]) == 12
    assert ran.data["ledger"] == {
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


async def test_the_demo_shows_outcomes_and_ledger_side_by_side(cli: Run) -> None:
    ran = await cli("demo", "--trades", 3, "--seed", 8, "--real-time")

    assert ran.status == 0
    assert "3 of 3 closing or closed" in ran.out
    assert "held against the ledger of the server" in ran.out
    assert "WRONG" not in ran.out
    assert "100 requests per 60 s" in ran.err
    assert "3 of 3 trades closed in" in ran.err


async def test_the_demo_keeps_to_the_limit_over_several_windows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = await demos.demo(Screen(as_json=True), trades=150, seed=7, speed=60.0)

    captured = capsys.readouterr()
    data = Ran(status, captured.out, captured.err).data
    assert status == 0
    assert data["counts"] == {"accepted": 150}
    assert data["ledger"]["refused_429"] == 0
    assert data["ledger"]["busiest_window"] <= 100


async def test_the_demo_fails_when_not_everything_is_closed(
    monkeypatch: pytest.MonkeyPatch, cli: Run
) -> None:
    close_many = SmartTrades.close_many

    def half(trades: SmartTrades, ids: Sequence[int], **options: Any) -> CloseBatch[SmartTrade]:
        return close_many(trades, ids[::2], **options)

    monkeypatch.setattr(SmartTrades, "close_many", half)

    ran = await cli("demo", "--trades", 4, "--json")

    assert ran.status == 1
    assert ran.data["ok"] is False


async def said(capsys: pytest.CaptureFixture[str], task: asyncio.Task[int], text: str) -> Ran:
    """Wait until a command has said something, and return all it has said by then."""
    out = err = ""
    while text not in err:
        assert not task.done()
        await asyncio.sleep(0.01)
        captured = capsys.readouterr()
        out, err = out + captured.out, err + captured.err
    return Ran(0, out, err)


async def test_an_interrupted_demo_tells_the_truth_so_far(
    capsys: pytest.CaptureFixture[str],
) -> None:
    running = asyncio.create_task(run(["demo", "--trades", "150", "--json"]))
    await said(capsys, running, "The market turns")
    await asyncio.sleep(0.3)  # two requests list, 98 close, the rest wait for six seconds

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    captured = capsys.readouterr()
    data = Ran(130, captured.out, captured.err).data
    assert data["ok"] is False
    assert len(data["outcomes"]) == 150
    assert data["counts"]["not_sent"] >= 52
    assert data["ledger"]["agrees"] is True


async def test_a_hostile_demo_closes_everything_once_all_the_same(cli: Run) -> None:
    ran = await cli("demo", "--trades", 40, "--faults", 0.6, *SWIFT_40, "--json")

    ledger = ran.data["ledger"]
    assert ran.status == 0
    assert ran.data["ok"] is True
    assert ledger["carried_out"] == 40
    assert ledger["contradictions"] == []
    assert ledger["sent_again_after_acceptance"] == 0
    assert ledger["requests"] > 41
    assert {fault.partition("_")[2] for fault in ledger["faults"]} >= {"before", "after"}
    assert sum(ledger["faults"].values()) > 10


async def test_a_hostile_demo_shows_what_struck_and_when(cli: Run) -> None:
    ran = await cli("demo", "--trades", 4, "--faults", 1, *SWIFT_4)

    assert ran.status == 0
    assert "100% of the closes meet a fault" in ran.err
    assert "answers lost" in ran.err
    assert "faults injected" in ran.out
    assert "after the close had been carried out" in ran.out
    assert "before" in ran.out
    assert "closes sent again after being accepted" in ran.out
    assert "WRONG" not in ran.out
    assert "4 of 4 trades closed in" in ran.err
    assert "faults.\n" in ran.err


async def test_without_faults_none_are_shown(cli: Run) -> None:
    ran = await cli("demo", "--trades", 2)

    assert "fault" not in ran.out + ran.err


def test_faults_are_counted_apart_before_and_after(capsys: pytest.CaptureFixture[str]) -> None:
    faults = {Fault.RESET_BEFORE: 3, Fault.RESET_AFTER: 4, Fault.GARBAGE_AFTER: 5}

    Screen().result(None, faults_table(faults))

    out = capsys.readouterr().out
    rows = {words[0]: words for line in out.splitlines() if (words := line.split())}
    assert "12 faults injected, 9 of them after the close had been carried out" in out
    assert rows["reset"][-2:] == ["3", "4"]
    assert rows["garbage"][-2:] == ["JSON", "5"]
    assert rows["all"] == ["all", "3", "9"]
    assert "silence" not in rows


async def closed_trades(sandbox: Sandbox, ids: Sequence[int]) -> None:
    async with AsyncClient(
        sandbox.api_key, secret=sandbox.secret, base_url=sandbox.base_url
    ) as client:
        await client.smart_trades.close_many(ids)


def reported(**states: CloseState) -> CloseReport[SmartTrade]:
    return CloseReport(
        tuple(CloseOutcome[SmartTrade](int(name[1:]), state) for name, state in states.items())
    )


async def test_an_audit_finds_every_outcome_that_is_not_so() -> None:
    async with Sandbox(trades=4) as sandbox:
        one, two, three, four = sandbox.trade_ids
        await closed_trades(sandbox, [one, two])
        report = reported(
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


async def test_an_audit_holds_no_unknown_outcome_against_the_client() -> None:
    async with Sandbox(trades=2) as sandbox:
        one, two = sandbox.trade_ids
        await closed_trades(sandbox, [one])
        report = reported(**{f"t{one}": CloseState.UNKNOWN, f"t{two}": CloseState.UNKNOWN})

        found = audit(report, sandbox.ledger, limit=100)

    assert found.contradictions == ()
    assert not found.ok


async def test_an_audit_finds_what_was_closed_twice(capsys: pytest.CaptureFixture[str]) -> None:
    async with Sandbox(trades=1) as sandbox:
        await closed_trades(sandbox, sandbox.trade_ids)
        await closed_trades(sandbox, sandbox.trade_ids)
        report = reported(**{f"t{sandbox.trade_ids[0]}": CloseState.ACCEPTED})

        found = audit(report, sandbox.ledger, limit=100)

    Screen().result(None, found.table())
    assert found.contradictions == ()
    assert found.repeated == 1
    assert not found.ok
    assert "WRONG" in capsys.readouterr().out


async def served(capsys: pytest.CaptureFixture[str], task: asyncio.Task[int]) -> Ran:
    """Wait until a sandbox has said everything it says at its start."""
    return await said(capsys, task, " ends it.")


def export_lines(monkeypatch: pytest.MonkeyPatch, told: Ran) -> None:
    """Set what the lines that a sandbox prints would set in a shell."""
    for line in told.out.splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        monkeypatch.setenv(name, value)


async def test_a_served_sandbox_can_be_used_with_the_lines_it_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cli: Run
) -> None:
    task = asyncio.create_task(run(["sandbox", "--trades", "2"]))
    told = await served(capsys, task)
    export_lines(monkeypatch, told)

    ran = await cli("trades", "list", "--json")
    task.cancel()

    assert len(ran.data) == 2
    assert "SlidingWindowLimiter" not in told.err
    assert await task == 0
    assert "Served 2 requests; 0 trades were closed, 0 requests were refused" in (
        capsys.readouterr().err
    )


async def test_a_program_gets_address_and_key_of_a_sandbox_as_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = asyncio.create_task(run(["sandbox", "--json", "--time-scale", "10"]))
    told = await served(capsys, task)
    task.cancel()

    assert await task == 0
    assert set(told.data) == {
        "THREECOMMAS_API_KEY",
        "THREECOMMAS_API_SECRET",
        "THREECOMMAS_BASE_URL",
    }
    assert "SlidingWindowLimiter(100, 6, 30)" in told.err


async def test_a_served_sandbox_has_what_it_is_asked_for_and_tells_what_it_has_seen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cli: Run
) -> None:
    arguments = ["--trades", "1", "--pending", "2", "--deals", "3", "--fault", "reset-after=1"]
    task = asyncio.create_task(run(["sandbox", *arguments]))
    told = await served(capsys, task)
    export_lines(monkeypatch, told)

    closed = await cli("trades", "close-all", "--yes")
    task.cancel()

    assert await task == 0
    assert "1 SmartTrades are open, 2 more are not entered, bot 7001 has 3 deals open." in told.err
    assert closed.status == 0
    end = capsys.readouterr().err
    assert "1 trades were closed" in end
    assert "1 faults were injected: 1 reset_after." in end
    assert "sent again" not in end


async def test_a_served_sandbox_deceives_if_so_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cli: Run
) -> None:
    arguments = ["--trades", "1", "--time-scale", "10", "--fault", "read-lag=900"]
    task = asyncio.create_task(run(["sandbox", *arguments]))
    export_lines(monkeypatch, await served(capsys, task))

    (trade,) = (await cli("trades", "list", "--json")).data
    await cli("trades", "close", trade["id"], "--yes")
    shown = await cli("trades", "show", trade["id"], "--json")
    task.cancel()

    assert await task == 0
    assert shown.data["status"]["basic_type"] == "waiting_targets"
    assert "1 faults were injected: 1 read_lag." in capsys.readouterr().err


async def test_a_served_sandbox_tells_of_a_bot_that_closes_twice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cli: Run
) -> None:
    task = asyncio.create_task(run(["sandbox", "--trades", "1"]))
    export_lines(monkeypatch, await served(capsys, task))
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
async def test_faults_that_cannot_be_are_a_matter_of_usage(
    cli: Run, arguments: str, why: str
) -> None:
    ran = await cli("sandbox", *arguments.split())

    assert ran.status == 2
    assert why in ran.err
    assert ran.err.count("\n") == 1


async def test_the_help_of_the_sandbox_names_every_fault(cli: Run) -> None:
    ran = await cli("sandbox", "--help")

    assert [fault.value for fault in Fault if fault.value not in ran.out] == []
