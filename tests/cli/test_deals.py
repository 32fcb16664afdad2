"""`threecommas deals list|close|close-all`."""

import sys

import pytest

from tests.cli.conftest import Interrupt, Run, Terminal, closes, export
from threecommas_async.cli.kinds import DEALS
from threecommas_async.models.deal import Deal
from threecommas_async.sandbox import Faults, Sandbox

WHOLE_BOT = "panic_sell_all_dca_bot_deals"


async def test_open_deals_are_listed_with_what_one_wants_to_know(
    cli: Run, sandbox: Sandbox
) -> None:
    ran = await cli("deals", "list")

    assert ran.status == 0
    assert "3 deals" in ran.out
    assert all(str(deal_id) in ran.out for deal_id in sandbox.deal_ids)
    assert "bought" in ran.out
    assert str(sandbox.bot_id) in ran.out


async def test_a_program_gets_whole_deals_that_pass_the_filters(cli: Run, sandbox: Sandbox) -> None:
    every = (await cli("deals", "list", "--bot-id", sandbox.bot_id, "--json")).data
    of_others = (await cli("deals", "list", "--account-id", 1, "--json")).data
    base = every[0]["to_currency"]
    of_base = (await cli("deals", "list", "--base", base, "--json")).data
    over = (await cli("deals", "list", "--scope", "completed", "--json")).data

    assert {deal["id"] for deal in every} == set(sandbox.deal_ids)
    assert isinstance(every[0]["bought_volume"], str)
    assert of_others == over == []
    assert {deal["to_currency"] for deal in of_base} == {base}


async def test_deals_are_closed_once_each_and_in_order(cli: Run, sandbox: Sandbox) -> None:
    one, two, three = sandbox.deal_ids

    ran = await cli("deals", "close", three, one, three, 7, "--yes", "--json")

    assert ran.status == 1
    assert [(o["trade_id"], o["state"]) for o in ran.data["outcomes"]] == [
        (three, "accepted"),
        (one, "accepted"),
        (7, "not_found"),
    ]
    assert ran.data["outcomes"][0]["status"] == "panic_sell_pending"
    assert sandbox.ledger.applied == {one, three}
    assert two not in sandbox.ledger.applied


async def test_a_dry_run_tells_what_would_be_closed_and_closes_nothing(
    cli: Run, sandbox: Sandbox
) -> None:
    closing, one, _ = sandbox.deal_ids
    await cli("deals", "close", closing, "--yes")

    ran = await cli("deals", "close", one, closing, 7, "--dry-run", "--json")

    assert ran.status == 1
    assert ran.data["would_close"] == [one]
    assert [entry["reason"] for entry in ran.data["would_not_close"]] == [
        "already closing, or its state does not allow it",
        "not among the open deals",
    ]
    assert closes(sandbox) == 1


def test_a_deal_that_has_only_placed_its_base_order_is_told_apart() -> None:
    deal = Deal(id=1, status="base_order_placed")

    assert DEALS.why_not(deal) == "its entry is not filled"


async def test_all_deals_are_closed_each_by_itself(cli: Run, sandbox: Sandbox) -> None:
    ran = await cli("deals", "close-all", "--yes")

    assert ran.status == 0
    assert "3 of 3 closing or closed" in ran.out
    assert sandbox.ledger.applied == set(sandbox.deal_ids)
    assert sandbox.ledger.count(operation=WHOLE_BOT) == 0


async def test_a_whole_bot_is_closed_with_one_request(cli: Run, sandbox: Sandbox) -> None:
    ran = await cli("deals", "close-all", "--bot-id", sandbox.bot_id, "--yes", "--json")

    assert ran.status == 0
    assert len(ran.data["outcomes"]) == 3
    assert sandbox.ledger.applied == set(sandbox.deal_ids)
    assert closes(sandbox) == sandbox.ledger.count(operation=WHOLE_BOT) == 1


async def test_a_bot_with_another_filter_is_not_closed_as_a_whole(
    cli: Run, sandbox: Sandbox
) -> None:
    first = (await cli("deals", "list", "--json")).data[0]
    filters = ("--bot-id", sandbox.bot_id, "--base", first["to_currency"])

    ran = await cli("deals", "close-all", *filters, "--yes", "--json")

    assert ran.status == 0
    assert first["id"] in sandbox.ledger.applied
    assert sandbox.ledger.count(operation=WHOLE_BOT) == 0


async def test_before_a_whole_bot_is_closed_it_says_that_it_will_be_disabled(
    cli: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
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
    assert closes(sandbox) == 0


async def test_interrupted_while_a_whole_bot_is_closed_it_claims_to_know_nothing(
    interrupted: Interrupt, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=0, deals=2, faults=Faults(silence_after=1.0)) as sandbox:
        export(monkeypatch, sandbox)
        command = ("deals", "close-all", "--bot-id", sandbox.bot_id, "--yes", "--json")

        ran = await interrupted(lambda: closes(sandbox) == 1, *command)

        assert ran.data["counts"] == {"unknown": 2}
        assert "may have taken effect" in ran.data["outcomes"][0]["error"]["message"]
        assert sandbox.ledger.applied == set(sandbox.deal_ids)
