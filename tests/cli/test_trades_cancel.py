"""`threecommas trades cancel`."""

import asyncio
import io
import sys

import pytest

from tests.cli.conftest import InterruptCommand, RunCommand, Terminal, export
from threecommas_async.sandbox import Faults, Sandbox


def count_cancels(sandbox: Sandbox) -> int:
    return sandbox.ledger.count(operation="cancel_smart_trade")


async def test_pending_trade_is_cancelled(cli: RunCommand, sandbox: Sandbox) -> None:
    (pending,) = sandbox.pending_ids

    result = await cli("trades", "cancel", pending, "--yes")

    assert result.status == 0
    assert "1 of 1 being cancelled or over" in result.out
    assert "cancellation_pending" in result.out
    assert "cancelled 1 of 1" in result.err
    assert sandbox.ledger.trade(pending).state == "cancellation_pending"
    assert not sandbox.ledger.applied


async def test_trades_are_cancelled_once_each_and_reported_in_order(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=0, pending=30) as sandbox:
        export(monkeypatch, sandbox)
        ids = sandbox.pending_ids[::-1]
        result = await cli("trades", "cancel", *ids, ids[0], "--yes", "--json")

        assert result.status == 0
        assert [outcome["trade_id"] for outcome in result.data["outcomes"]] == list(ids)
        assert result.data["counts"] == {"accepted": 30}
        assert count_cancels(sandbox) == 30


async def test_closed_and_missing_trades_have_different_outcomes(
    cli: RunCommand, sandbox: Sandbox
) -> None:
    one, *_ = sandbox.trade_ids
    await cli("trades", "close", one, "--yes")

    result = await cli("trades", "cancel", one, 7, "--yes", "--json")

    assert result.status == 1
    assert [outcome["state"] for outcome in result.data["outcomes"]] == [
        "already_closed",
        "not_found",
    ]


async def test_cancel_is_sent_only_after_a_successful_read(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(reset_before=1.0, max_per_trade=1, closes_only=False)
    async with Sandbox(trades=0, pending=1, faults=faults) as sandbox:
        export(monkeypatch, sandbox)
        result = await cli("trades", "cancel", *sandbox.pending_ids, "--yes", "--json")

        assert result.status == 0
        assert result.data["counts"] == {"accepted": 1}
        assert [request.operation for request in sandbox.ledger.requests] == [
            "get_smart_trade",
            "get_smart_trade",
            "cancel_smart_trade",
        ]


async def test_lost_answers_do_not_prevent_cancelling(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(reset_before=0.6, max_per_trade=1, closes_only=False)
    async with Sandbox(trades=0, pending=12, faults=faults) as sandbox:
        export(monkeypatch, sandbox)
        result = await cli("trades", "cancel", *sandbox.pending_ids, "--yes", "--json")

        assert result.status == 0
        assert result.data["counts"] == {"accepted": 12}


async def test_failed_trade_is_reported_as_failed(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=1, failing=1, time_scale=100.0) as sandbox:
        export(monkeypatch, sandbox)
        await cli("trades", "close", *sandbox.trade_ids, "--yes")
        await asyncio.sleep(0.1)

        result = await cli("trades", "cancel", *sandbox.trade_ids, "--yes", "--json")

    assert result.status == 1
    assert result.data["counts"] == {"failed": 1}
    assert result.data["outcomes"][0]["error"]["type"] == "CloseFailedError"


async def test_confirm_waits_until_the_trade_is_cancelled(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=0, pending=1, time_scale=100.0) as sandbox:
        export(monkeypatch, sandbox)
        result = await cli("trades", "cancel", *sandbox.pending_ids, "--yes", "--confirm", "--json")

    assert result.status == 0
    assert result.data["counts"] == {"closed": 1}
    assert result.data["outcomes"][0]["status"] == "cancelled"


async def test_dry_run_shows_the_plan_and_cancels_nothing(
    cli: RunCommand, sandbox: Sandbox
) -> None:
    closing, *_ = sandbox.trade_ids
    (pending,) = sandbox.pending_ids
    await cli("trades", "close", closing, "--yes")

    result = await cli("trades", "cancel", pending, closing, 7, "--dry-run", "--json")
    good = await cli("trades", "cancel", pending, "--dry-run")

    assert result.status == 1
    assert result.data["would_cancel"] == [pending]
    assert [entry["trade_id"] for entry in result.data["would_not_cancel"]] == [closing, 7]
    assert good.status == 0
    assert "1 of 1 would be cancelled; nothing was sent" in good.out
    assert count_cancels(sandbox) == 0


async def test_cancel_asks_first(
    cli: RunCommand, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    declined = await cli("trades", "cancel", *sandbox.pending_ids)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    without_terminal = await cli("trades", "cancel", *sandbox.pending_ids)

    assert (declined.status, without_terminal.status) == (1, 2)
    assert "Cancel 1 SmartTrade now? [y/N]" in declined.err
    assert "add --yes" in without_terminal.err
    assert not sandbox.ledger.requests


async def test_interrupt_prints_the_report_so_far(
    run_interrupted: InterruptCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=0, pending=4) as sandbox:
        export(monkeypatch, sandbox)

        result = await run_interrupted(
            lambda: len(sandbox.ledger.requests) == 4,  # two per trade: a read and a cancel
            *("trades", "cancel", *sandbox.pending_ids, "--yes", "--json", "--rate-limit", 4),
        )

        done = count_cancels(sandbox)
        assert done in {1, 2}
        assert result.data["counts"] == {"accepted": done, "not_sent": 4 - done}
        assert len(result.data["leftovers"]) == 4 - done


async def test_filled_trade_is_not_cancelled(cli: RunCommand, sandbox: Sandbox) -> None:
    one, *_ = sandbox.trade_ids

    result = await cli("trades", "cancel", one, "--yes", "--json")
    plan = await cli("trades", "cancel", one, "--dry-run", "--json")

    assert (result.status, plan.status) == (1, 1)
    assert result.data["counts"] == {"not_sent": 1}
    assert "its entry has been filled" in result.data["outcomes"][0]["error"]["message"]
    assert plan.data["would_not_cancel"][0]["reason"] == "its entry is filled; it can be closed"
    assert count_cancels(sandbox) == 0
