"""Smart trades over the wire: the whole entity, its states, and what can be done in each."""

import re
from decimal import Decimal
from typing import Any, cast

import pytest

from tests.sandbox.caller import Stage, stage

# The documented example of a close, as far as its shape goes: every field and what it may hold.
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


async def read(on: Stage, trade_id: int) -> dict[str, Any]:
    trade: dict[str, Any] = await on.get(f"/v2/smart_trades/{trade_id}")
    return trade


def flags(trade: dict[str, Any]) -> set[str]:
    """Name the flags that are true in a trade's data."""
    always = {"base_order_finished", "base_position_step_finished", "force_process_available"}
    return {name for name, value in trade["data"].items() if value is True} - always


async def test_an_accepted_close_answers_201_with_the_whole_trade() -> None:
    async with stage(trades=60) as on:
        for trade_id in on.sandbox.trade_ids:
            answer = await on.close(trade_id)
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


async def test_the_seed_makes_trades_of_every_kind() -> None:
    async with stage(trades=60, rate_limit=None) as on:
        trades = [await read(on, id_) for id_ in on.sandbox.trade_ids]
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
    async with stage() as on:
        trade = await read(on, on.sandbox.trade_ids[0])
    assert trade["status"]["basic_type"] == "waiting_targets"
    assert flags(trade) == {
        "editable",
        "panic_sell_available",
        "cancel_available",
        "add_funds_available",
        "reduce_funds_available",
    }


async def test_a_close_takes_its_time_and_then_shows_what_came_of_it() -> None:
    async with stage(close_delay=(2.0, 2.0)) as on:
        trade_id = on.sandbox.trade_ids[0]
        await on.close(trade_id)
        codes: list[str] = []
        for pause in (0.9, 0.1, 0.9):
            on.time.pass_by(pause)
            codes.append((await read(on, trade_id))["status"]["type"])
        on.time.pass_by(0.1)
        trade = await read(on, trade_id)
        on.time.pass_by(1000)
        later = await read(on, trade_id)
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


async def test_steps_of_a_closed_trade_are_cancelled() -> None:
    async with stage(trades=10, close_delay=(0.0, 0.0)) as on:
        for trade_id in on.sandbox.trade_ids:
            await on.close(trade_id)
        trades = [await read(on, id_) for id_ in on.sandbox.trade_ids]
    steps = [step for trade in trades for step in trade["take_profit"]["steps"]]
    assert {step["status"]["type"] for step in steps} == {"cancelled"}
    assert not any(step["data"]["panic_sell_available"] for step in steps)


async def test_profit_follows_the_price_on_both_sides() -> None:
    async with stage(trades=30, rate_limit=None) as on:
        for trade_id in on.sandbox.trade_ids:
            trade = await read(on, trade_id)
            now, entry = trade["data"]["current_price"]["last"], trade["position"]["price"]["value"]
            won = (Decimal(now) > Decimal(entry)) == (trade["position"]["type"] == "buy")
            clear = abs(Decimal(trade["profit"]["percent"])) > Decimal("0.2")  # beyond the fee
            assert not clear or (Decimal(trade["profit"]["volume"]) > 0) == won


async def test_prices_move_from_read_to_read() -> None:
    async with stage() as on:
        trade_id = on.sandbox.trade_ids[0]
        first = await read(on, trade_id)
        on.time.pass_by(5)
        second = await read(on, trade_id)
    assert first["data"]["current_price"] != second["data"]["current_price"]


async def test_a_second_close_is_refused_and_changes_nothing() -> None:
    async with stage(close_delay=(1.0, 1.0)) as on:
        trade_id = on.sandbox.trade_ids[0]
        await on.close(trade_id)
        again = await on.close(trade_id)
        on.time.pass_by(1)
        late = await on.close(trade_id)
    assert (again.status_code, late.status_code) == (422, 422)
    assert again.json()["error"] == "record_invalid"
    assert "panic_sell_pending" in again.json()["error_attributes"]["base"][0]
    assert on.ledger.trade(trade_id).applied == 1


