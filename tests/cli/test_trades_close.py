"""`threecommas trades close`."""

import io
import signal
import sys

import pytest

from tests.cli.conftest import InterruptCommand, RunCommand, Terminal, count_closes, export
from threecommas_async.cli import prompt
from threecommas_async.cli.app import run
from threecommas_async.sandbox import Sandbox


async def test_single_trade_is_closed(cli: RunCommand, sandbox: Sandbox) -> None:
    trade_id = sandbox.trade_ids[0]

    result = await cli("trades", "close", trade_id, "--yes")

    assert result.status == 0
    assert "1 of 1 closing or closed" in result.out
    assert "accepted" in result.out
    assert sandbox.ledger.applied == {trade_id}


async def test_trades_are_closed_once_each_and_reported_in_order(
    cli: RunCommand, sandbox: Sandbox
) -> None:
    one, two, three = sandbox.trade_ids

    result = await cli("trades", "close", three, one, two, one, "--yes", "--json")

    assert result.status == 0
    assert result.data["ok"] is True
    assert result.data["counts"] == {"accepted": 3}
    assert result.data["leftovers"] == []
    assert [outcome["trade_id"] for outcome in result.data["outcomes"]] == [three, one, two]
    assert [outcome["status"] for outcome in result.data["outcomes"]] == ["panic_sell_pending"] * 3
    assert count_closes(sandbox) == 3


async def test_missing_trade_does_not_affect_the_others(cli: RunCommand, sandbox: Sandbox) -> None:
    result = await cli("trades", "close", 7, sandbox.trade_ids[0], "--yes", "--json")

    assert result.status == 1
    assert result.data["ok"] is False
    assert result.data["leftovers"] == [7]
    missing, closed = result.data["outcomes"]
    assert (missing["state"], missing["error"]["type"]) == ("not_found", "NotFoundError")
    assert (closed["state"], closed["error"]) == ("accepted", None)


async def test_only_failures_are_listed_when_there_are_many_outcomes(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=21) as sandbox:
        export(monkeypatch, sandbox)
        *closed, last = sandbox.trade_ids
        all_closed = await cli("trades", "close", *sandbox.trade_ids, "--yes")
        again = await cli("trades", "close", 7, *sandbox.trade_ids, "--yes")

    assert all_closed.status == 0
    assert "21 of 21 closing or closed" in all_closed.out
    assert str(last) not in all_closed.out
    assert again.status == 1
    assert "1 not known to be" in again.out
    assert "not_found" in again.out
    assert str(closed[0]) not in again.out


async def test_failures_with_the_same_reason_are_grouped(
    cli: RunCommand, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREECOMMAS_API_SECRET", "wrong")

    result = await cli("trades", "close", *range(1001, 1301), "--yes")

    assert result.status == 3
    assert "0 of 300 closing or closed, 300 not known to be" in result.out
    assert "and 280 more (--json has all)" in result.out
    assert "1020" in result.out
    assert "1021" not in result.out
    assert not sandbox.ledger.applied


async def test_confirm_waits_until_the_trade_is_closed(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=1, time_scale=100.0) as sandbox:
        export(monkeypatch, sandbox)
        result = await cli("trades", "close", *sandbox.trade_ids, "--yes", "--confirm", "--json")

    assert result.status == 0
    assert result.data["counts"] == {"closed": 1}


async def test_deadline_ends_in_a_report(cli: RunCommand, sandbox: Sandbox) -> None:
    result = await cli(
        *("trades", "close", *sandbox.trade_ids, "--yes", "--json"),
        *("--rate-limit", 2, "--deadline", 0.5),
    )

    assert result.status == 1
    assert result.data["counts"] == {"accepted": 2, "not_sent": 1}
    assert result.data["leftovers"] == [sandbox.trade_ids[2]]
    assert count_closes(sandbox) == 2


async def test_refused_key_exits_with_the_credentials_status(
    cli: RunCommand, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREECOMMAS_API_SECRET", "wrong")

    result = await cli("trades", "close", *sandbox.trade_ids, "--yes", "--json")

    assert result.status == 3
    assert result.data["counts"] == {"not_sent": 3}
    assert not sandbox.ledger.applied


@pytest.mark.parametrize("answer", ["y\n", "Yes\n"])
async def test_answering_yes_closes_the_trades(
    cli: RunCommand, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))

    result = await cli("trades", "close", *sandbox.trade_ids)

    assert result.status == 0
    assert "Close 3 SmartTrades at market now? [y/N]" in result.err
    assert count_closes(sandbox) == 3


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "yess\n"])
async def test_any_other_answer_sends_nothing(
    cli: RunCommand, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))

    result = await cli("trades", "close", sandbox.trade_ids[0])

    assert result.status == 1
    assert "Close 1 SmartTrade at market now? [y/N]" in result.err
    assert "Nothing was sent." in result.err
    assert not sandbox.ledger.requests


