"""`threecommas trades watch`."""

import asyncio
import sys
from typing import Any

import pytest

from tests.cli.conftest import Interrupt, Run, Terminal, export
from threecommas_async import OutcomeUnknownError
from threecommas_async.http import Pipeline
from threecommas_async.sandbox import Sandbox


async def test_it_waits_until_all_are_closed_and_closes_nothing(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=30, close_delay=(0.5, 0.5)) as sandbox:
        export(monkeypatch, sandbox)
        await cli("trades", "close-all", "--yes")

        ran = await cli("trades", "watch", *sandbox.trade_ids, "--json")

        assert ran.status == 0
        assert ran.data["ok"] is True
        assert ran.data["counts"] == {"closed": 30}
        assert {trade["status"] for trade in ran.data["trades"]} == {"panic_sold"}
        assert sandbox.ledger.count(operation="get_smart_trade") == 0


async def test_at_the_end_of_its_time_it_tells_where_each_one_stands(
    cli: Run, sandbox: Sandbox
) -> None:
    closing, one, _ = sandbox.trade_ids
    (pending,) = sandbox.pending_ids
    await cli("trades", "close", closing, "--yes")

    ran = await cli("trades", "watch", pending, closing, one, 7, "--timeout", 0.8, "--json")
    shown = await cli("trades", "watch", pending, closing, one, 7, "--timeout", 0.8)

    assert ran.status == shown.status == 1
    assert ran.data["ok"] is False
    assert [(trade["trade_id"], trade["standing"]) for trade in ran.data["trades"]] == [
        (pending, "not entered"),
        (closing, "closing"),
        (one, "open"),
        (7, "not found"),
    ]
    assert ran.data["trades"][3]["error"]["type"] == "NotFoundError"
    assert "0 of 4 closed" in shown.out
    assert "Not found" in shown.out
    assert "closed 0 of 4, 1 not entered, 1 closing, 1 open, 1 not found" in shown.err


async def test_on_a_terminal_the_standing_is_drawn_over_itself(
    cli: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    await cli("trades", "watch", sandbox.trade_ids[0], "--timeout", 0.8)

    assert "closed 0 of 1, 1 not read" in terminal.getvalue()
    assert "closed 0 of 1, 1 open" in terminal.getvalue()
    assert "\x1b[" in terminal.getvalue()


async def test_one_that_fails_is_over_and_says_why(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=1, failing=1, time_scale=100.0) as sandbox:
        export(monkeypatch, sandbox)
        await cli("trades", "close-all", "--yes")
        await asyncio.sleep(0.1)

        ran = await cli("trades", "watch", *sandbox.trade_ids)

        assert ran.status == 1
        assert "failed" in ran.out


async def test_of_many_only_those_that_are_not_closed_are_listed(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=22, time_scale=100.0) as sandbox:
        export(monkeypatch, sandbox)
        *closed, left = sandbox.trade_ids
        await cli("trades", "close", *closed, "--yes")
        await asyncio.sleep(0.1)

        ran = await cli("trades", "watch", *sandbox.trade_ids, "--timeout", 0.8)

        assert ran.status == 1
        assert "21 of 22 closed" in ran.out
        assert "Not closed" in ran.out
        assert str(left) in ran.out
        assert str(closed[0]) not in ran.out


async def test_what_could_not_be_read_in_time_is_told_as_that(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=1, latency=(1.0, 1.0)) as sandbox:
        export(monkeypatch, sandbox)
        ran = await cli("trades", "watch", *sandbox.trade_ids, "--timeout", 0.2)

    assert ran.status == 1
    assert "not read" in ran.out
    assert "closed 0 of 1, 1 not read" in ran.err


async def test_one_that_cannot_be_read_keeps_its_standing_and_tells_why(
    cli: Run, monkeypatch: pytest.MonkeyPatch
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
        ran = await cli("trades", "watch", *sandbox.trade_ids, "--timeout", 1.5, "--json")

    (trade,) = ran.data["trades"]
    assert ran.status == 1
    assert trade["standing"] == "open"
    assert trade["error"]["type"] == "OutcomeUnknownError"


async def test_a_refused_key_ends_it_at_once(
    cli: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREECOMMAS_API_SECRET", "wrong")

    ran = await cli("trades", "watch", sandbox.trade_ids[0])

    assert ran.status == 3
    assert ran.out == ""
    assert "Check the key" in ran.err


async def test_interrupted_it_tells_where_they_stand(
    interrupted: Interrupt, sandbox: Sandbox
) -> None:
    one, *_ = sandbox.trade_ids

    ran = await interrupted(
        lambda: sandbox.ledger.count(operation="get_smart_trade") > 1,
        *("trades", "watch", one, "--json"),
    )

    assert ran.data["counts"] == {"open": 1}
    assert "closed 0 of 1, 1 open" in ran.err


async def test_without_a_connection_it_says_so(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Sandbox(trades=1) as sandbox:
        export(monkeypatch, sandbox)
        host = sandbox.base_url.split("/")[2]

    ran = await cli("trades", "watch", 41_000_001, "--timeout", 0.8)

    assert ran.status == 1
    assert f"closed 0 of 1, 1 not read, cannot reach {host} (" in ran.err