async def test_a_failing_trade_ends_as_failed_and_says_why() -> None:
    async with stage(trades=4, failing=4, close_delay=(0.0, 0.0)) as on:
        trade_id = on.sandbox.trade_ids[0]
        await on.close(trade_id)
        trade = await read(on, trade_id)
    assert trade["status"]["basic_type"] == "failed"
    assert trade["status"]["error"]
    assert "closed_at" in trade["data"]
    assert not trade["data"]["finished"]
    assert trade["profit"]["volume"] is None


async def test_as_many_trades_fail_as_asked_for() -> None:
    async with stage(trades=20, failing=5, close_delay=(0.0, 0.0)) as on:
        for trade_id in on.sandbox.trade_ids:
            await on.close(trade_id)
        states = [record.state for record in on.ledger.trades.values()]
    assert (states.count("failed"), states.count("panic_sold")) == (5, 15)


async def test_a_trade_that_is_not_entered_is_cancelled_and_not_closed() -> None:
    async with stage(pending=2, close_delay=(1.0, 1.0)) as on:
        trade_id = on.sandbox.pending_ids[0]
        waiting = await read(on, trade_id)
        refused = await on.close(trade_id)
        cancelled = await on.call("DELETE", f"/v2/smart_trades/{trade_id}")
        on.time.pass_by(1)
        over = await read(on, trade_id)
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


async def test_targets_of_a_trade_that_is_not_entered_wait_with_it() -> None:
    async with stage(pending=20, rate_limit=None) as on:
        trades = [await read(on, id_) for id_ in on.sandbox.pending_ids]
    steps = [step for trade in trades for step in trade["take_profit"]["steps"]]
    assert {step["status"]["type"] for step in steps} == {"idle"}
    assert {step["units"]["value"] for step in steps} == {None}


async def test_what_is_over_cannot_be_cancelled() -> None:
    async with stage() as on:
        trade_id = on.sandbox.trade_ids[0]
        await on.close(trade_id)
        answer = await on.call("DELETE", f"/v2/smart_trades/{trade_id}")
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
    async with stage() as on:
        answer = await on.call(method, path)
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
async def test_a_note_is_kept(content: bytes, content_type: str) -> None:
    async with stage() as on:
        path = f"/v2/smart_trades/{on.sandbox.trade_ids[0]}"
        headers = {"Content-Type": content_type}
        answer = await on.call("POST", f"{path}/set_note", content=content, headers=headers)
        trade = await on.get(path)
    assert answer.status_code == 201
    assert (trade["note"], trade["note_raw"]) == ("sell me", "sell me")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"note":1}'])
async def test_a_note_must_be_there(content: bytes) -> None:
    async with stage() as on:
        path = f"/v2/smart_trades/{on.sandbox.trade_ids[0]}/set_note"
        answer = await on.call(
            "POST", path, content=content, headers={"Content-Type": "application/json"}
        )
    assert answer.status_code == 400
    assert answer.json()["error_attributes"] == {"note": ["is missing"]}


async def test_the_trades_inside_are_the_entry_and_the_targets() -> None:
    async with stage(trades=12, pending=4, rate_limit=None) as on:
        for trade_id in on.sandbox.trade_ids + on.sandbox.pending_ids:
            trade = await read(on, trade_id)
            entry, *targets = await on.get(f"/v2/smart_trades/{trade_id}/trades")
            entered = not trade["is_position_not_filled"]
            assert entry["trade_purpose"] == "position"
            assert (entry["status"] == "finished") == entered
            assert (entry["average_price"] is not None) == entered
            steps = trade["take_profit"]["steps"]
            assert [t["id"] for t in targets] == [step["id"] for step in steps]
            assert all(t["order_side"] != entry["order_side"] for t in targets)


async def test_one_seed_makes_one_set_of_trades() -> None:
    worlds: list[Any] = []
    for seed in (7, 7, 8):
        async with stage(trades=5, seed=seed) as on:
            trades = await on.get("/v2/smart_trades")
            keys = (on.sandbox.api_key, on.sandbox.secret)
            worlds.append((keys, [(t["pair"], t["position"]) for t in trades]))
    assert worlds[0] == worlds[1]
    assert worlds[0] != worlds[2]
