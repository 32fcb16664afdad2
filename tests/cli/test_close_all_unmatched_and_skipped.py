"""`close-all` with filters that match nothing, and with entities that it skips."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.conftest import InterruptCommand, RunCommand, Terminal, count_closes
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


def patch_report(
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[CloseReport[SmartTrade]], CloseReport[SmartTrade]],
) -> None:
    """Apply `change` to the reports of `close_all`."""
    original: Any = CloseAll.report
    monkeypatch.setattr(CloseAll, "report", property(lambda work: change(original.fget(work))))


@pytest.fixture
def unmatched_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_report(monkeypatch, lambda _: CloseReport((), unmatched=UNMATCHED))


@pytest.fixture
def skipped_entities(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_report(monkeypatch, lambda report: CloseReport(report.outcomes, skipped=SKIPPED))


@pytest.mark.usefixtures("unmatched_filters")
async def test_mistyped_pair_is_reported_as_failure(
    cli: RunCommand, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    command = ("trades", "close-all", "--pair", "BTC_USDT")

    for result in (await cli(*command), await cli(*command, "--yes")):
        assert result.status == 1
        assert result.out == f"{OPEN}\n"
        assert "threecommas trades list shows what is open" in result.err
        assert "as in USDT_BTC" in result.err
        assert "[y/N]" not in result.err
    assert count_closes(sandbox) == 0


@pytest.mark.usefixtures("unmatched_filters", "sandbox")
async def test_json_reports_unmatched_filters(cli: RunCommand) -> None:
    result = await cli("trades", "close-all", "--pair", "BTC_USDT", "--yes", "--json")

    assert result.status == 1
    assert result.data["ok"] is False
    assert result.data["outcomes"] == result.data["leftovers"] == result.data["skipped"] == []
    assert result.data["unmatched"] == {"type": "InvalidRequestError", "message": OPEN}


@pytest.mark.usefixtures("unmatched_filters", "sandbox")
async def test_dry_run_reports_unmatched_filters(cli: RunCommand) -> None:
    command = ("trades", "close-all", "--pair", "BTC_USDT", "--dry-run")

    shown, result = await cli(*command), await cli(*command, "--json")

    assert shown.status == result.status == 1
    assert OPEN in shown.out
    assert "threecommas trades list shows what is open" in shown.err
    assert result.data["would_close"] == []
    assert result.data["unmatched"]["message"] == OPEN


@pytest.mark.usefixtures("sandbox")
async def test_hint_for_deals_names_the_deals_list_command(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def close_nothing(_: Deals, **_options: object) -> CloseReport[Deal]:
        await asyncio.sleep(0)
        return CloseReport((), unmatched=UNMATCHED)

    monkeypatch.setattr(Deals, "close_all", close_nothing)

    result = await cli("deals", "close-all", "--base", "USDT", "--yes")

    assert result.status == 1
    assert "threecommas deals list shows what is open" in result.err


@pytest.mark.usefixtures("skipped_entities")
async def test_skipped_entities_are_listed_and_do_not_change_the_exit_status(
    cli: RunCommand, sandbox: Sandbox
) -> None:
    result = await cli("trades", "close-all", "--yes")

    assert result.status == 0
    assert "3 of 3 closing or closed" in result.out
    assert "3 left alone, though active" in result.out
    assert "waiting_position" in result.out
    assert "901 902" in result.out
    assert "it is closing already" in result.out
    assert "closed 3 of 3" in result.err
    assert sandbox.ledger.applied == set(sandbox.trade_ids)


@pytest.mark.usefixtures("skipped_entities")
async def test_json_lists_skipped_entities(cli: RunCommand, sandbox: Sandbox) -> None:
    dry = await cli("trades", "close-all", "--dry-run", "--json")
    result = await cli("trades", "close-all", "--yes", "--json")

    assert dry.status == result.status == 0
    assert result.data["ok"] is True
    assert len(result.data["outcomes"]) == 3
    assert [one["trade_id"] for one in result.data["skipped"]] == [901, 902, 903]
    assert result.data["skipped"][0]["status"] == "waiting_position"
    assert result.data["skipped"][2]["error"]["message"] == "it is closing already"
    assert dry.data["skipped"] == result.data["skipped"]
    assert sorted(dry.data["would_close"]) == sorted(sandbox.trade_ids)
    assert dry.data["would_not_close"] == []


@pytest.mark.usefixtures("skipped_entities", "sandbox")
async def test_dry_run_lists_skipped_entities(cli: RunCommand) -> None:
    result = await cli("trades", "close-all", "--dry-run")

    assert result.status == 0
    assert "3 of 3 would be closed; nothing was sent" in result.out
    assert "3 left alone, though active" in result.out


@pytest.mark.usefixtures("sandbox")
async def test_skipping_every_entity_reports_nothing_to_close(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_report(monkeypatch, lambda _: CloseReport((), skipped=SKIPPED))

    result = await cli("trades", "close-all", "--yes")

    assert result.status == 0
    assert result.out.startswith("There is nothing to close.\n")
    assert "3 left alone, though active" in result.out


@pytest.mark.usefixtures("skipped_entities")
async def test_interrupted_close_all_still_lists_skipped_entities(
    run_interrupted: InterruptCommand, sandbox: Sandbox
) -> None:
    result = await run_interrupted(
        lambda: len(sandbox.ledger.applied) == 2,
        *("trades", "close-all", "--yes", "--json", "--rate-limit", 6),
    )

    assert result.data["counts"] == {"accepted": 2, "not_sent": 1}
    assert [one["trade_id"] for one in result.data["skipped"]] == [901, 902, 903]


async def test_control_characters_in_pair_names_are_replaced(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    patch_report(
        monkeypatch,
        lambda report: CloseReport(
            report.outcomes, unmatched=InvalidRequestError("open is \x1b[2J\r\nUSDT_BTC")
        ),
    )

    result = await cli("trades", "close-all", "--yes")

    assert result.status == 1
    assert "\x1b" not in result.out
    assert "USDT_BTC" in result.out
    assert sandbox.ledger.applied == set(sandbox.trade_ids)
