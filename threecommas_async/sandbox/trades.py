"""Smart trades, generated from the seed, and their value."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Literal

import attrs

from .lifecycle import Phase
from .markets import rounded

if TYPE_CHECKING:
    from random import Random

    from .answers import JSON
    from .lifecycle import Lifecycle
    from .markets import Market

FEE = Decimal("0.001")

CODES = {
    Phase.PENDING: ("waiting_position", "Pending Position Opened"),
    Phase.OPEN: ("waiting_targets", "Waiting Targets"),
    Phase.CLOSING: ("panic_sell_pending", "Closing at Market Price"),
    Phase.SELLING: ("panic_sell_in_progress", "Closing at Market Price"),
    Phase.CANCELLING: ("cancellation_pending", "Cancelling"),
    Phase.CLOSED: ("panic_sold", "Closed at Market Price"),
    Phase.CANCELLED: ("cancelled", "Cancelled"),
    Phase.FAILED: ("failed", "Failed"),
}
"""Status code and title by phase."""

WITH_PROFIT = frozenset({Phase.OPEN, Phase.CLOSING, Phase.SELLING, Phase.CLOSED})
"""Phases in which a profit is shown."""

_ENTRIES: tuple[Literal["market", "limit", "conditional"], ...] = ("market", "limit", "conditional")


@attrs.frozen(kw_only=True)
class Account:
    """The exchange account of a trade."""

    id: int
    name: str
    type: str
    market: str

    def as_json(self) -> dict[str, JSON]:
        """Return the short form of the account inside a trade."""
        return {
            "id": self.id,
            "type": self.type,
            "name": self.name,
            "market": self.market,
            "link": f"/accounts/{self.id}",
        }


ACCOUNTS = (
    Account(id=5001, type="paper_trading", name="Demo account", market="Demo Spot"),
    Account(id=5002, type="binance_us", name="My Binance US", market="Binance US Spot"),
)


@attrs.define(kw_only=True)
class SmartTrade:
    """One smart trade. Only `lifecycle` and `note` change."""

    id: int
    account: Account
    market: Market
    lifecycle: Lifecycle
    side: Literal["buy", "sell"]
    order_type: Literal["market", "limit", "conditional"]
    units: Decimal
    price: Decimal
    """Entry price without commission."""
    targets: int
    """Number of take-profit steps."""
    stop_loss: bool
    created_at: float
    entered: bool
    """Whether the entry was filled."""
    note: str = ""

    @classmethod
    def generate(
        cls, number: int, market: Market, lifecycle: Lifecycle, random: Random
    ) -> SmartTrade:
        """Generate the trade with this number."""
        side: Literal["buy", "sell"] = "sell" if number % 5 == 4 else "buy"  # noqa: PLR2004
        value = Decimal(random.randrange(50, 5000)) / market.usd
        created_at = -random.uniform(600, 86_400)
        price = market.last(created_at)
        return cls(
            id=41_000_001 + number,
            account=ACCOUNTS[random.random() < 0.3],  # noqa: PLR2004
            market=market,
            lifecycle=lifecycle,
            side=side,
            order_type="limit" if lifecycle.phase is Phase.PENDING else _ENTRIES[number % 3],
            units=rounded(value / price, 3),
            price=price,
            targets=random.randrange(3),
            stop_loss=random.random() < 0.5,  # noqa: PLR2004
            created_at=created_at,
            entered=lifecycle.phase is not Phase.PENDING,
        )

    @property
    def code(self) -> str:
        """The status code."""
        return CODES[self.lifecycle.phase][0]

    @property
    def kind(self) -> str:
        """The kind of smart trade, as in `data.type`."""
        return "smart_trade" if self.side == "buy" else "smart_cover"

    @property
    def entry_price(self) -> Decimal:
        """Entry price with commission."""
        return rounded(self.price * (1 + FEE if self.side == "buy" else 1 - FEE))

    @property
    def entry_total(self) -> Decimal:
        """Value of the entry with commission."""
        return self.units * self.entry_price

    def last(self, now: float) -> Decimal:
        """Return the last price; for a trade that is over, the one at its end."""
        return self.market.last(now if self.lifecycle.ended_at is None else self.lifecycle.ended_at)

    def exit_price(self, now: float) -> Decimal:
        """Return the price, commission included, at which it was closed or would be closed now."""
        return rounded(self.last(now) * (1 - FEE if self.side == "buy" else 1 + FEE))

    def profit(self, now: float) -> Decimal:
        """Return the profit in quote currency; 0 in phases without one."""
        if self.lifecycle.phase not in WITH_PROFIT:
            return Decimal(0)
        profit = rounded(self.units * self.exit_price(now) - self.entry_total)
        return profit if self.side == "buy" else -profit
