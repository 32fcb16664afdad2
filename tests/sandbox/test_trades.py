"""Smart trades over HTTP: the whole entity, its states, and the actions allowed in each."""

import re
from decimal import Decimal
from typing import Any, cast

import pytest

from tests.sandbox.harness import Harness, running_sandbox

# Shape of the documented example of a close: all fields and the kind of their values.
AMOUNT = r"-?\d+\.\d+"
STATUS = {"type": "word", "basic_type": "word", "title": "text"}
SHAPE: dict[str, Any] = {
    "id": int,
    "version": int,
    "account": {"id": int, "type": "word", "name": "text", "market": "text", "link": "text"},
    "pair": "text",
    "instant": bool,
    "status": STATUS,
    "leverage": {"enabled": bool},
    "position": {
        "type": "word",
        "editable": bool,
        "units": {"value": Decimal, "editable": bool},
        "price": {"value": Decimal, "value_without_commission": Decimal, "editable": bool},
        "total": {"value": Decimal},
        "order_type": "word",
        "status": STATUS,
    },
    "take_profit": {"enabled": bool, "price_type": "word", "steps": list},
    "stop_loss": {"enabled": bool},
    "reduce_funds": {"steps": list},
    "market_close": {},
    "note": "text",
    "note_raw": None,
    "skip_enter_step": bool,
    "data": {
        "editable": bool,
        "current_price": {
            "day_change_percent": Decimal,
            "bid": Decimal,
            "ask": Decimal,
            "last": Decimal,
            "quote_volume": Decimal,
        },
        "target_price_type": "word",
        "orderbook_price_currency": "text",
        "base_order_finished": bool,
        "missing_funds_to_close": Decimal,
        "liquidation_price": None,
        "average_enter_price": Decimal,
        "average_close_price": None,
        "average_enter_price_without_commission": Decimal,
        "average_close_price_without_commission": None,
        "panic_sell_available": bool,
        "add_funds_available": bool,
        "reduce_funds_available": bool,
        "force_start_available": bool,
        "force_process_available": bool,
        "cancel_available": bool,
        "finished": bool,
        "base_position_step_finished": bool,
        "entered_amount": Decimal,
        "entered_total": Decimal,
        "closed_amount": Decimal,
        "closed_total": Decimal,
        "commission": object,
        "created_at": "time",
        "updated_at": "time",
        "type": "word",
    },
    "profit": {"volume": Decimal, "usd": Decimal, "percent": Decimal, "roe": None},
    "margin": {"amount": None, "total": None},
    "is_position_not_filled": bool,
}
PATTERNS = {
    "word": r"[a-z_]+",
    "text": r".*",
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
}


def assert_shape(value: Any, shape: Any, where: str = "trade") -> None:
    if isinstance(shape, dict):
        fields = cast("dict[str, Any]", shape)
        assert set(value) >= set(fields), where
        for name, inner in fields.items():
            assert_shape(value[name], inner, f"{where}.{name}")
    elif shape is None:
        assert value is None, where
    elif shape is Decimal:
        assert re.fullmatch(AMOUNT, value), (where, value)
    elif isinstance(shape, str):
        assert re.fullmatch(PATTERNS[shape], value), (where, value)
    else:
        assert isinstance(value, shape), where


async def read(env: Harness, trade_id: int) -> dict[str, Any]:
    trade: dict[str, Any] = await env.get(f"/v2/smart_trades/{trade_id}")
    return trade


def flags(trade: dict[str, Any]) -> set[str]:
    """Return the flags that are true in the data of a trade."""
    always = {"base_order_finished", "base_position_step_finished", "force_process_available"}
    return {name for name, value in trade["data"].items() if value is True} - always


async def test_an_accepted_close_answers_201_with_the_whole_trade() -> None:
    async with running_sandbox(trades=60) as env:
        for trade_id in env.sandbox.trade_ids:
            answer = await env.close(trade_id)
            assert answer.status_code == 201
            trade = answer.json()
            assert_shape(trade, SHAPE)
            assert trade["id"] == trade_id
            assert trade["status"] == {
                "type": "panic_sell_pending",
                "basic_type": "panic_sell_pending",
                "title": "Closing at Market Price",
            }
            assert flags(trade) == set()
            assert trade["market_close"] == {}


async def test_the_generated_trades_cover_every_kind() -> None:
    async with running_sandbox(trades=60, rate_limit=None) as env:
        trades = [await read(env, id_) for id_ in env.sandbox.trade_ids]
    assert {t["data"]["type"] for t in trades} == {"smart_trade", "smart_cover"}
    orders = {t["position"]["order_type"]: "conditional" in t["position"] for t in trades}
    assert orders == {"market": False, "limit": False, "conditional": True}
    assert {len(t["take_profit"]["steps"]) for t in trades} == {0, 1, 2}
    assert {t["stop_loss"]["enabled"] for t in trades} == {True, False}
    assert {type(t["data"]["commission"]) for t in trades} == {float, str}
    assert len({t["account"]["id"] for t in trades}) == 2
    assert len({t["pair"] for t in trades}) > 5
    step = next(s for t in trades for s in t["take_profit"]["steps"])
    assert step["status"]["type"] == "order_placed"
    assert step["data"] == {"cancelable": True, "panic_sell_available": True}


