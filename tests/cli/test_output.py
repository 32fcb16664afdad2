"""What is printed: JSON, tables, plain text without control characters."""

import json
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tests.cli.conftest import Terminal
from threecommas_async import (
    CloseOutcome,
    CloseReport,
    CloseState,
    RequestNotSentError,
    SmartTrade,
)
from threecommas_async.cli.output import Output, printable
from threecommas_async.cli.render import (
    grouped_table,
    report_table,
    table,
    trade_table,
    trades_table,
)
from threecommas_async.models.smart_trade import SmartTradeData, SmartTradeStatus, Step, TakeProfit

ACCEPTED = CloseOutcome[SmartTrade](1, CloseState.ACCEPTED, attempts=1)
NOT_SENT = CloseOutcome[SmartTrade](
    2, CloseState.NOT_SENT, error=RequestNotSentError("no slot"), attempts=1
)


def printed(capsys: pytest.CaptureFixture[str], *parts: object) -> str:
    Output().result(None, *parts)  # type: ignore[arg-type]
    return capsys.readouterr().out


def control_characters(text: str) -> set[str]:
    return {c for c in text if not c.isprintable() and c != "\n"}


def test_json_keeps_all_digits_and_uses_iso_times(
    capsys: pytest.CaptureFixture[str],
) -> None:
    trade = SmartTrade(
        id=1,
        status=SmartTradeStatus(basic_type="new_code"),
        data=SmartTradeData(
            commission=Decimal("0.10000000000000000000000000000000000000000001"),
            created_at=datetime(2026, 11, 22, 12, 0, 0, 5000, UTC),
        ),
    )

    Output(as_json=True).result([trade], "for people")

    (data,) = json.loads(capsys.readouterr().out)
    assert data["data"]["commission"] == "0.10000000000000000000000000000000000000000001"
    assert datetime.fromisoformat(data["data"]["created_at"]) == trade.data.created_at
    assert data["status"]["basic_type"] == "new_code"


def test_lines_are_not_wrapped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = "export KEY=" + "0123456789abcdef " * 30

    assert printed(capsys, line) == f"{line}\n"


def test_control_characters_and_markup_in_notes_have_no_effect(
    capsys: pytest.CaptureFixture[str],
) -> None:
    trade = SmartTrade(
        id=1, status=SmartTradeStatus(), note="[bold]50 % off[/bold]\x1b[2J\x9b1;1H\a\r\nowned"
    )

    out = printed(capsys, trade_table(trade))

    assert not control_characters(out)
    assert "[bold]50 % off[/bold]" in out
    assert printable("a\x1b\n") == "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"


def test_trade_with_only_id_and_status_can_be_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    trade = SmartTrade(id=5, status=SmartTradeStatus(basic_type="created"))

    out = printed(capsys, trades_table([trade], "one"), trade_table(trade))

    words = out.split()
    assert words.count("created") == 3  # the name of a column, and twice the status
    assert not {"None", "at", "profit", "entry"} & set(words[words.index("SmartTrade") :])


def test_take_profit_steps_and_error_of_a_trade_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    trade = SmartTrade(
        id=5,
        status=SmartTradeStatus(basic_type="failed", title="Failed", error="no funds"),
        take_profit=TakeProfit(steps=(Step(volume=Decimal(100)), Step(volume=Decimal("1E-8")))),
        data=SmartTradeData(panic_sell_available=False),
    )

    out = printed(capsys, trade_table(trade))

    assert "no funds" in out
    assert "100 % at" in out
    assert "0.00000001 % at" in out
    assert "no" in out


@pytest.mark.parametrize("forced", ["FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE"])
def test_output_to_a_file_has_no_control_characters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, forced: str
) -> None:
    monkeypatch.setenv(forced, "1")

    out = printed(capsys, report_table(CloseReport((ACCEPTED, NOT_SENT))), table("a", "b", rows=[]))

    assert not control_characters(out)
    assert "1 of 2 closing or closed, 1 not known to be" in out
    assert "no slot" in out


def test_incomplete_list_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    report = CloseReport((ACCEPTED,), unlisted=RequestNotSentError("the list was not read"))

    out = printed(capsys, report_table(report))

    assert "1 of 1 closing or closed" in out
    assert "There may be others: the list was not read" in out


@pytest.mark.parametrize(("term", "live"), [("xterm", True), ("dumb", False)])
def test_progress_is_drawn_in_place_unless_the_terminal_is_dumb(
    monkeypatch: pytest.MonkeyPatch, term: str, *, live: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", term)

    assert Output().live is live


def test_reasons_do_not_repeat_the_id_of_a_deal(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, grouped_table("Not closed", [(5, "not_sent", "deal 5: too late")]))

    assert "too late" in out
    assert "deal 5" not in out
