"""Prices that move, each a pure function of the seed and the time: no state, no feed.

A price is a sum of slow and quick waves with seeded phases. It wanders like a price, and yet two
sandboxes of one seed show the same price at the same moment, however often they were asked.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING

import attrs

from .chance import seeded

if TYPE_CHECKING:
    from .answers import JSON

PRICES = {
    "USDT_BTC": "64250.5",
    "USDT_ETH": "3120.4",
    "USDT_SOL": "151.25",
    "USDT_BNB": "590.1",
    "USDT_XRP": "0.5821",
    "USDT_ADA": "0.4512",
    "USDT_1INCH": "0.2621",
    "USDT_LINK": "14.31",
    "BTC_ETH": "0.04857",
    "BTC_SOL": "0.002354",
    "USDT_DOGE_USDT": "0.1243",  # a base of its own kind: split at the first underscore only
}
"""Every pair traded in the sandbox with the price about which it moves."""

_USD = {"USDT": Decimal(1), "BTC": Decimal(PRICES["USDT_BTC"])}
_PERIODS = (7200.0, 1100.0, 190.0, 31.0, 7.0)  # seconds; long waves are the high ones
_SPREAD = Decimal("0.0004")


def split(pair: str) -> tuple[str, str]:
    """Split a pair into its quote and base currency."""
    quote, _, base = pair.partition("_")
    return quote, base


def text(amount: Decimal) -> str:
    """Write an amount as the API does: no exponent, and at least one decimal place."""
    plain = f"{amount.normalize():f}"
    return plain if "." in plain else f"{plain}.0"


def rounded(amount: Decimal, digits: int = 8) -> Decimal:
    """Round to so many significant digits."""
    return Decimal(f"{amount:.{digits - 1}e}")


@attrs.frozen
class Ticker:
    """The prices of one pair at one moment."""

    bid: Decimal
    ask: Decimal
    last: Decimal
    day_change_percent: Decimal
    quote_volume: Decimal

    def as_json(self) -> dict[str, JSON]:
        """Write the ticker as `data.current_price`."""
        return {
            "bid": text(self.bid),
            "ask": text(self.ask),
            "last": text(self.last),
            "quote_volume": text(self.quote_volume),
            "day_change_percent": text(self.day_change_percent),
        }


class Market:
    """The market of one pair."""

    def __init__(self, pair: str, seed: int) -> None:
        random = seeded(seed, pair)
        self.pair = pair
        self.quote, self.base = split(pair)
        self.usd = _USD[self.quote]
        """Price of the quote currency in USD."""
        self._middle = Decimal(PRICES[pair])
        self._volume = Decimal(random.randrange(10**6, 10**9)) / 100
        self._waves = [
            (random.uniform(0.2, 1.0) * 0.02 * math.sqrt(period / 7200), period, random.random())
            for period in _PERIODS
        ]

    def last(self, now: float) -> Decimal:
        """Tell the last price at that time."""
        drift = sum(
            height * math.sin(math.tau * (now / period + phase))
            for height, period, phase in self._waves
        )
        return rounded(self._middle * Decimal(f"{1 + drift:.8f}"))

    def ticker(self, now: float) -> Ticker:
        """Tell all prices at that time."""
        last = self.last(now)
        change = (last / self.last(now - 86_400) - 1) * 100
        return Ticker(
            bid=rounded(last * (1 - _SPREAD)),
            ask=rounded(last * (1 + _SPREAD)),
            last=last,
            day_change_percent=change.quantize(Decimal("0.01")),
            quote_volume=self._volume,
        )
