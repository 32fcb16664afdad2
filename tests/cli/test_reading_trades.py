"""`threecommas validate`, `trades list`, `trades show`."""

from decimal import Decimal

import pytest

from tests.cli.conftest import Run
from threecommas_async.models.user import ValidateResult
from threecommas_async.resources.users import Users
from threecommas_async.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("sandbox")


async def test_a_good_key_is_called_valid(cli: Run) -> None:
    ran = await cli("validate")

    assert (ran.status, ran.out, ran.err) == (0, "The key is valid.\n", "")


async def test_a_program_is_told_that_a_key_is_valid(cli: Run) -> None:
    ran = await cli("validate", "--json")

    assert (ran.status, ran.data) == (0, {"valid": True})


async def test_an_answer_that_the_key_is_not_valid_has_the_status_of_credentials(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_valid(_: Users) -> ValidateResult:
        return ValidateResult(valid=False)

    monkeypatch.setattr(Users, "validate", not_valid)

    ran = await cli("validate")

    assert (ran.status, ran.out) == (3, "3Commas does not accept the key.\n")


@pytest.mark.parametrize("command", [("validate",), ("trades", "list"), ("trades", "show", "1")])
async def test_a_wrong_secret_is_one_line_and_the_status_of_credentials(
    cli: Run, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("THREECOMMAS_API_SECRET", "wrong")

    ran = await cli(*command)

    assert ran.status == 3
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert "401 signature_invalid" in ran.err
    assert "Check the key" in ran.err


async def test_a_key_without_the_permission_has_the_status_of_credentials(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=1, permissions=()) as closed_shop:
        monkeypatch.setenv("THREECOMMAS_BASE_URL", closed_shop.base_url)
        ran = await cli("trades", "list")

    assert ran.status == 3
    assert "403" in ran.err


async def test_open_trades_are_listed_with_what_one_wants_to_know(
    cli: Run, sandbox: Sandbox
) -> None:
    ran = await cli("trades", "list")

    assert ran.status == 0
    assert ran.err == ""
    assert "4 SmartTrades" in ran.out
    for trade_id in (*sandbox.trade_ids, *sandbox.pending_ids):
        assert str(trade_id) in ran.out
    assert "waiting_targets" in ran.out


async def test_a_program_gets_whole_trades_with_exact_numbers(cli: Run, sandbox: Sandbox) -> None:
    ran = await cli("trades", "list", "--json")

    trades = {trade["id"]: trade for trade in ran.data}
    trade = trades[sandbox.trade_ids[0]]
    assert ran.status == 0
    assert isinstance(trade["position"]["units"]["value"], str)
    assert Decimal(trade["position"]["units"]["value"]) > 0
    assert trade["data"]["created_at"].endswith(("Z", "+00:00"))
    assert trade["status"]["basic_type"] == "waiting_targets"


async def test_a_list_keeps_to_its_filters(cli: Run, sandbox: Sandbox) -> None:
    everything = (await cli("trades", "list", "--status", "all", "--json")).data
    first = everything[0]

    of_pair = (await cli("trades", "list", "--pair", first["pair"], "--json")).data
    of_account = (
        await cli("trades", "list", "--account-id", first["account"]["id"], "--json")
    ).data
    nowhere = (await cli("trades", "list", "--account-id", 1, "--json")).data

    assert first["id"] in {trade["id"] for trade in of_pair}
    assert {trade["pair"] for trade in of_pair} == {first["pair"]}
    assert {trade["account"]["id"] for trade in of_account} == {first["account"]["id"]}
    assert nowhere == []
    assert len(sandbox.ledger.requests) == 4


async def test_one_trade_is_shown_with_what_can_be_done_with_it(cli: Run, sandbox: Sandbox) -> None:
    ran = await cli("trades", "show", sandbox.trade_ids[0])

    assert ran.status == 0
    assert f"SmartTrade {sandbox.trade_ids[0]}" in ran.out
    assert "Waiting Targets" in ran.out
    assert "can be closed at market" in ran.out


async def test_a_program_gets_the_whole_trade(cli: Run, sandbox: Sandbox) -> None:
    ran = await cli("trades", "show", sandbox.trade_ids[0], "--json")

    assert ran.data["id"] == sandbox.trade_ids[0]
    assert ran.data["data"]["panic_sell_available"] is True


async def test_a_trade_that_is_not_there_is_one_line(cli: Run) -> None:
    ran = await cli("trades", "show", 7)

    assert ran.status == 1
    assert ran.out == ""
    assert ran.err.startswith("threecommas: GET ")
    assert "Not found" in ran.err
    assert ran.err.count("\n") == 1


async def test_a_program_is_told_of_an_error_as_json(cli: Run) -> None:
    ran = await cli("trades", "show", 7, "--json")

    assert ran.status == 1
    assert ran.data["error"]["type"] == "NotFoundError"
    assert "Not found" in ran.data["error"]["message"]


async def test_an_id_that_cannot_be_one_is_a_matter_of_usage(cli: Run, sandbox: Sandbox) -> None:
    ran = await cli("trades", "show", 2**63)

    assert ran.status == 2
    assert "2^63" in ran.err
    assert not sandbox.ledger.requests