async def test_an_open_trade_can_be_closed_and_cancelled() -> None:
    async with running_sandbox() as env:
        trade = await read(env, env.sandbox.trade_ids[0])
    assert trade["status"]["basic_type"] == "waiting_targets"
    assert flags(trade) == {
        "editable",
        "panic_sell_available",
        "cancel_available",
        "add_funds_available",
        "reduce_funds_available",
    }


async def test_a_close_passes_through_its_phases_and_then_shows_its_result() -> None:
    async with running_sandbox(close_delay=(2.0, 2.0)) as env:
        trade_id = env.sandbox.trade_ids[0]
        await env.close(trade_id)
        codes: list[str] = []
        for pause in (0.9, 0.1, 0.9):
            env.clock.advance(pause)
            codes.append((await read(env, trade_id))["status"]["type"])
        env.clock.advance(0.1)
        trade = await read(env, trade_id)
        env.clock.advance(1000)
        later = await read(env, trade_id)
    assert codes == ["panic_sell_pending", "panic_sell_in_progress", "panic_sell_in_progress"]
    assert trade["status"]["basic_type"] == "panic_sold"
    data = trade["data"]
    assert data["finished"] is False
    assert flags(trade) == set()
    assert data["closed_at"] == data["updated_at"]
    assert data["closed_amount"] == data["entered_amount"]
    assert Decimal(data["closed_total"]) == Decimal(data["closed_amount"]) * Decimal(
        data["average_close_price"]
    )
    assert trade["market_close"]["price"]["value"] == data["average_close_price"]
    assert later["profit"] == trade["profit"]
    assert later["data"]["current_price"] != data["current_price"]


async def test_take_profit_steps_of_a_closed_trade_are_cancelled() -> None:
    async with running_sandbox(trades=10, close_delay=(0.0, 0.0)) as env:
        for trade_id in env.sandbox.trade_ids:
            await env.close(trade_id)
        trades = [await read(env, id_) for id_ in env.sandbox.trade_ids]
    steps = [step for trade in trades for step in trade["take_profit"]["steps"]]
    assert {step["status"]["type"] for step in steps} == {"cancelled"}
    assert not any(step["data"]["panic_sell_available"] for step in steps)


async def test_profit_follows_the_price_for_both_sides() -> None:
    async with running_sandbox(trades=30, rate_limit=None) as env:
        for trade_id in env.sandbox.trade_ids:
            trade = await read(env, trade_id)
            now, entry = trade["data"]["current_price"]["last"], trade["position"]["price"]["value"]
            won = (Decimal(now) > Decimal(entry)) == (trade["position"]["type"] == "buy")
            clear = abs(Decimal(trade["profit"]["percent"])) > Decimal("0.2")  # beyond the fee
            assert not clear or (Decimal(trade["profit"]["volume"]) > 0) == won


async def test_prices_change_between_reads() -> None:
    async with running_sandbox() as env:
        trade_id = env.sandbox.trade_ids[0]
        first = await read(env, trade_id)
        env.clock.advance(5)
        second = await read(env, trade_id)
    assert first["data"]["current_price"] != second["data"]["current_price"]


async def test_a_second_close_is_refused_and_changes_nothing() -> None:
    async with running_sandbox(close_delay=(1.0, 1.0)) as env:
        trade_id = env.sandbox.trade_ids[0]
        await env.close(trade_id)
        again = await env.close(trade_id)
        env.clock.advance(1)
        late = await env.close(trade_id)
    assert (again.status_code, late.status_code) == (422, 422)
    assert again.json()["error"] == "record_invalid"
    assert "panic_sell_pending" in again.json()["error_attributes"]["base"][0]
    assert env.ledger.trade(trade_id).applied == 1


async def test_a_failing_trade_ends_as_failed_with_a_reason() -> None:
    async with running_sandbox(trades=4, failing=4, close_delay=(0.0, 0.0)) as env:
        trade_id = env.sandbox.trade_ids[0]
        await env.close(trade_id)
        trade = await read(env, trade_id)
    assert trade["status"]["basic_type"] == "failed"
    assert trade["status"]["error"]
    assert "closed_at" in trade["data"]
    assert not trade["data"]["finished"]
    assert trade["profit"]["volume"] is None


async def test_the_given_number_of_trades_fails() -> None:
    async with running_sandbox(trades=20, failing=5, close_delay=(0.0, 0.0)) as env:
        for trade_id in env.sandbox.trade_ids:
            await env.close(trade_id)
        states = [record.state for record in env.ledger.trades.values()]
    assert (states.count("failed"), states.count("panic_sold")) == (5, 15)


