"""Run the programs in examples/ against the sandbox."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from tests.docs.conftest import speed_up_event_loops
from threecommas_async import (
    CloseOutcome,
    CloseReport,
    CloseState,
    RequestNotSentError,
    SmartTrade,
)
from threecommas_async.resources.smart_trades import SmartTrades
from threecommas_async.sandbox import Sandbox

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def _run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> object:
    """Run an example as a program and return its exit status."""
    if name != "rehearse.py":  # it has its own sandbox and sets its own speed
        speed_up_event_loops(monkeypatch)
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return exit_info.value.code


def test_every_example_has_a_test() -> None:
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names == {"close_everything.py", "rehearse.py", "watch_outcomes.py"}


def test_close_everything_closes_nothing_without_yes(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "close_everything.py") == 1

    assert "20 trades would be closed" in capsys.readouterr().out
    assert not sandbox.ledger.applied


def test_close_everything_closes_open_trades_and_leaves_pending_ones(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "close_everything.py", "--yes") == 0

    assert sandbox.ledger.applied == frozenset(sandbox.trade_ids)
    assert "20 trades: {'CLOSED': 20}" in capsys.readouterr().out
    assert not sandbox.ledger.count(operation="cancel_smart_trade")


def test_close_everything_prints_trades_not_closed(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def close_nothing(*_: object, **__: object) -> CloseReport[SmartTrade]:
        late = RequestNotSentError("too late")
        outcome = CloseOutcome[SmartTrade](8, CloseState.NOT_SENT, None, late)
        return CloseReport((outcome,), unlisted=late)

    monkeypatch.setattr(SmartTrades, "close_all", close_nothing)

    assert _run(monkeypatch, "close_everything.py", "--yes") == 1

    output = capsys.readouterr().out
    assert "8 NOT_SENT: too late" in output
    assert "There may be others: too late" in output


def test_watch_outcomes_waits_until_each_is_closed(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "watch_outcomes.py", *sandbox.trade_ids[:3]) == 0

    assert sandbox.ledger.closed == frozenset(sandbox.trade_ids[:3])
    assert capsys.readouterr().out.count("CLOSED") == 3


def test_watch_outcomes_reports_trades_not_closed(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "watch_outcomes.py", sandbox.pending_ids[0], 99) == 1

    output = capsys.readouterr().out
    assert "REJECTED" in output
    assert "NOT_FOUND" in output


def test_rehearse_report_agrees_with_the_ledger(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "rehearse.py") == 0

    assert "0 closed again, 0 over the limit" in capsys.readouterr().out
