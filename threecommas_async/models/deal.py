"""The Deal entity: a position opened by a DCA bot.

As with smart trades, an answer must contain only `id` and a status; see `smart_trade`.

https://developers.3commas.io/deals/deal-entity
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from attrs import field, frozen

from .codes import DealStatusCode

__all__ = ["Deal", "DealBuyStep", "DealEvent", "DealTakeProfitStep"]


@frozen(kw_only=True)
class DealTakeProfitStep:
    """One take-profit target; ids start at 0. `status` is a text for display, not a code."""

    id: int | None = None
    amount_percentage: Decimal | None = None
    profit_percentage: Decimal | None = None
    editable: bool | None = None
    panic_sellable: bool | None = None
    trade_id: int | None = None
    execution_timestamp: datetime | None = None
    initial_amount: Decimal | None = None
    price: Decimal | None = None
    status: str | None = None


@frozen(kw_only=True)
class DealBuyStep:
    """A pending buy order."""

    price: Decimal | None = None
    filled: Decimal | None = None


@frozen(kw_only=True)
class DealEvent:
    """An entry of the log of a deal."""

    message: str | None = None
    created_at: datetime | None = None


@frozen(kw_only=True)
class Deal:
    """A deal of a DCA bot.

    Three JSON keys end with a question mark; here they are `finished`, `cancellable` and
    `panic_sellable`. Lists, and deals inside bots, have no `buy_steps` and `bot_events`.
    """

    id: int
    status: DealStatusCode | str
    type: str | None = None
    bot_id: int | None = None
    bot_name: str | None = None
    account_id: int | None = None
    account_name: str | None = None
    market_type: str | None = None
    pair: str | None = None
    """QUOTE_BASE, as in USDT_BTC; split at the first underscore only."""
    strategy: str | None = None
    from_currency: str | None = None
    to_currency: str | None = None
    from_currency_id: int | None = None
    to_currency_id: int | None = None
    localized_status: str | None = None
    """Text for display, in the user's language."""
    finished: bool | None = field(default=None, metadata={"wire": "finished?"})
    cancellable: bool | None = field(default=None, metadata={"wire": "cancellable?"})
    """Stays true even while the deal is closing."""
    panic_sellable: bool | None = field(default=None, metadata={"wire": "panic_sellable?"})
    """Whether it can be closed at market now."""
    add_fundable: bool | None = None
    smart_trade_convertable: bool | None = None
    deal_has_error: bool | None = None
    error_message: str | None = None
    failed_message: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    closed_at: datetime | None = None
    note: str | None = None
    base_order_volume: Decimal | None = None
    base_order_volume_type: str | None = None
    base_order_average_price: Decimal | None = None
    safety_order_volume: Decimal | None = None
    safety_order_volume_type: str | None = None
    safety_order_step_percentage: Decimal | None = None
    max_safety_orders: int | None = None
    active_safety_orders_count: int | None = None
    current_active_safety_orders: int | None = None
    current_active_safety_orders_count: int | None = None
    completed_safety_orders_count: int | None = None
    completed_manual_safety_orders_count: int | None = None
    active_manual_safety_orders: int | None = None
    martingale_coefficient: Decimal | None = None
    martingale_volume_coefficient: Decimal | None = None
    martingale_step_coefficient: Decimal | None = None
    leverage_type: str | None = None
    leverage_custom_value: Decimal | None = None
    bought_amount: Decimal | None = None
    bought_volume: Decimal | None = None
    bought_average_price: Decimal | None = None
    sold_amount: Decimal | None = None
    sold_volume: Decimal | None = None
    sold_average_price: Decimal | None = None
    current_price: Decimal | None = None
    take_profit: Decimal | None = None
    take_profit_type: str | None = None
    take_profit_price: Decimal | None = None
    take_profit_steps: tuple[DealTakeProfitStep, ...] = ()
    trailing_enabled: bool | None = None
    trailing_deviation: Decimal | None = None
    trailing_max_price: Decimal | None = None
    stop_loss_percentage: Decimal | None = None
    stop_loss_price: Decimal | None = None
    stop_loss_type: str | None = None
    stop_loss_timeout_enabled: bool | None = None
    stop_loss_timeout_in_seconds: int | None = None
    sl_to_breakeven_enabled: bool | None = None
    tsl_enabled: bool | None = None
    tsl_max_price: Decimal | None = None
    profit_currency: str | None = None
    final_profit: Decimal | None = None
    final_profit_percentage: Decimal | None = None
    usd_final_profit: Decimal | None = None
    actual_profit: Decimal | None = None
    actual_profit_percentage: Decimal | None = None
    actual_usd_profit: Decimal | None = None
    min_profit_percentage: Decimal | None = None
    min_profit_type: str | None = None
    reserved_base_coin: Decimal | None = None
    reserved_second_coin: Decimal | None = None
    reserved_quote_funds: Decimal | None = None
    reserved_base_funds: Decimal | None = None
    orderbook_price_currency: str | None = None
    buy_steps: tuple[DealBuyStep, ...] = ()
    bot_events: tuple[DealEvent, ...] = ()
