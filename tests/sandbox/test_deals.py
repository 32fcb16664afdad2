"""Deals and their bot over HTTP."""

from decimal import Decimal

import pytest

from tests.sandbox.harness import running_sandbox

_DEAL = """
    from_currency_id to_currency_id id type bot_id max_safety_orders deal_has_error account_id
    active_safety_orders_count created_at updated_at closed_at finished?
    current_active_safety_orders_count current_active_safety_orders completed_safety_orders_count
    completed_manual_safety_orders_count cancellable? panic_sellable? trailing_enabled tsl_enabled
    stop_loss_timeout_enabled stop_loss_timeout_in_seconds active_manual_safety_orders pair status
    localized_status take_profit take_profit_steps base_order_volume safety_order_volume
    safety_order_step_percentage leverage_type leverage_custom_value bought_amount bought_volume
    bought_average_price base_order_average_price sold_amount sold_volume sold_average_price
    take_profit_type final_profit martingale_coefficient martingale_volume_coefficient
    martingale_step_coefficient stop_loss_percentage sl_to_breakeven_enabled sl_to_breakeven_data
    error_message profit_currency stop_loss_type safety_order_volume_type base_order_volume_type
    from_currency to_currency final_profit_percentage usd_final_profit actual_profit
    actual_usd_profit failed_message reserved_base_coin reserved_second_coin trailing_deviation
    trailing_max_price tsl_max_price strategy last_known_position_info min_profit_percentage
    min_profit_type close_strategy_list safety_strategy_list note add_fundable
    smart_trade_convertable bot_name account_name market_type current_price take_profit_price
    stop_loss_price actual_profit_percentage reserved_quote_funds reserved_base_funds
    orderbook_price_currency crypto_widget
"""
_BOT = """
    id account_id is_enabled max_safety_orders active_safety_orders_count pairs strategy_list
    close_strategy_list safety_strategy_list max_active_deals active_deals_count deletable?
    created_at updated_at trailing_enabled tsl_enabled deal_start_delay_seconds
    stop_loss_timeout_enabled stop_loss_timeout_in_seconds disable_after_deals_count deals_counter
    allowed_deals_on_same_pair easy_form_supported close_deals_timeout url_secret
    take_profit_steps name take_profit min_profit_percentage base_order_volume safety_order_volume
    safety_order_step_percentage take_profit_type min_profit_type type
    martingale_volume_coefficient martingale_step_coefficient stop_loss_percentage cooldown
    btc_price_limit strategy min_volume_btc_24h profit_currency min_price max_price stop_loss_type
    safety_order_volume_type base_order_volume_type account_name trailing_deviation
    finished_deals_profit_usd finished_deals_count leverage_type leverage_custom_value
    start_order_type active_deals_usd_profit reinvesting_percentage risk_reduction_percentage
    reinvested_volume_usd min_price_percentage max_price_percentage
"""
# All fields that the API description marks as required.
DEAL_FIELDS, BOT_FIELDS = set(_DEAL.split()), set(_BOT.split())


async def test_an_open_deal_has_every_documented_field() -> None:
    async with running_sandbox(deals=2) as env:
        deal_id = env.sandbox.deal_ids[0]
        shown = await env.get(f"/ver1/deals/{deal_id}/show")
        rows = await env.get("/ver1/deals")
    assert deal_id > 2**31
    assert set(shown) == DEAL_FIELDS | {"buy_steps", "bot_events"}
    assert set(rows[0]) == DEAL_FIELDS
    assert shown["status"] == "bought"
    assert (shown["finished?"], shown["cancellable?"], shown["panic_sellable?"]) == (
        False,
        True,
        True,
    )
    assert shown["closed_at"] is None