async def test_close_without_terminal_or_yes_is_a_usage_error(
    cli: RunCommand, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))

    result = await cli("trades", "close", *sandbox.trade_ids)

    assert result.status == 2
    assert "add --yes" in result.err
    assert not sandbox.ledger.requests


def test_ctrl_c_at_the_question_interrupts_unless_it_is_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupting:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            signal.raise_signal(signal.SIGINT)
            return "y\n"

    monkeypatch.setattr(sys, "stdin", Interrupting())
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt):
            prompt.ask_yes_no("Now?")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

        signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert prompt.ask_yes_no("Now?")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


async def test_dry_run_shows_the_plan_and_closes_nothing(cli: RunCommand, sandbox: Sandbox) -> None:
    closing, one, two = sandbox.trade_ids
    (pending,) = sandbox.pending_ids
    await cli("trades", "close", closing, "--yes")

    result = await cli("trades", "close", one, 7, pending, closing, two, one, "--dry-run", "--json")

    assert result.status == 1
    assert result.data["would_close"] == [one, two]
    assert {entry["trade_id"]: entry["reason"] for entry in result.data["would_not_close"]} == {
        7: "not among the open SmartTrades",
        pending: "its entry is not filled; it can be cancelled",
        closing: "already closing, or its state does not allow it",
    }
    assert count_closes(sandbox) == 1


async def test_dry_run_succeeds_only_if_all_would_be_closed(
    cli: RunCommand, sandbox: Sandbox
) -> None:
    result = await cli("trades", "close", *sandbox.trade_ids, 8, "--dry-run")
    good = await cli("trades", "close", *sandbox.trade_ids, "--dry-run")

    assert result.status == 1
    assert "3 of 4 would be closed; nothing was sent" in result.out
    assert "no: not among the open SmartTrades" in result.out
    assert good.status == 0
    assert count_closes(sandbox) == 0


async def test_key_without_write_permission_exits_with_the_credentials_status(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=2, permissions=("SMART_TRADES_READ",)) as sandbox:
        export(monkeypatch, sandbox)
        result = await cli("trades", "close", *sandbox.trade_ids, "--yes")

    assert result.status == 3
    assert "SMART_TRADES_WRITE" in result.out


async def test_interrupt_prints_the_report_so_far(
    run_interrupted: InterruptCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=4) as sandbox:
        export(monkeypatch, sandbox)

        result = await run_interrupted(
            lambda: count_closes(sandbox) == 2,
            *("trades", "close", *sandbox.trade_ids, "--yes", "--json", "--rate-limit", 2),
        )

        assert result.data["counts"] == {"accepted": 2, "not_sent": 2}
        assert result.data["leftovers"] == list(sandbox.trade_ids[2:])
        assert count_closes(sandbox) == 2
        assert "closed 2 of 4" in result.err


async def test_unreachable_server_is_shown_until_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Sandbox(trades=0) as sandbox:
        export(monkeypatch, sandbox)
        host = sandbox.base_url.split("/")[2]
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "300")

    status = await run(["trades", "close", *map(str, range(1, 31)), "--yes", "--deadline", "1.5"])

    drawn = terminal.getvalue()
    assert status == 1
    assert f"cannot reach {host} (" in drawn
    assert "left until the deadline" in drawn
    assert "being checked" not in drawn
    assert "closed 0 of 30, 30 not closed" in drawn
