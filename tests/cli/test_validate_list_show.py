"""`threecommas validate`, `trades list`, `trades show`."""

from decimal import Decimal

import pytest

from tests.cli.conftest import RunCommand
from threecommas_async.models.user import ValidateResult
from threecommas_async.resources.users import Users
from threecommas_async.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("sandbox")


async def test_valid_key_is_reported_as_valid(cli: RunCommand) -> None:
    result = await cli("validate")

    assert (result.status, result.out, result.err) == (0, "The key is valid.\n", "")


async def test_valid_key_is_reported_as_json(cli: RunCommand) -> None:
    result = await cli("validate", "--json")

    assert (result.status, result.data) == (0, {"valid": True})


async def test_invalid_key_exits_with_the_credentials_status(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_valid(_: Users) -> ValidateResult:
        return ValidateResult(valid=False)

    monkeypatch.setattr(Users, "validate", not_valid)

    result = await cli("validate")

    assert (result.status, result.out) == (3, "3Commas does not accept the key.\n")


@pytest.mark.parametrize("command", [("validate",), ("trades", "list"), ("trades", "show", "1")])
async def test_wrong_secret_is_one_line_and_exits_with_the_credentials_status(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("THREECOMMAS_API_SECRET", "wrong")

    result = await cli(*command)

    assert result.status == 3
    assert result.out == ""
    assert result.err.count("\n") == 1
    assert "401 signature_invalid" in result.err
    assert "Check the key" in result.err


async def test_key_without_read_permission_exits_with_the_credentials_status(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(trades=1, permissions=()) as sandbox:
        monkeypatch.setenv("THREECOMMAS_BASE_URL", sandbox.base_url)
        result = await cli("trades", "list")

    assert result.status == 3
    assert "403" in result.err


async def test_trades_list_shows_a_table_of_open_trades(cli: RunCommand, sandbox: Sandbox) -> None:
    result = await cli("trades", "list")

    assert result.status == 0
    assert result.err == ""
    assert "4 SmartTrades" in result.out
    for trade_id in (*sandbox.trade_ids, *sandbox.pending_ids):
        assert str(trade_id) in result.out
    assert "waiting_targets" in result.out


async def test_trades_list_json_has_complete_trades_with_exact_numbers(
    cli: RunCommand, sandbox: Sandbox
) -> None:
    result = await cli("trades", "list", "--json")

    trades = {trade["id"]: trade for trade in result.data}
    trade = trades[sandbox.trade_ids[0]]
    assert result.status == 0
    assert isinstance(trade["position"]["units"]["value"], str)
    assert Decimal(trade["position"]["units"]["value"]) > 0
    assert trade["data"]["created_at"].endswith(("Z", "+00:00"))
    assert trade["status"]["basic_type"] == "waiting_targets"


async def test_trades_list_applies_its_filters(cli: RunCommand, sandbox: Sandbox) -> None:
    everything = (await cli("trades", "list", "--status", "all", "--json")).data
    first = everything[0]

    of_pair = (await cli("trades", "list", "--pair", first["pair"], "--json")).data
    of_account = (
        await cli("trades", "list", "--account-id", first["account"]["id"], "--json")
    ).data
    without_matches = (await cli("trades", "list", "--account-id", 1, "--json")).data

    assert first["id"] in {trade["id"] for trade in of_pair}
    assert {trade["pair"] for trade in of_pair} == {first["pair"]}
    assert {trade["account"]["id"] for trade in of_account} == {first["account"]["id"]}
    assert without_matches == []
    # Three lists take a page and an empty one; the list without matches takes one request.
    assert len(sandbox.ledger.requests) == 7


async def test_trades_show_says_whether_the_trade_can_be_closed(
    cli: RunCommand, sandbox: Sandbox
) -> None:
    result = await cli("trades", "show", sandbox.trade_ids[0])

    assert result.status == 0
    assert f"SmartTrade {sandbox.trade_ids[0]}" in result.out
    assert "Waiting Targets" in result.out
    assert "can be closed at market" in result.out


async def test_trades_show_json_has_the_complete_trade(cli: RunCommand, sandbox: Sandbox) -> None:
    result = await cli("trades", "show", sandbox.trade_ids[0], "--json")

    assert result.data["id"] == sandbox.trade_ids[0]
    assert result.data["data"]["panic_sell_available"] is True


async def test_missing_trade_is_a_one_line_error(cli: RunCommand) -> None:
    result = await cli("trades", "show", 7)

    assert result.status == 1
    assert result.out == ""
    assert result.err.startswith("threecommas: GET ")
    assert "Not found" in result.err
    assert result.err.count("\n") == 1


async def test_error_is_printed_as_json(cli: RunCommand) -> None:
    result = await cli("trades", "show", 7, "--json")

    assert result.status == 1
    assert result.data["error"]["type"] == "NotFoundError"
    assert "Not found" in result.data["error"]["message"]


async def test_invalid_id_is_a_usage_error(cli: RunCommand, sandbox: Sandbox) -> None:
    result = await cli("trades", "show", 2**63)

    assert result.status == 2
    assert "2^63" in result.err
    assert not sandbox.ledger.requests
