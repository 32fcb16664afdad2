"""`threecommas trades close`."""

import io
import signal
import sys

import pytest

from tests.cli.conftest import Interrupt, Run, Terminal, closes, export
from threecommas_async.cli import asking
from threecommas_async.cli.app import run
from threecommas_async.sandbox import Sandbox


async def test_one_trade_is_closed(cli: Run, sandbox: Sandbox) -> None:
    trade_id = sandbox.trade_ids[0]

    ran = await cli("trades", "close", trade_id, "--yes")

    assert ran.status == 0
    assert "1 of 1 closing or closed" in ran.out
    assert "accepted" in ran.out
    assert sandbox.ledger.applied == {trade_id}


async def test_many_are_closed_once_each_and_in_order(cli: Run, sandbox: Sandbox) -> None:
    one, two, three = sandbox.trade_ids

    ran = await cli("trades", "close", three, one, two, one, "--yes", "--json")

    assert ran.status == 0
    assert ran.data["ok"] is True
    assert ran.data["counts"] == {"accepted": 3}
    assert ran.data["leftovers"] == []
    assert [outcome["trade_id"] for outcome in ran.data["outcomes"]] == [three, one, two]
    assert [outcome["status"] for outcome in ran.data["outcomes"]] == ["panic_sell_pending"] * 3
    assert closes(sandbox) == 3


async def test_one_that_is_not_there_leaves_the_others_alone(cli: Run, sandbox: Sandbox) -> None:
    ran = await cli("trades", "close", 7, sandbox.trade_ids[0], "--yes", "--json")

    assert ran.status == 1
    assert ran.data["ok"] is False
    assert ran.data["leftovers"] == [7]
    missing, closed = ran.data["outcomes"]
    assert (missing["state"], missing["error"]["type"]) == ("not_found", "NotFoundError")
    assert (closed["state"], closed["error"]) == ("accepted", None)


async def test_of_many_outcomes_only_those_that_went_wrong_are_listed(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=21) as sandbox:
        export(monkeypatch, sandbox)
        *closed, last = sandbox.trade_ids
        all_well = await cli("trades", "close", *sandbox.trade_ids, "--yes")
        again = await cli("trades", "close", 7, *sandbox.trade_ids, "--yes")

    assert all_well.status == 0
    assert "21 of 21 closing or closed" in all_well.out
    assert str(last) not in all_well.out
    assert again.status == 1
    assert "1 not known to be" in again.out
    assert "not_found" in again.out
    assert str(closed[0]) not in again.out


async def test_hundreds_that_went_wrong_for_one_reason_are_told_of_together(
    cli: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREECOMMAS_API_SECRET", "wrong")

    ran = await cli("trades", "close", *range(1001, 1301), "--yes")

    assert ran.status == 3
    assert "0 of 300 closing or closed, 300 not known to be" in ran.out
    assert "and 280 more (--json has all)" in ran.out
    assert "1020" in ran.out
    assert "1021" not in ran.out
    assert not sandbox.ledger.applied


async def test_confirmed_means_closed_and_not_just_closing(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=1, time_scale=100.0) as sandbox:
        export(monkeypatch, sandbox)
        ran = await cli("trades", "close", *sandbox.trade_ids, "--yes", "--confirm", "--json")

    assert ran.status == 0
    assert ran.data["counts"] == {"closed": 1}


async def test_a_deadline_ends_in_a_report(cli: Run, sandbox: Sandbox) -> None:
    ran = await cli(
        *("trades", "close", *sandbox.trade_ids, "--yes", "--json"),
        *("--rate-limit", 2, "--deadline", 0.5),
    )

    assert ran.status == 1
    assert ran.data["counts"] == {"accepted": 2, "not_sent": 1}
    assert ran.data["leftovers"] == [sandbox.trade_ids[2]]
    assert closes(sandbox) == 2


async def test_a_refused_key_has_the_status_of_credentials(
    cli: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREECOMMAS_API_SECRET", "wrong")

    ran = await cli("trades", "close", *sandbox.trade_ids, "--yes", "--json")

    assert ran.status == 3
    assert ran.data["counts"] == {"not_sent": 3}
    assert not sandbox.ledger.applied


@pytest.mark.parametrize("answer", ["y\n", "Yes\n"])
async def test_a_yes_to_the_question_closes(
    cli: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))

    ran = await cli("trades", "close", *sandbox.trade_ids)

    assert ran.status == 0
    assert "Close 3 SmartTrades at market now? [y/N]" in ran.err
    assert closes(sandbox) == 3


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "yess\n"])
async def test_anything_but_a_yes_sends_nothing(
    cli: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))

    ran = await cli("trades", "close", sandbox.trade_ids[0])

    assert ran.status == 1
    assert "Close 1 SmartTrade at market now? [y/N]" in ran.err
    assert "Nothing was sent." in ran.err
    assert not sandbox.ledger.requests


async def test_without_a_terminal_to_ask_on_nothing_is_closed(
    cli: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))

    ran = await cli("trades", "close", *sandbox.trade_ids)

    assert ran.status == 2
    assert "add --yes" in ran.err
    assert not sandbox.ledger.requests


def test_ctrl_c_at_the_question_is_not_swallowed_unless_it_is_ignored(
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
            asking.agreed("Now?")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

        signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert asking.agreed("Now?")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


async def test_a_dry_run_tells_what_would_be_closed_and_closes_nothing(
    cli: Run, sandbox: Sandbox
) -> None:
    closing, one, two = sandbox.trade_ids
    (pending,) = sandbox.pending_ids
    await cli("trades", "close", closing, "--yes")

    ran = await cli("trades", "close", one, 7, pending, closing, two, one, "--dry-run", "--json")

    assert ran.status == 1
    assert ran.data["would_close"] == [one, two]
    assert {entry["trade_id"]: entry["reason"] for entry in ran.data["would_not_close"]} == {
        7: "not among the open SmartTrades",
        pending: "its entry is not filled; it can be cancelled",
        closing: "already closing, or its state does not allow it",
    }
    assert closes(sandbox) == 1


async def test_a_dry_run_in_which_all_would_be_closed_is_all_well(
    cli: Run, sandbox: Sandbox
) -> None:
    ran = await cli("trades", "close", *sandbox.trade_ids, 8, "--dry-run")
    good = await cli("trades", "close", *sandbox.trade_ids, "--dry-run")

    assert ran.status == 1
    assert "3 of 4 would be closed; nothing was sent" in ran.out
    assert "no: not among the open SmartTrades" in ran.out
    assert good.status == 0
    assert closes(sandbox) == 0


async def test_a_key_that_may_not_close_has_the_status_of_credentials(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=2, permissions=("SMART_TRADES_READ",)) as sandbox:
        export(monkeypatch, sandbox)
        ran = await cli("trades", "close", *sandbox.trade_ids, "--yes")

    assert ran.status == 3
    assert "SMART_TRADES_WRITE" in ran.out


async def test_interrupted_it_tells_the_truth_so_far(
    interrupted: Interrupt, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=4) as sandbox:
        export(monkeypatch, sandbox)

        ran = await interrupted(
            lambda: closes(sandbox) == 2,
            *("trades", "close", *sandbox.trade_ids, "--yes", "--json", "--rate-limit", 2),
        )

        assert ran.data["counts"] == {"accepted": 2, "not_sent": 2}
        assert ran.data["leftovers"] == list(sandbox.trade_ids[2:])
        assert closes(sandbox) == 2
        assert "closed 2 of 4" in ran.err


async def test_with_the_server_down_it_says_so_until_the_deadline(
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
