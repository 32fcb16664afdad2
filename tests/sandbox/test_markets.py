"""Prices: they move, are exact, and depend only on seed and time."""

from decimal import Decimal

import pytest

from threecommas_async.sandbox.markets import PRICES, Market, rounded, split_pair, text


def test_prices_move() -> None:
    market = Market("USDT_BTC", seed=7)
    assert len({market.last(second) for second in range(60)}) == 60


def test_prices_stay_near_their_mean() -> None:
    market, middle = Market("USDT_SOL", seed=7), Decimal(PRICES["USDT_SOL"])
    assert all(abs(market.last(t) / middle - 1) < Decimal("0.1") for t in range(0, 86_400, 60))


def test_the_same_seed_gives_the_same_price_however_often_it_is_read() -> None:
    first, second = Market("USDT_BTC", seed=7), Market("USDT_BTC", seed=7)
    for at in range(10):
        first.last(at)
    assert first.ticker(100.0) == second.ticker(100.0)
    assert Market("USDT_BTC", seed=8).ticker(100.0) != second.ticker(100.0)


def test_bid_is_below_last_is_below_ask() -> None:
    ticker = Market("USDT_ETH", seed=7).ticker(0.0)
    assert ticker.bid < ticker.last < ticker.ask


def test_a_pair_is_split_at_its_first_underscore() -> None:
    assert split_pair("USDT_DOGE_USDT") == ("USDT", "DOGE_USDT")


@pytest.mark.parametrize(
    ("amount", "written"),
    [("5", "5.0"), ("100", "100.0"), ("0.10", "0.1"), ("1E-10", "0.0000000001"), ("0", "0.0")],
)
def test_amounts_have_no_exponent_and_a_decimal_point(amount: str, written: str) -> None:
    assert text(Decimal(amount)) == written


def test_amounts_are_rounded_to_significant_digits() -> None:
    assert rounded(Decimal("123456.789"), 3) == Decimal(123000)
    assert rounded(Decimal("0.000123456"), 3) == Decimal("0.000123")
