"""The codes of the API as open enums.

None of these lists is documented completely. An unknown code stays a plain `str`, so compare with
`==`, which works for both: `trade.status.basic_type == SmartTradeStatusCode.FAILED`.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "DealStatusCode",
    "OrderSide",
    "OrderType",
    "SmartTradeStatusCode",
    "SmartTradeType",
    "TradeStatusCode",
]


class SmartTradeStatusCode(StrEnum):
    """State of a whole smart trade.

    The first eight are in the examples of the documentation; the others have been seen by bots. The
    documentation shows no trade that closed normally.

    https://developers.3commas.io/smart-trades/smart-trade-entity
    """

    CREATED = "created"
    WAITING_POSITION = "waiting_position"
    WAITING_TARGETS = "waiting_targets"
    PENDING_REDUCE_FUNDS = "pending_reduce_funds"
    PANIC_SELL_PENDING = "panic_sell_pending"
    CANCELLATION_PENDING = "cancellation_pending"
    CANCELLED = "cancelled"
    FAILED = "failed"
    PANIC_SELL_IN_PROGRESS = "panic_sell_in_progress"
    STOP_LOSS_IN_PROGRESS = "stop_loss_in_progress"
    CANCELLATION_IN_PROGRESS = "cancellation_in_progress"
    FINISHED = "finished"
    PANIC_SOLD = "panic_sold"
    STOP_LOSS_FINISHED = "stop_loss_finished"


class TradeStatusCode(StrEnum):
    """State of one trade inside a smart trade: entry, take-profit step, stop loss, partial exit.

    `position.status` at PANIC_SELL_PENDING means a forced *entry*, not a close.
    """

    IDLE = "idle"
    TO_PROCESS = "to_process"
    ORDER_PLACED = "order_placed"
    PENDING_CANCELLATION = "pending_cancellation"
    CANCELLED = "cancelled"
    PANIC_SELL_PENDING = "panic_sell_pending"
    PANIC_SELL_ORDER_PLACED = "panic_sell_order_placed"
    PANIC_SOLD = "panic_sold"
    TRAILING_ACTIVATED = "trailing_activated"
    FINISHED = "finished"
    FAILED = "failed"
    INACTIVE = "inactive"
    SMART_SELL = "smart_sell"
    NEED_RESET = "need_reset"
    ASYNC_ORDER_PLACEMENT = "async_order_placement"
    SUSPENDED = "suspended"


class SmartTradeType(StrEnum):
    """Kind of smart trade, derived from `instant`, `skip_enter_step` and `position.type`."""

    SIMPLE_BUY = "simple_buy"
    SIMPLE_SELL = "simple_sell"
    SMART_SELL = "smart_sell"
    SMART_BUY = "smart_buy"
    SMART_TRADE = "smart_trade"
    SMART_COVER = "smart_cover"


class OrderSide(StrEnum):
    """Side of an order."""

    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    """Kind of order."""

    MARKET = "market"
    LIMIT = "limit"
    CONDITIONAL = "conditional"


class DealStatusCode(StrEnum):
    """State of a deal.

    Those from PANIC_SELL_PENDING on are not in the documented list; they come from examples, from
    an older API description, or have been seen by bots.

    https://developers.3commas.io/deals/deal-entity
    """

    BOUGHT = "bought"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    BASE_ORDER_PLACED = "base_order_placed"
    STOP_LOSS_FINISHED = "stop_loss_finished"
    TTP_ORDER_PLACED = "ttp_order_placed"
    PANIC_SOLD = "panic_sold"
    FAILED = "failed"
    LIQUIDATED = "liquidated"
    SETTLED = "settled"
    CLOSE_STRATEGY_ACTIVATED = "close_strategy_activated"
    PANIC_SELL_PENDING = "panic_sell_pending"
    PANIC_SELL_ORDER_PLACED = "panic_sell_order_placed"
    CANCEL_PENDING = "cancel_pending"
    STOP_LOSS_PENDING = "stop_loss_pending"
    STOP_LOSS_ORDER_PLACED = "stop_loss_order_placed"
    CREATED = "created"
    BOUGHT_SAFETY_PENDING = "bought_safety_pending"
    BOUGHT_TAKE_PROFIT_PENDING = "bought_take_profit_pending"
    TTP_ACTIVATED = "ttp_activated"
