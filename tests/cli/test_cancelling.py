"""`threecommas trades cancel`."""

import asyncio
import io
import sys

import pytest

from tests.cli.conftest import Interrupt, Run, Terminal, export
from threecommas_async.sandbox import Faults, Sandbox


def cancels(sandbox: Sandbox) -> int:
    return sandbox.ledger.count(operation="cancel_smart_trade")


async def test_a_pending_trade_is_cancelled(cli: Run, sandbox: Sandbox) -> None:
    (pending,) = sandbox.pending_ids

    ran = await cli("trades", "cancel", pending, "--yes")

    assert ran.status == 0
    assert "1 of 1 being cancelled or over" in ran.out
    assert "cancellation_pending" in ran.out
    assert "cancelled 1 of 1" in ran.err
    assert sandbox.ledger.trade(pending).state == "cancellation_pending"
    assert not sandbox.ledger.applied


async def test_many_are_cancelled_once_each_and_in_order(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=0, pending=30) as sandbox:
        export(monkeypatch, sandbox)
        ids = sandbox.pending_ids[::-1]
        ran = await cli("trades", "cancel", *ids, ids[0], "--yes", "--json")

        assert ran.status == 0
        assert [outcome["trade_id"] for outcome in ran.data["outcomes"]] == list(ids)
        assert ran.data["counts"] == {"accepted": 30}
        assert cancels(sandbox) == 30


async def test_what_is_over_already_and_what_is_not_there_are_told_apart(
    cli: Run, sandbox: Sandbox
) -> None:
    one, *_ = sandbox.trade_ids
    await cli("trades", "close", one, "--yes")

    ran = await cli("trades", "cancel", one, 7, "--yes", "--json")

    assert ran.status == 1
    assert [outcome["state"] for outcome in ran.data["outcomes"]] == ["already_closed", "not_found"]


async def test_a_cancel_is_sent_only_after_a_look_that_was_answered(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(reset_before=1.0, max_per_trade=1, closes_only=False)
    async with Sandbox(trades=0, pending=1, faults=faults) as sandbox:
        export(monkeypatch, sandbox)
        ran = await cli("trades", "cancel", *sandbox.pending_ids, "--yes", "--json")

        assert ran.status == 0
        assert ran.data["counts"] == {"accepted": 1}
        assert [request.operation for request in sandbox.ledger.requests] == [
            "get_smart_trade",
            "get_smart_trade",
            "cancel_smart_trade",
        ]


async def test_many_without_an_answer_are_cancelled_all_the_same(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(reset_before=0.6, max_per_trade=1, closes_only=False)
    async with Sandbox(trades=0, pending=12, faults=faults) as sandbox:
        export(monkeypatch, sandbox)
        ran = await cli("trades", "cancel", *sandbox.pending_ids, "--yes", "--json")

        assert ran.status == 0
        assert ran.data["counts"] == {"accepted": 12}


async def test_one_that_has_failed_says_so(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Sandbox(trades=1, failing=1, time_scale=100.0) as sandbox:
        export(monkeypatch, sandbox)
        await cli("trades", "close", *sandbox.trade_ids, "--yes")
        await asyncio.sleep(0.1)

        ran = await cli("trades", "cancel", *sandbox.trade_ids, "--yes", "--json")

    assert ran.status == 1
    assert ran.data["counts"] == {"failed": 1}
    assert ran.data["outcomes"][0]["error"]["type"] == "CloseFailedError"


async def test_confirmed_means_cancelled_and_not_just_being_cancelled(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=0, pending=1, time_scale=100.0) as sandbox:
        export(monkeypatch, sandbox)
        ran = await cli("trades", "cancel", *sandbox.pending_ids, "--yes", "--confirm", "--json")

    assert ran.status == 0
    assert ran.data["counts"] == {"closed": 1}
    assert ran.data["outcomes"][0]["status"] == "cancelled"


async def test_a_dry_run_tells_what_would_be_cancelled_and_cancels_nothing(
    cli: Run, sandbox: Sandbox
) -> None:
    closing, *_ = sandbox.trade_ids
    (pending,) = sandbox.pending_ids
    await cli("trades", "close", closing, "--yes")

    ran = await cli("trades", "cancel", pending, closing, 7, "--dry-run", "--json")
    good = await cli("trades", "cancel", pending, "--dry-run")

    assert ran.status == 1
    assert ran.data["would_cancel"] == [pending]
    assert [entry["trade_id"] for entry in ran.data["would_not_cancel"]] == [closing, 7]
    assert good.status == 0
    assert "1 of 1 would be cancelled; nothing was sent" in good.out
    assert cancels(sandbox) == 0


async def test_it_asks_first(cli: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    declined = await cli("trades", "cancel", *sandbox.pending_ids)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    nobody = await cli("trades", "cancel", *sandbox.pending_ids)

    assert (declined.status, nobody.status) == (1, 2)
    assert "Cancel 1 SmartTrade now? [y/N]" in declined.err
    assert "add --yes" in nobody.err
    assert not sandbox.ledger.requests


async def test_interrupted_it_tells_the_truth_so_far(
    interrupted: Interrupt, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=0, pending=4) as sandbox:
        export(monkeypatch, sandbox)

        ran = await interrupted(
            lambda: len(sandbox.ledger.requests) == 4,  # each takes two: it is read first
            *("trades", "cancel", *sandbox.pending_ids, "--yes", "--json", "--rate-limit", 4),
        )

        done = cancels(sandbox)
        assert done in {1, 2}
        assert ran.data["counts"] == {"accepted": done, "not_sent": 4 - done}
        assert len(ran.data["leftovers"]) == 4 - done


async def test_an_open_position_is_left_as_it_is(cli: Run, sandbox: Sandbox) -> None:
    one, *_ = sandbox.trade_ids

    ran = await cli("trades", "cancel", one, "--yes", "--json")
    plan = await cli("trades", "cancel", one, "--dry-run", "--json")

    assert (ran.status, plan.status) == (1, 1)
    assert ran.data["counts"] == {"not_sent": 1}
    assert "its entry has been filled" in ran.data["outcomes"][0]["error"]["message"]
    assert plan.data["would_not_cancel"][0]["reason"] == "its entry is filled; it can be closed"
    assert cancels(sandbox) == 0
