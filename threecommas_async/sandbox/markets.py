"""Moving prices, each a pure function of the seed and the time.

A price is a sum of slow and fast sine waves with seeded phases, so that two sandboxes with the same
seed show the same price at the same time, however often it was read.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING

import attrs

from .rng import seeded_rng

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
    "USDT_DOGE_USDT": "0.1243",  # the base has an underscore: split at the first only
}
"""Mean price by pair."""

_USD = {"USDT": Decimal(1), "BTC": Decimal(PRICES["USDT_BTC"])}
_PERIODS = (7200.0, 1100.0, 190.0, 31.0, 7.0)  # seconds; longer waves have higher amplitudes
_SPREAD = Decimal("0.0004")


def split_pair(pair: str) -> tuple[str, str]:
    """Split a pair into its quote and base currency."""
    quote, _, base = pair.partition("_")
    return quote, base


def text(amount: Decimal) -> str:
    """Format an amount as the API does: no exponent, at least one decimal place."""
    plain = f"{amount.normalize():f}"
    return plain if "." in plain else f"{plain}.0"


def rounded(amount: Decimal, digits: int = 8) -> Decimal:
    """Round to `digits` significant digits."""
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
        """Return the ticker as in `data.current_price`."""
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
        random = seeded_rng(seed, pair)
        quote, base = split_pair(pair)
        self.pair = pair
        self.quote: str = quote
        self.base: str = base
        self.usd: Decimal = _USD[self.quote]
        """Price of the quote currency in USD."""
        self._mean = Decimal(PRICES[pair])
        self._volume = Decimal(random.randrange(10**6, 10**9)) / 100
        self._waves = [
            (random.uniform(0.2, 1.0) * 0.02 * math.sqrt(period / 7200), period, random.random())
            for period in _PERIODS
        ]

    def last(self, now: float) -> Decimal:
        """Return the last price at a time."""
        drift = sum(
            amplitude * math.sin(math.tau * (now / period + phase))
            for amplitude, period, phase in self._waves
        )
        return rounded(self._mean * Decimal(f"{1 + drift:.8f}"))

    def ticker(self, now: float) -> Ticker:
        """Return all prices at a time."""
        last = self.last(now)
        change = (last / self.last(now - 86_400) - 1) * 100
        return Ticker(
            bid=rounded(last * (1 - _SPREAD)),
            ask=rounded(last * (1 + _SPREAD)),
            last=last,
            day_change_percent=change.quantize(Decimal("0.01")),
            quote_volume=self._volume,
        )
