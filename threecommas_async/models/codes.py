"""The codes of the API as open enums.

No complete list of any of these is documented. A code nobody knows stays a plain `str`, so compare
with `==`, which works for both: `trade.status.basic_type == SmartTradeStatusCode.FAILED`.
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

    The first eight are in the documentation's examples. The rest are codes that bots have met;
    the documentation shows no trade that closed normally.
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
    """State of one trade: the position, a take-profit step, the stop loss, a partial exit.

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

    Those from PANIC_SELL_PENDING on are in no documented list, but in examples, in an older
    description, or met by bots.
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