async def test_a_trade_whose_entry_is_not_filled_can_be_cancelled_but_not_closed() -> None:
    async with running_sandbox(pending=2, close_delay=(1.0, 1.0)) as env:
        trade_id = env.sandbox.pending_ids[0]
        waiting = await read(env, trade_id)
        refused = await env.close(trade_id)
        cancelled = await env.call("DELETE", f"/v2/smart_trades/{trade_id}")
        env.clock.advance(1)
        over = await read(env, trade_id)
    assert waiting["status"]["type"] == "waiting_position"
    assert waiting["is_position_not_filled"]
    assert waiting["profit"] == {"volume": None, "usd": None, "percent": "0.0", "roe": None}
    assert flags(waiting) == {
        "editable",
        "add_funds_available",
        "force_start_available",
        "cancel_available",
    }
    assert refused.status_code == 422
    assert cancelled.status_code == 200
    assert cancelled.json()["status"]["type"] == "cancellation_pending"
    assert over["status"]["type"] == "cancelled"
    assert over["take_profit"]["steps"] == []
    assert over["stop_loss"] == {"enabled": False}


async def test_targets_of_a_trade_whose_entry_is_not_filled_are_idle() -> None:
    async with running_sandbox(pending=20, rate_limit=None) as env:
        trades = [await read(env, id_) for id_ in env.sandbox.pending_ids]
    steps = [step for trade in trades for step in trade["take_profit"]["steps"]]
    assert {step["status"]["type"] for step in steps} == {"idle"}
    assert {step["units"]["value"] for step in steps} == {None}


async def test_a_closing_trade_cannot_be_cancelled() -> None:
    async with running_sandbox() as env:
        trade_id = env.sandbox.trade_ids[0]
        await env.close(trade_id)
        answer = await env.call("DELETE", f"/v2/smart_trades/{trade_id}")
    assert answer.status_code == 422
    assert answer.json()["error"] == "record_invalid"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/smart_trades/1", 400),
        ("DELETE", "/v2/smart_trades/1", 400),
        ("POST", "/v2/smart_trades/1/close_by_market", 404),
        ("POST", "/v2/smart_trades/1/set_note", 404),
        ("GET", "/v2/smart_trades/1/trades", 404),
        ("GET", "/v2/smart_trades/abc", 400),
        ("GET", "/v2/smart_trades/%D9%A1", 400),
    ],
)
async def test_not_found_has_the_status_the_api_gives_it(
    method: str, path: str, status: int
) -> None:
    async with running_sandbox() as env:
        answer = await env.call(method, path)
    assert answer.status_code == status
    assert answer.json() == {
        "error": "Not found",
        "error_description": "Smart Trade not found",
    }


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b'{"note":"sell me"}', "application/json"),
        (b"note=sell+me", "application/x-www-form-urlencoded"),
    ],
)
async def test_a_note_can_be_set(content: bytes, content_type: str) -> None:
    async with running_sandbox() as env:
        path = f"/v2/smart_trades/{env.sandbox.trade_ids[0]}"
        headers = {"Content-Type": content_type}
        answer = await env.call("POST", f"{path}/set_note", content=content, headers=headers)
        trade = await env.get(path)
    assert answer.status_code == 201
    assert (trade["note"], trade["note_raw"]) == ("sell me", "sell me")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"note":1}'])
async def test_a_missing_note_is_refused(content: bytes) -> None:
    async with running_sandbox() as env:
        path = f"/v2/smart_trades/{env.sandbox.trade_ids[0]}/set_note"
        answer = await env.call(
            "POST", path, content=content, headers={"Content-Type": "application/json"}
        )
    assert answer.status_code == 400
    assert answer.json()["error_attributes"] == {"note": ["is missing"]}


async def test_the_trades_of_a_smart_trade_are_its_entry_and_its_targets() -> None:
    async with running_sandbox(trades=12, pending=4, rate_limit=None) as env:
        for trade_id in env.sandbox.trade_ids + env.sandbox.pending_ids:
            trade = await read(env, trade_id)
            entry, *targets = await env.get(f"/v2/smart_trades/{trade_id}/trades")
            entered = not trade["is_position_not_filled"]
            assert entry["trade_purpose"] == "position"
            assert (entry["status"] == "finished") == entered
            assert (entry["average_price"] is not None) == entered
            steps = trade["take_profit"]["steps"]
            assert [t["id"] for t in targets] == [step["id"] for step in steps]
            assert all(t["order_side"] != entry["order_side"] for t in targets)


async def test_the_same_seed_gives_the_same_trades_and_keys() -> None:
    generated: list[Any] = []
    for seed in (7, 7, 8):
        async with running_sandbox(trades=5, seed=seed) as env:
            trades = await env.get("/v2/smart_trades")
            keys = (env.sandbox.api_key, env.sandbox.secret)
            generated.append((keys, [(t["pair"], t["position"]) for t in trades]))
    assert generated[0] == generated[1]
    assert generated[0] != generated[2]
