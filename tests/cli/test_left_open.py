"""What `close-all` does not close: filters that match nothing, and what it leaves alone."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.conftest import Interrupt, Run, Terminal, closes
from threecommas_async import CloseOutcome, CloseReport, CloseState, RequestNotSentError, SmartTrade
from threecommas_async.closing import CloseAll
from threecommas_async.errors import InvalidRequestError
from threecommas_async.models.deal import Deal
from threecommas_async.models.smart_trade import SmartTradeStatus
from threecommas_async.resources.deals import Deals
from threecommas_async.sandbox import Sandbox

OPEN = "no open trade passes the filters; open are USDT_BTC on account 5001 (3 trades)"
UNMATCHED = InvalidRequestError(OPEN)
NOT_ENTERED = RequestNotSentError("its entry is not filled, and pending is 'leave'")
CLOSING = RequestNotSentError("it is closing already")


def skipped(entity_id: int, code: str, why: RequestNotSentError) -> CloseOutcome[SmartTrade]:
    trade = SmartTrade(id=entity_id, pair="USDT_BTC", status=SmartTradeStatus(basic_type=code))
    return CloseOutcome(entity_id, CloseState.NOT_SENT, trade, why)


SKIPPED = (
    skipped(901, "waiting_position", NOT_ENTERED),
    skipped(902, "waiting_position", NOT_ENTERED),
    CloseOutcome[SmartTrade](903, CloseState.NOT_SENT, error=CLOSING),
)


def report_with(
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[CloseReport[SmartTrade]], CloseReport[SmartTrade]],
) -> None:
    """Let the reports of `close_all` be what `change` makes of them."""
    true_report: Any = CloseAll.report
    monkeypatch.setattr(CloseAll, "report", property(lambda work: change(true_report.fget(work))))


@pytest.fixture
def nothing_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    report_with(monkeypatch, lambda _: CloseReport((), unmatched=UNMATCHED))


@pytest.fixture
def some_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    report_with(monkeypatch, lambda report: CloseReport(report.outcomes, skipped=SKIPPED))


@pytest.mark.usefixtures("nothing_matches")
async def test_a_mistyped_pair_does_not_look_like_success(
    cli: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    command = ("trades", "close-all", "--pair", "BTC_USDT")

    for ran in (await cli(*command), await cli(*command, "--yes")):
        assert ran.status == 1
        assert ran.out == f"{OPEN}\n"
        assert "threecommas trades list shows what is open" in ran.err
        assert "as in USDT_BTC" in ran.err
        assert "[y/N]" not in ran.err
    assert closes(sandbox) == 0


@pytest.mark.usefixtures("nothing_matches", "sandbox")
async def test_a_program_is_told_that_nothing_matches(cli: Run) -> None:
    ran = await cli("trades", "close-all", "--pair", "BTC_USDT", "--yes", "--json")

    assert ran.status == 1
    assert ran.data["ok"] is False
    assert ran.data["outcomes"] == ran.data["leftovers"] == ran.data["skipped"] == []
    assert ran.data["unmatched"] == {"type": "InvalidRequestError", "message": OPEN}


@pytest.mark.usefixtures("nothing_matches", "sandbox")
async def test_a_dry_run_of_a_mistyped_pair_says_so_too(cli: Run) -> None:
    command = ("trades", "close-all", "--pair", "BTC_USDT", "--dry-run")

    shown, ran = await cli(*command), await cli(*command, "--json")

    assert shown.status == ran.status == 1
    assert OPEN in shown.out
    assert "threecommas trades list shows what is open" in shown.err
    assert ran.data["would_close"] == []
    assert ran.data["unmatched"]["message"] == OPEN


@pytest.mark.usefixtures("sandbox")
async def test_for_deals_the_hint_is_to_list_deals(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(_: Deals, **_options: object) -> CloseReport[Deal]:
        await asyncio.sleep(0)
        return CloseReport((), unmatched=UNMATCHED)

    monkeypatch.setattr(Deals, "close_all", nothing)

    ran = await cli("deals", "close-all", "--base", "USDT", "--yes")

    assert ran.status == 1
    assert "threecommas deals list shows what is open" in ran.err


@pytest.mark.usefixtures("some_left_alone")
async def test_what_is_left_alone_is_named_and_spoils_nothing(cli: Run, sandbox: Sandbox) -> None:
    ran = await cli("trades", "close-all", "--yes")

    assert ran.status == 0
    assert "3 of 3 closing or closed" in ran.out
    assert "3 left alone, though active" in ran.out
    assert "waiting_position" in ran.out
    assert "901 902" in ran.out
    assert "it is closing already" in ran.out
    assert "closed 3 of 3" in ran.err
    assert sandbox.ledger.applied == set(sandbox.trade_ids)


@pytest.mark.usefixtures("some_left_alone")
async def test_a_program_is_told_what_is_left_alone(cli: Run, sandbox: Sandbox) -> None:
    dry = await cli("trades", "close-all", "--dry-run", "--json")
    ran = await cli("trades", "close-all", "--yes", "--json")

    assert dry.status == ran.status == 0
    assert ran.data["ok"] is True
    assert len(ran.data["outcomes"]) == 3
    assert [one["trade_id"] for one in ran.data["skipped"]] == [901, 902, 903]
    assert ran.data["skipped"][0]["status"] == "waiting_position"
    assert ran.data["skipped"][2]["error"]["message"] == "it is closing already"
    assert dry.data["skipped"] == ran.data["skipped"]
    assert sorted(dry.data["would_close"]) == sorted(sandbox.trade_ids)
    assert dry.data["would_not_close"] == []


@pytest.mark.usefixtures("some_left_alone", "sandbox")
async def test_a_dry_run_shows_what_would_be_left_alone(cli: Run) -> None:
    ran = await cli("trades", "close-all", "--dry-run")

    assert ran.status == 0
    assert "3 of 3 would be closed; nothing was sent" in ran.out
    assert "3 left alone, though active" in ran.out


@pytest.mark.usefixtures("sandbox")
async def test_where_all_is_left_alone_there_is_nothing_to_close_and_that_is_said(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_with(monkeypatch, lambda _: CloseReport((), skipped=SKIPPED))

    ran = await cli("trades", "close-all", "--yes")

    assert ran.status == 0
    assert ran.out.startswith("There is nothing to close.\n")
    assert "3 left alone, though active" in ran.out


@pytest.mark.usefixtures("some_left_alone")
async def test_interrupted_it_still_names_what_is_left_alone(
    interrupted: Interrupt, sandbox: Sandbox
) -> None:
    ran = await interrupted(
        lambda: len(sandbox.ledger.applied) == 2,
        *("trades", "close-all", "--yes", "--json", "--rate-limit", 6),
    )

    assert ran.data["counts"] == {"accepted": 2, "not_sent": 1}
    assert [one["trade_id"] for one in ran.data["skipped"]] == [901, 902, 903]


async def test_names_of_pairs_cannot_steer_the_terminal(
    cli: Run, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    report_with(
        monkeypatch,
        lambda report: CloseReport(
            report.outcomes, unmatched=InvalidRequestError("open is \x1b[2J\r\nUSDT_BTC")
        ),
    )

    ran = await cli("trades", "close-all", "--yes")

    assert ran.status == 1
    assert "\x1b" not in ran.out
    assert "USDT_BTC" in ran.out
    assert sandbox.ledger.applied == set(sandbox.trade_ids)
