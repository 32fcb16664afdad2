"""Parsing of arbitrary input: exact money, and no exception other than StructureError."""

import json
import re
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from threecommas_async.converter import StructureError, decode, to_json
from threecommas_async.models.smart_trade import SmartTrade, SmartTradeProfit

SEED = Path(__file__).parent.joinpath("data", "smart_trade.json").read_bytes()

slowly = settings(deadline=None)  # a busy machine must not fail a test

digits = st.text("0123456789", min_size=1, max_size=60)
decimal_texts = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "-"]),
        digits.map(lambda text: text.lstrip("0") or "0"),  # JSON allows no leading zeros
        st.just("") | digits.map(lambda text: f".{text}"),
        st.just("") | st.integers(-400, 400).map(lambda power: f"e{power}"),
    ),
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | decimal_texts,
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


def usd_of(json_text: str) -> Decimal:
    usd = decode(f'{{"usd": {json_text}}}'.encode(), SmartTradeProfit).usd
    assert usd is not None
    return usd


def assert_comes_back(trade: SmartTrade) -> None:
    assert decode(json.dumps(to_json(trade)).encode(), SmartTrade) == trade


@slowly
@given(text=decimal_texts | st.decimals(allow_nan=False, allow_infinity=False).map(str))
def test_money_in_a_string_is_exact(text: str) -> None:
    assert usd_of(f'"{text}"').as_tuple() == Decimal(text).as_tuple()


@slowly
@given(text=decimal_texts | st.decimals(allow_nan=False, allow_infinity=False).map(str))
def test_money_in_a_number_is_exact(text: str) -> None:
    assume(text != "-0")  # an integer in JSON, and integers have no negative zero
    assert usd_of(text).as_tuple() == Decimal(text).as_tuple()


@slowly
@given(text=decimal_texts)
def test_money_survives_a_round_trip_through_json(text: str) -> None:
    profit = decode(json.dumps({"usd": text}).encode(), SmartTradeProfit)
    again = decode(json.dumps(to_json(profit)).encode(), SmartTradeProfit)
    assert again.usd is not None
    assert again.usd.as_tuple() == Decimal(text).as_tuple()


@slowly
@given(text=st.text())
def test_string_in_a_money_field_is_a_finite_number_or_refused(text: str) -> None:
    with suppress(StructureError):
        assert usd_of(json.dumps(text)).is_finite()


@slowly
@given(content=st.binary())
def test_any_bytes_give_a_trade_or_a_structure_error(content: bytes) -> None:
    with suppress(StructureError):
        assert isinstance(decode(content, SmartTrade), SmartTrade)


@slowly
@given(data=json_values)
def test_any_json_gives_a_list_of_trades_or_a_structure_error(data: object) -> None:
    with suppress(StructureError):
        trades = decode(json.dumps(data).encode(), list[SmartTrade])
        assert trades == []  # no value drawn here has an id and a status


@slowly
@given(cut=st.integers(0, len(SEED)))
def test_truncated_body_is_never_accepted_as_a_trade(cut: int) -> None:
    whole = SEED[:cut].rstrip() == SEED.rstrip()
    try:
        decode(SEED[:cut], SmartTrade)
    except StructureError:
        assert not whole
    else:
        assert whole


@slowly
@given(data=st.data())
def test_garbled_body_gives_a_trade_or_a_structure_error(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(SEED)))
    end = data.draw(st.integers(start, min(start + 20, len(SEED))))
    garbled = SEED[:start] + data.draw(st.binary(max_size=20)) + SEED[end:]
    with suppress(StructureError):
        assert_comes_back(decode(garbled, SmartTrade))


LEAVES = list(re.finditer(rb'(?<=": )("[^"]*"|[\d.]+|true|false|null)', SEED))


@slowly
@given(leaf=st.sampled_from(LEAVES), value=json_values)
def test_any_json_value_in_place_of_a_field_is_accepted_or_a_structure_error(
    leaf: re.Match[bytes], value: object
) -> None:
    body = SEED[: leaf.start()] + json.dumps(value).encode() + SEED[leaf.end() :]
    with suppress(StructureError):
        assert_comes_back(decode(body, SmartTrade))
