"""`threecommas trades watch`."""

import asyncio
import sys
from typing import Any

import pytest

from tests.cli.conftest import InterruptCommand, RunCommand, Terminal, export
from threecommas_async import OutcomeUnknownError
from threecommas_async.http import Pipeline
from threecommas_async.sandbox import Sandbox


async def test_watch_waits_until_all_are_closed_and_closes_nothing(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=30, close_delay=(0.5, 0.5)) as sandbox:
        export(monkeypatch, sandbox)
        await cli("trades", "close-all", "--yes")

        result = await cli("trades", "watch", *sandbox.trade_ids, "--json")

        assert result.status == 0
        assert result.data["ok"] is True
        assert result.data["counts"] == {"closed": 30}
        assert {trade["status"] for trade in result.data["trades"]} == {"panic_sold"}
        assert sandbox.ledger.count(operation="get_smart_trade") == 0


async def test_watch_timeout_prints_the_standing_of_each_trade(
    cli: RunCommand, sandbox: Sandbox
) -> None:
    closing, one, _ = sandbox.trade_ids
    (pending,) = sandbox.pending_ids
    await cli("trades", "close", closing, "--yes")

    result = await cli("trades", "watch", pending, closing, one, 7, "--timeout", 0.8, "--json")
    shown = await cli("trades", "watch", pending, closing, one, 7, "--timeout", 0.8)

    assert result.status == shown.status == 1
    assert result.data["ok"] is False
    assert [(trade["trade_id"], trade["standing"]) for trade in result.data["trades"]] == [
        (pending, "not entered"),
        (closing, "closing"),
        (one, "open"),
        (7, "not found"),
    ]
    assert result.data["trades"][3]["error"]["type"] == "NotFoundError"
    assert "0 of 4 closed" in shown.out
    assert "Not found" in shown.out
    assert "closed 0 of 4, 1 not entered, 1 closing, 1 open, 1 not found" in shown.err


async def test_watch_on_a_terminal_is_drawn_in_place(
    cli: RunCommand, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    await cli("trades", "watch", sandbox.trade_ids[0], "--timeout", 0.8)

    assert "closed 0 of 1, 1 not read" in terminal.getvalue()
    assert "closed 0 of 1, 1 open" in terminal.getvalue()
    assert "\x1b[" in terminal.getvalue()


async def test_failed_trade_ends_the_watch_with_a_failure(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=1, failing=1, time_scale=100.0) as sandbox:
        export(monkeypatch, sandbox)
        await cli("trades", "close-all", "--yes")
        await asyncio.sleep(0.1)

        result = await cli("trades", "watch", *sandbox.trade_ids)

        assert result.status == 1
        assert "failed" in result.out


async def test_only_trades_not_closed_are_listed_when_there_are_many(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=22, time_scale=100.0) as sandbox:
        export(monkeypatch, sandbox)
        *closed, left = sandbox.trade_ids
        await cli("trades", "close", *closed, "--yes")
        await asyncio.sleep(0.1)

        result = await cli("trades", "watch", *sandbox.trade_ids, "--timeout", 0.8)

        assert result.status == 1
        assert "21 of 22 closed" in result.out
        assert "Not closed" in result.out
        assert str(left) in result.out
        assert str(closed[0]) not in result.out


async def test_trade_not_read_before_the_timeout_is_reported_as_not_read(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=1, latency=(1.0, 1.0)) as sandbox:
        export(monkeypatch, sandbox)
        result = await cli("trades", "watch", *sandbox.trade_ids, "--timeout", 0.2)

    assert result.status == 1
    assert "not read" in result.out
    assert "closed 0 of 1, 1 not read" in result.err


async def test_failed_read_keeps_the_last_standing_and_reports_the_error(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=1) as sandbox:
        export(monkeypatch, sandbox)
        really_send: Any = Pipeline.send
        reads = 0

        async def send(pipeline: Any, endpoint: Any, **call: Any) -> Any:
            nonlocal reads
            reads += 1
            if reads > 1:
                raise OutcomeUnknownError("no answer")
            return await really_send(pipeline, endpoint, **call)

        monkeypatch.setattr(Pipeline, "send", send)
        result = await cli("trades", "watch", *sandbox.trade_ids, "--timeout", 1.5, "--json")

    (trade,) = result.data["trades"]
    assert result.status == 1
    assert trade["standing"] == "open"
    assert trade["error"]["type"] == "OutcomeUnknownError"


async def test_refused_key_ends_the_watch_at_once(
    cli: RunCommand, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREECOMMAS_API_SECRET", "wrong")

    result = await cli("trades", "watch", sandbox.trade_ids[0])

    assert result.status == 3
    assert result.out == ""
    assert "Check the key" in result.err


async def test_interrupted_watch_prints_the_standing_of_each_trade(
    run_interrupted: InterruptCommand, sandbox: Sandbox
) -> None:
    one, *_ = sandbox.trade_ids

    result = await run_interrupted(
        lambda: sandbox.ledger.count(operation="get_smart_trade") > 1,
        *("trades", "watch", one, "--json"),
    )

    assert result.data["counts"] == {"open": 1}
    assert "closed 0 of 1, 1 open" in result.err


async def test_watch_without_a_connection_shows_the_error(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=1) as sandbox:
        export(monkeypatch, sandbox)
        host = sandbox.base_url.split("/")[2]

    result = await cli("trades", "watch", 41_000_001, "--timeout", 0.8)

    assert result.status == 1
    assert f"closed 0 of 1, 1 not read, cannot reach {host} (" in result.err
