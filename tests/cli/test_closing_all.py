"""`threecommas trades close-all`."""

import io
import sys

import pytest

from tests.cli.conftest import Interrupt, Run, Terminal, closes, export
from threecommas_async.sandbox import Sandbox


def requests(sandbox: Sandbox, operation: str) -> int:
    return sandbox.ledger.count(operation=operation)


async def test_all_that_is_open_is_closed_and_what_is_pending_is_left(
    cli: Run, sandbox: Sandbox
) -> None:
    ran = await cli("trades", "close-all", "--yes")

    assert ran.status == 0
    assert "3 of 3 closing or closed" in ran.out
    assert "closed 3 of 3" in ran.err
    assert sandbox.ledger.applied == set(sandbox.trade_ids)
    assert requests(sandbox, "cancel_smart_trade") == 0


async def test_more_than_a_page_of_ten_is_closed(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Sandbox(trades=60) as sandbox:
        export(monkeypatch, sandbox)
        ran = await cli("trades", "close-all", "--yes", "--json")

        assert ran.status == 0
        assert ran.data["counts"] == {"accepted": 60}
        assert sandbox.ledger.applied == set(sandbox.trade_ids)


async def test_only_what_passes_the_filters_is_closed(cli: Run, sandbox: Sandbox) -> None:
    (one, *_), trades = sandbox.trade_ids, (await cli("trades", "list", "--json")).data
    (trade,) = (trade for trade in trades if trade["id"] == one)
    quote, _, base = trade["pair"].partition("_")

    nothing = await cli("trades", "close-all", "--type", "no_such_type", "--yes", "--json")
    ran = await cli(
        *("trades", "close-all", "--account-id", trade["account"]["id"], "--pair", trade["pair"]),
        *("--type", trade["data"]["type"], "--base", base, "--quote", quote, "--yes", "--json"),
    )

    assert (nothing.status, nothing.data["outcomes"]) == (0, [])
    assert ran.status == 0
    assert [outcome["trade_id"] for outcome in ran.data["outcomes"]] == [one]
    assert sandbox.ledger.applied == {one}


async def test_where_nothing_is_open_there_is_nothing_to_ask_and_to_close(
    cli: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(""))

    ran = await cli("trades", "close-all", "--pair", "USDT_NONE")

    assert (ran.status, ran.out, ran.err) == (0, "There is nothing to close.\n", "")


async def test_pending_ones_are_cancelled_if_so_asked(cli: Run, sandbox: Sandbox) -> None:
    ran = await cli("trades", "close-all", "--pending", "cancel", "--yes", "--json")

    assert ran.status == 0
    assert ran.data["counts"] == {"accepted": 4}
    assert requests(sandbox, "cancel_smart_trade") == 1
    assert sandbox.ledger.applied == set(sandbox.trade_ids)


async def test_a_dry_run_tells_what_would_be_closed_and_what_cancelled(
    cli: Run, sandbox: Sandbox
) -> None:
    ran = await cli("trades", "close-all", "--pending", "cancel", "--dry-run", "--json")
    shown = await cli("trades", "close-all", "--pending", "cancel", "--dry-run")
    left = await cli("trades", "close-all", "--dry-run", "--json")

    assert ran.status == shown.status == left.status == 0
    assert sorted(ran.data["would_close"]) == sorted(sandbox.trade_ids)
    assert ran.data["would_cancel"] == list(sandbox.pending_ids)
    assert ran.data["would_not_close"] == []
    assert ran.data["would_also"] is None
    assert "3 of 4 would be closed and 1 of 4 would be cancelled; nothing was sent" in shown.out
    assert "waiting_position" in shown.out
    assert "would_cancel" not in left.data
    assert closes(sandbox) == requests(sandbox, "cancel_smart_trade") == 0


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
async def test_it_asks_what_exactly_is_to_be_closed(
    cli: Run,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    question: str,
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))

    ran = await cli("trades", "close-all", *arguments)

    assert ran.status == 1
    assert question in ran.err
    assert "Nothing was sent." in ran.err
    assert closes(sandbox) == 0


async def test_what_only_has_to_be_cancelled_is_asked_for_as_that(
    cli: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cli("trades", "close-all", "--yes")
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))

    ran = await cli("trades", "close-all", "--pending", "cancel")

    assert ran.status == 0
    assert "Cancel all 1 SmartTrade whose entry is not filled? [y/N]" in ran.err
    assert requests(sandbox, "cancel_smart_trade") == 1


async def test_without_a_terminal_to_ask_on_not_even_a_list_is_read(
    cli: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))

    ran = await cli("trades", "close-all")

    assert ran.status == 2
    assert "add --yes" in ran.err
    assert not sandbox.ledger.requests


async def test_a_deadline_ends_in_a_report_that_says_that_there_may_be_others(
    cli: Run, sandbox: Sandbox
) -> None:
    ran = await cli(
        *("trades", "close-all", "--yes", "--json", "--rate-limit", 4, "--deadline", 1.5)
    )

    assert ran.status == 1
    assert ran.data["ok"] is False
    assert ran.data["counts"] == {"accepted": 2, "not_sent": 1}
    assert ran.data["unlisted"]["type"] == "RequestNotSentError"
    assert closes(sandbox) == 2


async def test_a_list_that_comes_too_late_is_no_reason_to_go_on(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=2, latency=(1.0, 1.0)) as sandbox:
        export(monkeypatch, sandbox)
        ran = await cli("trades", "close-all", "--yes", "--deadline", 0.2)

        assert ran.status == 1
        assert "could not be read before the deadline of 0.2 s" in ran.err
        assert closes(sandbox) == 0


async def test_a_refused_key_has_the_status_of_credentials(
    cli: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREECOMMAS_API_SECRET", "wrong")

    ran = await cli("trades", "close-all", "--yes")

    assert ran.status == 3
    assert "Check the key" in ran.err
    assert closes(sandbox) == 0


async def test_interrupted_it_tells_the_truth_so_far(
    interrupted: Interrupt, sandbox: Sandbox
) -> None:
    ran = await interrupted(
        lambda: len(sandbox.ledger.applied) == 2,
        *("trades", "close-all", "--yes", "--json", "--rate-limit", 4),
    )

    closed = sandbox.ledger.applied
    assert ran.data["counts"] == {"accepted": 2, "not_sent": 1}
    assert ran.data["leftovers"] == [i for i in sandbox.trade_ids if i not in closed]
    assert closes(sandbox) == 2


async def test_interrupted_before_the_first_close_it_has_sent_nothing(
    interrupted: Interrupt, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=2, latency=(0.6, 0.6)) as sandbox:
        export(monkeypatch, sandbox)
        command = ("trades", "close-all", "--yes", "--json")

        while_planning = await interrupted(
            lambda: requests(sandbox, "list_smart_trades") == 1, *command
        )
        while_listing = await interrupted(
            lambda: requests(sandbox, "list_smart_trades") == 3, *command
        )

        assert (while_planning.out, while_planning.err) == ("", "Nothing was sent.\n")
        assert while_listing.data["counts"] == {"not_sent": 2}
        assert closes(sandbox) == 0
