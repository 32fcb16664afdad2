"""`threecommas trades close-all`."""

import io
import sys

import pytest

from tests.cli.conftest import InterruptCommand, RunCommand, Terminal, count_closes, export
from threecommas_async.sandbox import Sandbox


def requests(sandbox: Sandbox, operation: str) -> int:
    return sandbox.ledger.count(operation=operation)


async def test_close_all_closes_open_trades_and_leaves_pending_ones(
    cli: RunCommand, sandbox: Sandbox
) -> None:
    result = await cli("trades", "close-all", "--yes")

    assert result.status == 0
    assert "3 of 3 closing or closed" in result.out
    assert "closed 3 of 3" in result.err
    assert sandbox.ledger.applied == set(sandbox.trade_ids)
    assert requests(sandbox, "cancel_smart_trade") == 0


async def test_close_all_closes_trades_of_all_pages(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=60) as sandbox:
        export(monkeypatch, sandbox)
        result = await cli("trades", "close-all", "--yes", "--json")

        assert result.status == 0
        assert result.data["counts"] == {"accepted": 60}
        assert sandbox.ledger.applied == set(sandbox.trade_ids)


async def test_close_all_closes_only_trades_that_pass_the_filters(
    cli: RunCommand, sandbox: Sandbox
) -> None:
    (one, *_), trades = sandbox.trade_ids, (await cli("trades", "list", "--json")).data
    (trade,) = (trade for trade in trades if trade["id"] == one)
    quote, _, base = trade["pair"].partition("_")

    result = await cli(
        *("trades", "close-all", "--account-id", trade["account"]["id"], "--pair", trade["pair"]),
        *("--type", trade["data"]["type"], "--base", base, "--quote", quote, "--yes", "--json"),
    )

    assert result.status == 0
    assert [outcome["trade_id"] for outcome in result.data["outcomes"]] == [one]
    assert sandbox.ledger.applied == {one}


async def test_close_all_without_open_trades_asks_nothing_and_succeeds(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    async with Sandbox(trades=0) as sandbox:
        export(monkeypatch, sandbox)
        result = await cli("trades", "close-all", "--pair", "USDT_NONE")

    assert (result.status, result.out, result.err) == (0, "There is nothing to close.\n", "")


async def test_pending_trades_are_cancelled_with_pending_cancel(
    cli: RunCommand, sandbox: Sandbox
) -> None:
    result = await cli("trades", "close-all", "--pending", "cancel", "--yes", "--json")

    assert result.status == 0
    assert result.data["counts"] == {"accepted": 4}
    assert requests(sandbox, "cancel_smart_trade") == 1
    assert sandbox.ledger.applied == set(sandbox.trade_ids)


async def test_dry_run_shows_what_would_be_closed_and_cancelled(
    cli: RunCommand, sandbox: Sandbox
) -> None:
    result = await cli("trades", "close-all", "--pending", "cancel", "--dry-run", "--json")
    shown = await cli("trades", "close-all", "--pending", "cancel", "--dry-run")
    left = await cli("trades", "close-all", "--dry-run", "--json")

    assert result.status == shown.status == left.status == 0
    assert sorted(result.data["would_close"]) == sorted(sandbox.trade_ids)
    assert result.data["would_cancel"] == list(sandbox.pending_ids)
    assert result.data["would_not_close"] == []
    assert result.data["would_also"] is None
    assert "3 of 4 would be closed and 1 of 4 would be cancelled; nothing was sent" in shown.out
    assert "waiting_position" in shown.out
    assert "would_cancel" not in left.data
    assert count_closes(sandbox) == requests(sandbox, "cancel_smart_trade") == 0


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        ((), "Close all 3 SmartTrades at market now? [y/N]"),
        (
            ("--pending", "cancel"),
            "now, and cancel all 1 SmartTrade whose entry is not filled? [y/N]",
        ),
        (
            ("--account-id", "5001", "--quote", "USDT"),
            "SmartTrades at market now (account id 5001, quote USDT)? [y/N]",
        ),
    ],
    ids=["all", "with cancelling", "filtered"],
)
async def test_question_names_number_and_filters(
    cli: RunCommand,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    question: str,
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))

    result = await cli("trades", "close-all", *arguments)

    assert result.status == 1
    assert question in result.err
    assert "Nothing was sent." in result.err
    assert count_closes(sandbox) == 0


async def test_question_mentions_only_cancelling_when_nothing_is_to_be_closed(
    cli: RunCommand, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cli("trades", "close-all", "--yes")
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))

    result = await cli("trades", "close-all", "--pending", "cancel")

    assert result.status == 0
    assert "Cancel all 1 SmartTrade whose entry is not filled? [y/N]" in result.err
    assert requests(sandbox, "cancel_smart_trade") == 1


async def test_close_all_without_terminal_or_yes_sends_no_request(
    cli: RunCommand, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))

    result = await cli("trades", "close-all")

    assert result.status == 2
    assert "add --yes" in result.err
    assert not sandbox.ledger.requests


async def test_deadline_ends_in_a_report_with_an_incomplete_list(
    cli: RunCommand, sandbox: Sandbox
) -> None:
    result = await cli(
        *("trades", "close-all", "--yes", "--json", "--rate-limit", 6, "--deadline", 1.5)
    )

    assert result.status == 1
    assert result.data["ok"] is False
    assert result.data["counts"] == {"accepted": 2, "not_sent": 1}
    assert result.data["unlisted"]["type"] == "RequestNotSentError"
    assert count_closes(sandbox) == 2


async def test_list_that_misses_the_deadline_closes_nothing(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=2, latency=(1.0, 1.0)) as sandbox:
        export(monkeypatch, sandbox)
        result = await cli("trades", "close-all", "--yes", "--deadline", 0.2)

        assert result.status == 1
        assert "could not be read before the deadline of 0.2 s" in result.err
        assert count_closes(sandbox) == 0


async def test_refused_key_exits_with_the_credentials_status(
    cli: RunCommand, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREECOMMAS_API_SECRET", "wrong")

    result = await cli("trades", "close-all", "--yes")

    assert result.status == 3
    assert "Check the key" in result.err
    assert count_closes(sandbox) == 0


async def test_interrupt_prints_the_report_so_far(
    run_interrupted: InterruptCommand, sandbox: Sandbox
) -> None:
    result = await run_interrupted(
        lambda: len(sandbox.ledger.applied) == 2,
        *("trades", "close-all", "--yes", "--json", "--rate-limit", 6),
    )

    closed = sandbox.ledger.applied
    assert result.data["counts"] == {"accepted": 2, "not_sent": 1}
    assert result.data["leftovers"] == [i for i in sandbox.trade_ids if i not in closed]
    assert count_closes(sandbox) == 2


async def test_interrupt_before_the_first_close_sends_nothing(
    run_interrupted: InterruptCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=2, latency=(0.6, 0.6)) as sandbox:
        export(monkeypatch, sandbox)
        command = ("trades", "close-all", "--yes", "--json")

        while_planning = await run_interrupted(
            lambda: requests(sandbox, "list_smart_trades") == 1, *command
        )
        while_listing = await run_interrupted(
            lambda: requests(sandbox, "list_smart_trades") == 4, *command
        )

        assert (while_planning.out, while_planning.err) == ("", "Nothing was sent.\n")
        assert while_listing.data["counts"] == {"not_sent": 2}
        assert count_closes(sandbox) == 0
