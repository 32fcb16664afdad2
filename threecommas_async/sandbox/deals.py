"""DCA deals and their bot: generated from the seed, and serialized as the API does.

https://developers.3commas.io/deals/deal-entity
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import attrs

from .lifecycle import ACTIVE, TERMINAL, Lifecycle, Phase
from .markets import Market, rounded, text
from .trades import FEE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from .answers import JSON
    from .clock import Clock

CODES = {
    Phase.OPEN: ("bought", "Active"),
    Phase.CLOSING: ("panic_sell_pending", "Closing at Market Price"),
    Phase.SELLING: ("panic_sell_pending", "Closing at Market Price"),
    Phase.CLOSED: ("panic_sold", "Closed at Market Price"),
}
"""Status code and label by phase; deals in the sandbox are never cancelled and never fail."""

_SAFETY: dict[str, JSON] = {
    "max_safety_orders": 4,
    "active_safety_orders_count": 2,
    "base_order_volume": "150.0",
    "safety_order_volume": "60.0",
    "safety_order_step_percentage": "1.5",
    "martingale_volume_coefficient": "1.2",
    "martingale_step_coefficient": "1.1",
    "base_order_volume_type": "quote_currency",
    "safety_order_volume_type": "quote_currency",
}
_PROFIT: dict[str, JSON] = {
    "take_profit": "1.5",
    "take_profit_type": "total",
    "take_profit_steps": [],
    "trailing_enabled": False,
    "trailing_deviation": "0.2",
    "tsl_enabled": False,
    "stop_loss_percentage": "0.0",
    "stop_loss_type": "stop_loss",
    "stop_loss_timeout_enabled": False,
    "stop_loss_timeout_in_seconds": 0,
    "min_profit_percentage": "0.0",
    "min_profit_type": None,
    "profit_currency": "quote_currency",
}
_COMMON: dict[str, JSON] = {
    **_SAFETY,
    **_PROFIT,
    "strategy": "long",
    "leverage_type": "not_specified",
    "leverage_custom_value": None,
    "close_strategy_list": [],
    "safety_strategy_list": [],
}
"""Settings of the bot, repeated in each of its deals."""

_DEAL: dict[str, JSON] = {
    **_COMMON,
    "from_currency_id": 0,
    "to_currency_id": 0,
    "type": "Deal",
    "deal_has_error": False,
    "current_active_safety_orders_count": 2,
    "current_active_safety_orders": 2,
    "completed_safety_orders_count": 0,
    "completed_manual_safety_orders_count": 0,
    "active_manual_safety_orders": 0,
    "martingale_coefficient": "1.0",
    "sl_to_breakeven_enabled": False,
    "sl_to_breakeven_data": None,
    "error_message": None,
    "failed_message": None,
    "trailing_max_price": None,
    "tsl_max_price": None,
    "last_known_position_info": None,
    "stop_loss_price": None,
    "note": None,
    "market_type": "spot",
    "reserved_quote_funds": "0.0",
    "reserved_base_funds": "0.0",
    "crypto_widget": None,
}
"""Fields with the same value in every deal."""


@attrs.define(kw_only=True)
class Bot:
    """The DCA bot that all deals belong to."""

    id: int = 7001
    account_id: int = 5001
    account_name: str = "Demo account"
    name: str = "Demo bot"
    is_enabled: bool = True


@attrs.define(kw_only=True)
class Deal:
    """One deal. Only `lifecycle` changes."""

    id: int
    market: Market
    lifecycle: Lifecycle
    amount: Decimal
    price: Decimal
    """Average buying price, commission included."""
    created_at: float

    @classmethod
    def generate(cls, number: int, market: Market, lifecycle: Lifecycle, random: Random) -> Deal:
        """Generate the deal with this number."""
        created_at = -random.uniform(600, 86_400)
        price = rounded(market.last(created_at) * (1 + FEE))
        return cls(
            id=3_000_000_001 + number,  # beyond 32 bits signed, as real ids are
            market=market,
            lifecycle=lifecycle,
            amount=rounded(Decimal(150) / market.usd / price, 3),
            price=price,
            created_at=created_at,
        )

    @property
    def code(self) -> str:
        """The status code."""
        return CODES[self.lifecycle.phase][0]

    @property
    def volume(self) -> Decimal:
        """Amount paid, in quote currency."""
        return self.amount * self.price

    def exit_price(self, now: float) -> Decimal:
        """Return the price, commission included, at which it was sold or would be sold now."""
        at = now if self.lifecycle.ended_at is None else self.lifecycle.ended_at
        return rounded(self.market.last(at) * (1 - FEE))

    def profit(self, now: float) -> Decimal:
        """Return the realized profit, or the profit if sold now, in quote currency."""
        return rounded(self.amount * self.exit_price(now) - self.volume)


def deal_json(deal: Deal, bot: Bot, now: float, clock: Clock) -> dict[str, JSON]:
    """Return a deal as the list endpoint shows it."""
    status, label = CODES[deal.lifecycle.phase]
    is_open, over = deal.lifecycle.phase is Phase.OPEN, deal.lifecycle.phase in TERMINAL
    changed_at, ended_at = deal.lifecycle.changed_at, deal.lifecycle.ended_at
    return {
        **_DEAL,
        "id": deal.id,
        "bot_id": bot.id,
        "bot_name": bot.name,
        "account_id": bot.account_id,
        "account_name": bot.account_name,
        "pair": deal.market.pair,
        "from_currency": deal.market.quote,
        "to_currency": deal.market.base,
        "orderbook_price_currency": deal.market.quote,
        "status": status,
        "localized_status": label,
        "created_at": clock.iso(deal.created_at),
        "updated_at": clock.iso(deal.created_at if changed_at is None else changed_at),
        "closed_at": None if ended_at is None else clock.iso(ended_at),
        "finished?": over,
        "cancellable?": not over,  # still true while closing, as in the API's example
        "panic_sellable?": is_open,
        "add_fundable": is_open,
        "smart_trade_convertable": is_open,
        **_amounts(deal, now),
    }


def _amounts(deal: Deal, now: float) -> dict[str, JSON]:
    over = deal.lifecycle.phase in TERMINAL
    price = deal.exit_price(now)
    profit = deal.profit(now)
    percent = (profit / deal.volume * 100).quantize(Decimal("0.01"))
    usd = text(rounded(profit * deal.market.usd))
    fee = text(-rounded(deal.volume * FEE))
    return {
        "bought_amount": text(deal.amount),
        "bought_volume": text(deal.volume),
        "bought_average_price": text(deal.price),
        "base_order_average_price": text(deal.price),
        "sold_amount": text(deal.amount) if over else "0.0",
        "sold_volume": text(deal.amount * price) if over else "0.0",
        "sold_average_price": text(price) if over else "0",
        "final_profit": text(profit) if over else fee,
        "final_profit_percentage": text(percent) if over else "0",
        "usd_final_profit": usd if over else fee,
        "actual_profit": text(profit),
        "actual_usd_profit": usd,
        "actual_profit_percentage": text(percent),
        "reserved_base_coin": text(deal.volume),
        "reserved_second_coin": text(deal.amount),
        "current_price": text(deal.market.last(now)),
        "take_profit_price": text(rounded(deal.price * Decimal("1.015"))),
    }


def deal_detail_json(deal: Deal, bot: Bot, now: float, clock: Clock) -> dict[str, JSON]:
    """Return a deal as the show endpoint does, with its steps and events."""
    below = rounded(deal.price * Decimal("0.985"))
    return {
        **deal_json(deal, bot, now, clock),
        "buy_steps": [{"price": text(below), "filled": "0.0"}],
        "bot_events": [{"message": "Deal started", "created_at": clock.iso(deal.created_at)}],
    }


def bot_json(bot: Bot, deals: Iterable[Deal], now: float, clock: Clock) -> dict[str, JSON]:
    """Return the bot with its active deals."""
    active = [deal for deal in deals if deal.lifecycle.phase in ACTIVE]
    created_at = clock.iso(-90_000)
    return {
        **_COMMON,
        "id": bot.id,
        "name": bot.name,
        "account_id": bot.account_id,
        "account_name": bot.account_name,
        "is_enabled": bot.is_enabled,
        "type": "Bot::MultiBot",
        "pairs": sorted({deal.market.pair for deal in active}),
        "strategy_list": [{"strategy": "nonstop", "options": {}}],
        "max_active_deals": max(1, len(active)),
        "active_deals_count": len(active),
        "active_deals": [deal_json(deal, bot, now, clock) for deal in active],
        "deletable?": not active,
        "created_at": created_at,
        "updated_at": created_at,
        "deal_start_delay_seconds": None,
        "disable_after_deals_count": None,
        "deals_counter": None,
        "allowed_deals_on_same_pair": None,
        "easy_form_supported": False,
        "close_deals_timeout": None,
        "url_secret": "demo",
        "cooldown": "0",
        "btc_price_limit": "0.0",
        "min_volume_btc_24h": "0.0",
        "min_price": None,
        "max_price": None,
        "min_price_percentage": None,
        "max_price_percentage": None,
        "finished_deals_profit_usd": "12.5",
        "finished_deals_count": "3",
        "start_order_type": "limit",
        "active_deals_usd_profit": "0.9",
        "reinvesting_percentage": None,
        "risk_reduction_percentage": None,
        "reinvested_volume_usd": None,
    }
