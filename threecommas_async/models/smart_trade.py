"""The SmartTrade entity.

An answer must contain only `id` and a status code, so that a close that was carried out is reported
even if the server omits a field. If any other field is missing or null, a scalar is None and an
object is an empty instance, so that `trade.data.finished` never fails.

https://developers.3commas.io/smart-trades/smart-trade-entity
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from attrs import frozen

from .codes import OrderSide, OrderType, SmartTradeStatusCode, SmartTradeType, TradeStatusCode

__all__ = [
    "ConditionalPrice",
    "CurrentPrice",
    "EditableValue",
    "ExecutedPrice",
    "MarketClose",
    "Position",
    "PositionConditional",
    "PositionPrice",
    "PositionTotal",
    "ReduceFunds",
    "ReduceFundsStep",
    "SmartTrade",
    "SmartTradeAccount",
    "SmartTradeData",
    "SmartTradeLeverage",
    "SmartTradeMargin",
    "SmartTradeProfit",
    "SmartTradeStatus",
    "Step",
    "StepData",
    "StepPrice",
    "StopLoss",
    "StopLossConditional",
    "StopLossPrice",
    "StopLossTimeout",
    "TakeProfit",
    "TradeStatus",
    "Trailing",
    "ValueHolder",
]


@frozen(kw_only=True)
class SmartTradeAccount:
    """The exchange account a smart trade runs on."""

    id: int | None = None
    type: str | None = None
    name: str | None = None
    market: str | None = None
    link: str | None = None


@frozen(kw_only=True)
class SmartTradeStatus:
    """State of a whole smart trade. `type` and `basic_type` have always been seen equal."""

    basic_type: SmartTradeStatusCode | str | None = None
    type: SmartTradeStatusCode | str | None = None
    title: str | None = None
    """Text for display, in the user's language."""
    error: str | None = None
    """Reason of the failure; on failed smart trades only."""

    @property
    def code(self) -> SmartTradeStatusCode | str:
        """The status code, whichever of the two fields carries it; empty if neither does."""
        return self.basic_type or self.type or ""


@frozen(kw_only=True)
class TradeStatus:
    """State of one trade inside a smart trade."""

    basic_type: TradeStatusCode | str | None = None
    type: TradeStatusCode | str | None = None
    title: str | None = None
    error: str | None = None


@frozen(kw_only=True)
class SmartTradeLeverage:
    """Leverage of a smart trade; only `enabled` is set if it is off."""

    enabled: bool | None = None
    type: str | None = None
    value: Decimal | None = None
    type_editable: bool | None = None


@frozen(kw_only=True)
class EditableValue:
    """An amount and whether it may be changed."""

    value: Decimal | None = None
    editable: bool | None = None


@frozen(kw_only=True)
class ValueHolder:
    """An amount; None when not known or not applicable."""

    value: Decimal | None = None


@frozen(kw_only=True)
class PositionPrice:
    """Price of the entry order, in quote currency."""

    value: Decimal | None = None
    value_without_commission: Decimal | None = None
    editable: bool | None = None


@frozen(kw_only=True)
class PositionTotal:
    """Value of the entry order, in quote currency."""

    value: Decimal | None = None
    value_without_commission: Decimal | None = None


@frozen(kw_only=True)
class Trailing:
    """Trailing settings; `percent` is the distance in percent."""

    enabled: bool | None = None
    percent: Decimal | None = None


@frozen(kw_only=True)
class ConditionalPrice:
    """A trigger price and the price (`type`: bid, ask or last) that triggers it."""

    type: str | None = None
    value: Decimal | None = None
    percent: Decimal | None = None


@frozen(kw_only=True)
class PositionConditional:
    """Trigger settings of a conditional entry."""

    editable: bool | None = None
    price: ConditionalPrice = ConditionalPrice()
    order_type: OrderType | str | None = None
    trailing: Trailing = Trailing()


@frozen(kw_only=True)
class Position:
    """The entry order. Its `status` is that of the entry, never that of the close."""

    type: OrderSide | str | None = None
    editable: bool | None = None
    units: EditableValue = EditableValue()
    price: PositionPrice = PositionPrice()
    total: PositionTotal = PositionTotal()
    order_type: OrderType | str | None = None
    status: TradeStatus = TradeStatus()
    conditional: PositionConditional | None = None
    """Present for conditional orders only."""


@frozen(kw_only=True)
class StepPrice:
    """Target price of a take-profit step."""

    type: str | None = None
    value: Decimal | None = None
    percent: Decimal | None = None


@frozen(kw_only=True)
class StepData:
    """The actions that a step allows now."""

    cancelable: bool | None = None
    """Stays true even while the trade is closing."""
    panic_sell_available: bool | None = None


@frozen(kw_only=True)
class Step:
    """One take-profit step. `volume` is its share of the position in percent."""

    id: int | None = None
    order_type: OrderType | str | None = None
    editable: bool | None = None
    units: ValueHolder = ValueHolder()
    price: StepPrice = StepPrice()
    volume: Decimal | None = None
    total: Decimal | None = None
    trailing: Trailing = Trailing()
    status: TradeStatus = TradeStatus()
    closed_at: datetime | None = None
    data: StepData = StepData()
    position: int | None = None


@frozen(kw_only=True)
class TakeProfit:
    """Take-profit settings."""

    enabled: bool | None = None
    price_type: str | None = None
    steps: tuple[Step, ...] = ()


