"""`threecommas deals list|close|close-all`."""

import sys

import pytest

from tests.cli.conftest import InterruptCommand, RunCommand, Terminal, count_closes, export
from threecommas_async.cli.operations import CLOSE_DEALS
from threecommas_async.models.deal import Deal
from threecommas_async.sandbox import Faults, Sandbox

WHOLE_BOT = "panic_sell_all_dca_bot_deals"


async def test_deals_list_shows_a_table_of_open_deals(cli: RunCommand, sandbox: Sandbox) -> None:
    result = await cli("deals", "list")

    assert result.status == 0
    assert "3 deals" in result.out
    assert all(str(deal_id) in result.out for deal_id in sandbox.deal_ids)
    assert "bought" in result.out
    assert str(sandbox.bot_id) in result.out


async def test_deals_list_json_has_complete_deals_that_pass_the_filters(
    cli: RunCommand, sandbox: Sandbox
) -> None:
    every = (await cli("deals", "list", "--bot-id", sandbox.bot_id, "--json")).data
    of_others = (await cli("deals", "list", "--account-id", 1, "--json")).data
    base = every[0]["to_currency"]
    of_base = (await cli("deals", "list", "--base", base, "--json")).data
    over = (await cli("deals", "list", "--scope", "completed", "--json")).data

    assert {deal["id"] for deal in every} == set(sandbox.deal_ids)
    assert isinstance(every[0]["bought_volume"], str)
    assert of_others == over == []
    assert {deal["to_currency"] for deal in of_base} == {base}


async def test_deals_are_closed_once_each_and_reported_in_order(
    cli: RunCommand, sandbox: Sandbox
) -> None:
    one, two, three = sandbox.deal_ids

    result = await cli("deals", "close", three, one, three, 7, "--yes", "--json")

    assert result.status == 1
    assert [(o["trade_id"], o["state"]) for o in result.data["outcomes"]] == [
        (three, "accepted"),
        (one, "accepted"),
        (7, "not_found"),
    ]
    assert result.data["outcomes"][0]["status"] == "panic_sell_pending"
    assert sandbox.ledger.applied == {one, three}
    assert two not in sandbox.ledger.applied


async def test_dry_run_shows_the_plan_and_closes_nothing(cli: RunCommand, sandbox: Sandbox) -> None:
    closing, one, _ = sandbox.deal_ids
    await cli("deals", "close", closing, "--yes")

    result = await cli("deals", "close", one, closing, 7, "--dry-run", "--json")

    assert result.status == 1
    assert result.data["would_close"] == [one]
    assert [entry["reason"] for entry in result.data["would_not_close"]] == [
        "already closing, or its state does not allow it",
        "not among the open deals",
    ]
    assert count_closes(sandbox) == 1


def test_deal_with_only_a_placed_base_order_counts_as_not_filled() -> None:
    deal = Deal(id=1, status="base_order_placed")

    assert CLOSE_DEALS.obstacle(deal) == "its entry is not filled"


async def test_close_all_without_filters_closes_each_deal_with_its_own_request(
    cli: RunCommand, sandbox: Sandbox
) -> None:
    result = await cli("deals", "close-all", "--yes")

    assert result.status == 0
    assert "3 of 3 closing or closed" in result.out
    assert sandbox.ledger.applied == set(sandbox.deal_ids)
    assert sandbox.ledger.count(operation=WHOLE_BOT) == 0


async def test_bot_id_alone_closes_all_its_deals_with_one_request(
    cli: RunCommand, sandbox: Sandbox
) -> None:
    result = await cli("deals", "close-all", "--bot-id", sandbox.bot_id, "--yes", "--json")

    assert result.status == 0
    assert len(result.data["outcomes"]) == 3
    assert sandbox.ledger.applied == set(sandbox.deal_ids)
    assert count_closes(sandbox) == sandbox.ledger.count(operation=WHOLE_BOT) == 1


async def test_bot_id_with_another_filter_closes_each_deal_with_its_own_request(
    cli: RunCommand, sandbox: Sandbox
) -> None:
    first = (await cli("deals", "list", "--json")).data[0]
    filters = ("--bot-id", sandbox.bot_id, "--base", first["to_currency"])

    result = await cli("deals", "close-all", *filters, "--yes", "--json")

    assert result.status == 0
    assert first["id"] in sandbox.ledger.applied
    assert sandbox.ledger.count(operation=WHOLE_BOT) == 0


async def test_question_and_dry_run_say_that_the_bot_will_be_disabled(
    cli: RunCommand, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    command = ("deals", "close-all", "--bot-id", sandbox.bot_id)

    asked = await cli(*command)
    shown = await cli(*command, "--dry-run")
    as_json = await cli(*command, "--dry-run", "--json")

    assert (
        f"Close all 3 deals at market now, and disable the bot (bot id {sandbox.bot_id})? [y/N]"
        in asked.err
    )
    assert "3 of 3 would be closed; it would also disable the bot; nothing was sent" in shown.out
    assert as_json.data["would_also"] == "disable the bot"
    assert (asked.status, shown.status, as_json.status) == (1, 0, 0)
    assert count_closes(sandbox) == 0


async def test_interrupt_during_a_bot_close_reports_all_deals_as_unknown(
    run_interrupted: InterruptCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=0, deals=2, faults=Faults(silence_after=1.0)) as sandbox:
        export(monkeypatch, sandbox)
        command = ("deals", "close-all", "--bot-id", sandbox.bot_id, "--yes", "--json")

        result = await run_interrupted(lambda: count_closes(sandbox) == 1, *command)

        assert result.data["counts"] == {"unknown": 2}
        assert "may have taken effect" in result.data["outcomes"][0]["error"]["message"]
        assert sandbox.ledger.applied == set(sandbox.deal_ids)
