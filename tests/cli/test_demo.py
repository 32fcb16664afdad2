"""`threecommas demo` and `threecommas sandbox`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from tests.cli.conftest import Ran, Run
from threecommas_async import AsyncClient, CloseOutcome, CloseReport, CloseState, SmartTrade
from threecommas_async.cli import demo as demos
from threecommas_async.cli.app import run
from threecommas_async.cli.audit import audit
from threecommas_async.cli.closing import close_shown
from threecommas_async.cli.screen import Screen
from threecommas_async.cli.session import Session
from threecommas_async.sandbox import Sandbox


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
        "requests": 13,
        "busiest_window": 13,
        "limit": 100,
        "peak_connections": 12,
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
    def half(
        session: Session, ids: Sequence[int], *, interrupted: Callable[[object], object]
    ) -> Awaitable[CloseReport[SmartTrade]]:
        return close_shown(session, ids[::2], interrupted=interrupted)

    monkeypatch.setattr(demos, "close_shown", half)

    ran = await cli("demo", "--trades", 4, "--json")

    assert ran.status == 1
    assert ran.data["ok"] is False


async def test_an_interrupted_demo_tells_the_truth_so_far(
    capsys: pytest.CaptureFixture[str],
) -> None:
    running = asyncio.create_task(run(["demo", "--trades", "150", "--json"]))
    await asyncio.sleep(1.0)  # two requests list, 98 close, the rest wait for six seconds

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    captured = capsys.readouterr()
    data = Ran(130, captured.out, captured.err).data
    assert data["ok"] is False
    assert len(data["outcomes"]) == 150
    assert data["counts"]["not_sent"] >= 52
    assert data["ledger"]["agrees"] is True


async def closed_trades(sandbox: Sandbox, ids: Sequence[int]) -> None:
    async with AsyncClient(
        sandbox.api_key, secret=sandbox.secret, base_url=sandbox.base_url
    ) as client:
        await client.smart_trades.close_many(ids)


def told(**states: CloseState) -> CloseReport[SmartTrade]:
    return CloseReport(tuple(CloseOutcome(int(name[1:]), state) for name, state in states.items()))


async def test_an_audit_finds_every_outcome_that_is_not_so() -> None:
    async with Sandbox(trades=4) as sandbox:
        one, two, three, four = sandbox.trade_ids
        await closed_trades(sandbox, [one, two])
        report = told(
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
        report = told(**{f"t{one}": CloseState.UNKNOWN, f"t{two}": CloseState.UNKNOWN})

        found = audit(report, sandbox.ledger, limit=100)

    assert found.contradictions == ()
    assert not found.ok


async def test_an_audit_finds_what_was_closed_twice(capsys: pytest.CaptureFixture[str]) -> None:
    async with Sandbox(trades=1) as sandbox:
        await closed_trades(sandbox, sandbox.trade_ids)
        await closed_trades(sandbox, sandbox.trade_ids)
        report = told(**{f"t{sandbox.trade_ids[0]}": CloseState.ACCEPTED})

        found = audit(report, sandbox.ledger, limit=100)

    Screen().result(None, found.table())
    assert found.contradictions == ()
    assert found.repeated == 1
    assert not found.ok
    assert "WRONG" in capsys.readouterr().out


async def served(capsys: pytest.CaptureFixture[str], task: asyncio.Task[int]) -> Ran:
    """Wait until a sandbox has said everything it says at its start."""
    out = err = ""
    while "Ctrl-C ends it" not in err:
        assert not task.done()
        await asyncio.sleep(0.01)
        captured = capsys.readouterr()
        out, err = out + captured.out, err + captured.err
    return Ran(0, out, err)


async def test_a_served_sandbox_can_be_used_with_the_lines_it_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cli: Run
) -> None:
    task = asyncio.create_task(run(["sandbox", "--trades", "2"]))
    said = await served(capsys, task)
    for line in said.out.splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        monkeypatch.setenv(name, value)

    ran = await cli("trades", "list", "--json")
    task.cancel()

    assert len(ran.data) == 2
    assert "SlidingWindowLimiter" not in said.err
    assert await task == 0
    assert "Served 1 requests; 0 trades were closed, 0 requests were refused" in (
        capsys.readouterr().err
    )


async def test_a_program_gets_address_and_key_of_a_sandbox_as_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = asyncio.create_task(run(["sandbox", "--json", "--time-scale", "10"]))
    said = await served(capsys, task)
    task.cancel()

    assert await task == 0
    assert set(said.data) == {
        "THREECOMMAS_API_KEY",
        "THREECOMMAS_API_SECRET",
        "THREECOMMAS_BASE_URL",
    }
    assert "SlidingWindowLimiter(100, 6, 30)" in said.err