@frozen(kw_only=True)
class StopLossPrice:
    """Price of the stop-loss order."""

    value: Decimal | None = None
    percent: Decimal | None = None


@frozen(kw_only=True)
class StopLossConditional:
    """Trigger of the stop loss."""

    price: ConditionalPrice = ConditionalPrice()
    trailing: Trailing = Trailing()


@frozen(kw_only=True)
class StopLossTimeout:
    """Delay between trigger and order: `value` in seconds."""

    enabled: bool | None = None
    value: Decimal | None = None


@frozen(kw_only=True)
class StopLoss:
    """Stop-loss settings; only `enabled` is set if it is off."""

    enabled: bool | None = None
    price_type: str | None = None
    breakeven: bool | None = None
    order_type: OrderType | str | None = None
    editable: bool | None = None
    status: TradeStatus = TradeStatus()
    units: ValueHolder = ValueHolder()
    total: ValueHolder = ValueHolder()
    price: StopLossPrice = StopLossPrice()
    closed_at: datetime | None = None
    conditional: StopLossConditional = StopLossConditional()
    timeout: StopLossTimeout = StopLossTimeout()


@frozen(kw_only=True)
class ExecutedPrice:
    """A price with and without commission."""

    value: Decimal | None = None
    value_without_commission: Decimal | None = None


@frozen(kw_only=True)
class ReduceFundsStep:
    """One partial exit."""

    id: int | None = None
    type: OrderType | str | None = None
    order_type: OrderType | str | None = None
    """Same as `type`, under the name in the documentation."""
    status: TradeStatus = TradeStatus()
    units: ValueHolder = ValueHolder()
    price: ExecutedPrice = ExecutedPrice()
    total: ValueHolder = ValueHolder()
    closed_at: datetime | None = None
    data: StepData = StepData()


@frozen(kw_only=True)
class ReduceFunds:
    """Partial exits requested so far."""

    steps: tuple[ReduceFundsStep, ...] = ()


@frozen(kw_only=True)
class MarketClose:
    """The closing order; empty until the exchange has it."""

    id: int | None = None
    type: str | None = None
    status: TradeStatus = TradeStatus()
    units: ValueHolder = ValueHolder()
    price: ExecutedPrice = ExecutedPrice()
    total: ValueHolder = ValueHolder()


@frozen(kw_only=True)
class CurrentPrice:
    """The ticker at the time of the answer."""

    day_change_percent: Decimal | None = None
    bid: Decimal | None = None
    ask: Decimal | None = None
    last: Decimal | None = None
    quote_volume: Decimal | None = None


@frozen(kw_only=True)
class SmartTradeData:
    """Flags and totals of a whole smart trade.

    `finished` and `closed_at` have been seen to disagree with the status
    (https://github.com/3commas-io/3commas-official-api-docs/issues/117): rely on `status`.
    """

    editable: bool | None = None
    current_price: CurrentPrice = CurrentPrice()
    target_price_type: str | None = None
    orderbook_price_currency: str | None = None
    base_order_finished: bool | None = None
    missing_funds_to_close: Decimal | None = None
    liquidation_price: Decimal | None = None
    average_enter_price: Decimal | None = None
    average_close_price: Decimal | None = None
    average_enter_price_without_commission: Decimal | None = None
    average_close_price_without_commission: Decimal | None = None
    panic_sell_available: bool | None = None
    """Whether it can be closed at market now."""
    add_funds_available: bool | None = None
    reduce_funds_available: bool | None = None
    force_start_available: bool | None = None
    force_process_available: bool | None = None
    cancel_available: bool | None = None
    finished: bool | None = None
    base_position_step_finished: bool | None = None
    entered_amount: Decimal | None = None
    entered_total: Decimal | None = None
    closed_amount: Decimal | None = None
    closed_total: Decimal | None = None
    commission: Decimal | None = None
    """Fee rate of the exchange; a string or a number in JSON."""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    closed_at: datetime | None = None
    type: SmartTradeType | str | None = None


@frozen(kw_only=True)
class SmartTradeProfit:
    """Profit: `volume` in quote currency, `usd`, `percent`, and `roe` (futures only)."""

    volume: Decimal | None = None
    usd: Decimal | None = None
    percent: Decimal | None = None
    roe: Decimal | None = None


@frozen(kw_only=True)
class SmartTradeMargin:
    """Margin: `amount` in base currency, `total` in quote currency."""

    amount: Decimal | None = None
    total: Decimal | None = None


@frozen(kw_only=True)
class SmartTrade:
    """One position with its take-profit, stop-loss and reduce-funds trades.

    Prices, amounts and percentages are exact `Decimal`s, times are aware UTC `datetime`s.
    """

    id: int
    status: SmartTradeStatus
    version: int | None = None
    account: SmartTradeAccount = SmartTradeAccount()
    pair: str | None = None
    """QUOTE_BASE, as in USDT_BTC; split at the first underscore only."""
    instant: bool | None = None
    leverage: SmartTradeLeverage = SmartTradeLeverage()
    position: Position = Position()
    take_profit: TakeProfit = TakeProfit()
    stop_loss: StopLoss = StopLoss()
    reduce_funds: ReduceFunds = ReduceFunds()
    market_close: MarketClose = MarketClose()
    note: str | None = None
    note_raw: str | None = None
    skip_enter_step: bool | None = None
    data: SmartTradeData = SmartTradeData()
    profit: SmartTradeProfit = SmartTradeProfit()
    margin: SmartTradeMargin = SmartTradeMargin()
    is_position_not_filled: bool | None = None
