"""The programs in examples/ run as they are, as somebody would run them."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from tests.docs.conftest import hurry
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
    if name != "rehearse.py":  # which has a sandbox of its own, whose clock goes with its own
        hurry(monkeypatch)
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return ended.value.code


def test_there_is_a_test_for_every_example() -> None:
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names == {"close_everything.py", "rehearse.py", "watch_outcomes.py"}


def test_close_everything_closes_nothing_unless_told_to(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "close_everything.py") == 1

    assert "20 trades would be closed" in capsys.readouterr().out
    assert not sandbox.ledger.applied


def test_close_everything_closes_all_and_leaves_what_has_no_position(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "close_everything.py", "--yes") == 0

    assert sandbox.ledger.applied == frozenset(sandbox.trade_ids)
    assert "20 trades: {'CLOSED': 20}" in capsys.readouterr().out
    assert not sandbox.ledger.count(operation="cancel_smart_trade")


def test_close_everything_names_what_it_could_not_close(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def refused(*_: object, **__: object) -> CloseReport[SmartTrade]:
        late = RequestNotSentError("too late")
        outcome = CloseOutcome[SmartTrade](8, CloseState.NOT_SENT, None, late)
        return CloseReport((outcome,), unlisted=late)

    monkeypatch.setattr(SmartTrades, "close_all", refused)

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


def test_watch_outcomes_says_when_one_is_not_closed(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "watch_outcomes.py", sandbox.pending_ids[0], 99) == 1

    output = capsys.readouterr().out
    assert "REJECTED" in output
    assert "NOT_FOUND" in output


def test_rehearse_gets_through_the_crash(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "rehearse.py") == 0

    assert "0 closed again, 0 over the limit" in capsys.readouterr().out