async def test_a_deal_can_be_closed_once_and_ends_as_panic_sold() -> None:
    async with running_sandbox(deals=1, close_delay=(2.0, 2.0)) as env:
        deal_id = env.sandbox.deal_ids[0]
        answer = await env.call("POST", f"/ver1/deals/{deal_id}/panic_sell")
        again = await env.call("POST", f"/ver1/deals/{deal_id}/panic_sell")
        env.clock.advance(2)
        over = await env.get(f"/ver1/deals/{deal_id}/show")
    assert (answer.status_code, again.status_code) == (201, 422)
    closing = answer.json()
    assert closing["status"] == "panic_sell_pending"
    assert (closing["cancellable?"], closing["panic_sellable?"]) == (True, False)
    assert over["status"] == "panic_sold"
    assert over["finished?"]
    assert over["closed_at"] == over["updated_at"]
    assert over["sold_amount"] == over["bought_amount"]
    assert Decimal(over["final_profit"]) == Decimal(over["actual_profit"])
    assert env.ledger.trade(deal_id).repeated == 1


async def test_one_request_closes_all_deals_of_the_bot() -> None:
    async with running_sandbox(deals=4, close_delay=(1.0, 1.0)) as env:
        bot = f"/ver1/bots/{env.sandbox.bot_id}"
        before = await env.get(f"{bot}/show")
        await env.call("POST", f"/ver1/deals/{env.sandbox.deal_ids[0]}/panic_sell")
        answer = await env.call("POST", f"{bot}/panic_sell_all_deals")
        env.clock.advance(1)
        after = await env.get(f"{bot}/show")
    assert set(before) == BOT_FIELDS | {"active_deals"}
    assert before["is_enabled"]
    assert answer.status_code == 201
    closing = answer.json()
    assert not closing["is_enabled"]
    assert [deal["status"] for deal in closing["active_deals"]] == ["panic_sell_pending"] * 4
    assert after["active_deals"] == []
    assert after["deletable?"]
    assert env.ledger.requests[2].applied == env.sandbox.deal_ids[1:]
    assert env.ledger.closed == set(env.sandbox.deal_ids)
    assert [env.ledger.trade(id_).applied for id_ in env.sandbox.deal_ids] == [1] * 4
    assert env.ledger.repeated == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/ver1/deals/1/show"),
        ("POST", "/ver1/deals/1/panic_sell"),
        ("GET", "/ver1/bots/1/show"),
        ("POST", "/ver1/bots/1/panic_sell_all_deals"),
    ],
)
async def test_an_unknown_deal_or_bot_is_not_found(method: str, path: str) -> None:
    async with running_sandbox(deals=1) as env:
        answer = await env.call(method, path)
    assert answer.status_code == 404
    assert answer.json() == {"error": "not_found", "error_description": "Not Found"}


async def test_deals_are_paged_by_limit_and_offset() -> None:
    async with running_sandbox(deals=60) as env:
        default = await env.get("/ver1/deals")
        rest = await env.get("/ver1/deals?limit=1000&offset=50")
        every = await env.get("/ver1/deals?limit=5000")
    assert (len(default), len(rest), len(every)) == (50, 10, 60)
    assert default + rest == every
    created = [deal["created_at"] for deal in every]
    assert created == sorted(created, reverse=True)


async def test_deals_are_filtered_by_scope_bot_and_account() -> None:
    async with running_sandbox(deals=5, close_delay=(0.0, 0.0)) as env:
        for deal_id in env.sandbox.deal_ids[:2]:
            await env.call("POST", f"/ver1/deals/{deal_id}/panic_sell")
        counts = {
            query: len(await env.get(f"/ver1/deals?{query}"))
            for query in (
                "scope=",
                "scope=active",
                "scope=finished",
                "scope=completed",
                "scope=cancelled",
                "scope=failed",
                f"bot_id={env.sandbox.bot_id}",
                "bot_id=1",
                "account_id=5001",
                "account_id=1",
            )
        }
        refused = await env.call("GET", "/ver1/deals?scope=all")
    assert list(counts.values()) == [5, 3, 2, 2, 0, 0, 5, 0, 5, 0]
    assert refused.status_code == 400


@pytest.mark.parametrize("order", ["profit", "profit_percentage"])
async def test_deals_are_sorted_by_profit(order: str) -> None:
    async with running_sandbox(deals=8) as env:
        rows = await env.get(f"/ver1/deals?order={order}&order_direction=ASC")
    earned = [Decimal(row[f"actual_{order}"]) for row in rows]
    assert earned == sorted(earned)
