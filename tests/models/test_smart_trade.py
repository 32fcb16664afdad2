"""The SmartTrade model: the documented example, and a trade with every field, value by value."""

import copy
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, TypeAlias, cast, get_args, get_origin

import attrs
import pytest

from threecommas_async.converter import StructureError, decode, structure, to_json
from threecommas_async.models import smart_trade
from threecommas_async.models.codes import (
    OrderSide,
    OrderType,
    SmartTradeStatusCode,
    SmartTradeType,
    TradeStatusCode,
)
from threecommas_async.models.smart_trade import (
    MarketClose,
    SmartTrade,
    SmartTradeStatus,
    StopLoss,
    TakeProfit,
)

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | bool | Decimal | None"
Object: TypeAlias = dict[str, Json]

SEED_TEXT = Path(__file__).parents[1].joinpath("data", "smart_trade.json").read_bytes()
SEED: Object = json.loads(SEED_TEXT, parse_float=Decimal)


# --- every class and field, and a trade that has them all


class Field(NamedTuple):
    cls: type[Any]
    name: str
    kind: object
    """Its type without None and without the plain `str` of an open enum."""
    default: object

    @property
    def id(self) -> str:
        return f"{self.cls.__name__}.{self.name}"


def fields_of(cls: type[Any]) -> list[Field]:
    attrs.resolve_types(cls)
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(cls)
    return [Field(cls, f.name, kind_of(f.type), cast("object", f.default)) for f in fields]


def kind_of(annotation: object) -> object:
    return get_args(annotation)[0] if isinstance(annotation, UnionType) else annotation


def classes_in(cls: type[Any]) -> list[type[Any]]:
    """Return the class and all classes nested in it, each once."""
    found = [cls]
    for field in fields_of(cls):
        kind = get_args(field.kind)[0] if get_origin(field.kind) is tuple else field.kind
        if isinstance(kind, type) and attrs.has(kind):
            found += classes_in(kind)
    return list(dict.fromkeys(found))


SAMPLES: dict[object, Json] = {
    str: "text",
    int: 7,
    bool: True,
    Decimal: "-1.50",
    datetime: "2024-09-10T14:44:22.416Z",
}


def sample(kind: object) -> Json:
    """Return a JSON value that a field of this type accepts."""
    if get_origin(kind) is tuple:
        return [sample(get_args(kind)[0])]
    if isinstance(kind, type) and attrs.has(kind):
        return sample_of(kind)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return next(iter(kind)).value
    return SAMPLES[kind]


def sample_of(cls: type[Any]) -> Object:
    """Return a JSON object with every field of the class."""
    return {field.name: sample(field.kind) for field in fields_of(cls)}


FULL = sample_of(SmartTrade)
CLASSES = classes_in(SmartTrade)
FIELDS = [field for cls in CLASSES for field in fields_of(cls)]
OPEN_ENUMS = [f for f in FIELDS if isinstance(f.kind, type) and issubclass(f.kind, StrEnum)]


def by_id(field: Field) -> str:
    return field.id


def trade_of(data: Object) -> SmartTrade:
    return decode(json.dumps(data, default=str).encode(), SmartTrade)


def test_every_public_class_is_part_of_a_trade() -> None:
    assert {cls.__name__ for cls in CLASSES} == set(smart_trade.__all__)


# --- value by value


def leaves(data: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Yield each value without children, with its path; empty objects and arrays included."""
    if isinstance(data, dict) and data:
        for name, value in data.items():
            yield from leaves(value, f"{path}.{name}" if path else name)
    elif isinstance(data, list) and data:
        for number, value in enumerate(data):
            yield from leaves(value, f"{path}.{number}")
    else:
        yield path, data


def at(instance: object, path: str) -> object:
    for name in path.split("."):
        if name.isdigit():
            instance = cast("tuple[object, ...]", instance)[int(name)]
        else:
            instance = getattr(instance, name)
    return instance


def assert_same(attribute: object, leaf: Json, path: str) -> None:
    """Compare an attribute with its JSON value, judging by the JSON and not by our own types."""
    if isinstance(leaf, dict):
        assert attribute == type(attribute)()  # an empty object
    elif isinstance(leaf, list):
        assert attribute == ()
    elif path.endswith("_at") and isinstance(leaf, str):
        assert isinstance(attribute, datetime)
        assert attribute.utcoffset() == timedelta(0)
        assert f"{attribute:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z" == leaf
    elif isinstance(leaf, Decimal) or (
        isinstance(leaf, str) and re.fullmatch(r"-?\d+\.?\d*", leaf)
    ):
        assert isinstance(attribute, Decimal)
        assert attribute.as_tuple() == Decimal(leaf).as_tuple()
    elif isinstance(leaf, str):
        assert isinstance(attribute, str)
        assert attribute == leaf
    else:
        assert type(attribute) is type(leaf)
        assert attribute == leaf


def test_documented_trade_is_parsed_value_by_value() -> None:
    trade = decode(SEED_TEXT, SmartTrade)
    for path, leaf in leaves(SEED):
        assert_same(at(trade, path), leaf, path)


def test_trade_with_every_field_is_parsed_value_by_value() -> None:
    trade = trade_of(FULL)
    for path, leaf in leaves(FULL):
        assert_same(at(trade, path), leaf, path)


def test_documented_trade_has_typed_attributes() -> None:
    trade = decode(SEED_TEXT, SmartTrade)
    assert trade.id == 12345678
    assert trade.status.basic_type is SmartTradeStatusCode.PANIC_SELL_PENDING
    assert trade.position.type is OrderSide.SELL
    assert trade.position.order_type is OrderType.CONDITIONAL
    assert trade.position.status.type is TradeStatusCode.FINISHED
    assert trade.position.conditional is not None
    assert trade.position.conditional.price.value == Decimal("0.255")
    assert trade.data.type is SmartTradeType.SMART_COVER
    assert trade.data.created_at == datetime(2024, 9, 10, 14, 44, 22, 416000, tzinfo=UTC)
    assert trade.take_profit == TakeProfit(enabled=False, price_type="value", steps=())
    assert trade.stop_loss == StopLoss(enabled=False)
    assert trade.market_close == MarketClose()
    # 0.001 as a float is 0.001000000000000000020816...
    assert str(trade.data.commission) == "0.001"
    assert str(trade.profit.volume) == "-0.0841932"


@pytest.mark.parametrize("data", [SEED, FULL], ids=["documented", "full"])
def test_trade_survives_a_round_trip_through_json(data: Object) -> None:
    trade = trade_of(data)
    again = decode(json.dumps(to_json(trade)).encode(), SmartTrade)
    assert again == trade
    for path, leaf in leaves(data):
        assert_same(at(again, path), leaf, path)


# --- missing fields


def holder_of(data: Object, path: str) -> tuple[Object, str]:
    """Return the object that has the field, and the field's name in it."""
    *parents, name = path.split(".")
    for parent in parents:
        data = cast("Object", data[parent])
    return data, name


def without(path: str) -> Object:
    data = copy.deepcopy(SEED)
    holder, name = holder_of(data, path)
    del holder[name]
    return data


def with_null(path: str) -> Object:
    data = copy.deepcopy(SEED)
    holder, name = holder_of(data, path)
    holder[name] = None
    return data


def paths(data: Json, path: str = "") -> Iterator[str]:
    if isinstance(data, dict):
        for name, value in data.items():
            yield path + name
            yield from paths(value, f"{path}{name}.")


@pytest.mark.parametrize("path", [path for path in paths(SEED) if path not in {"id", "status"}])
def test_any_part_of_the_documented_trade_may_be_missing_or_null(path: str) -> None:
    missing, null = trade_of(without(path)), trade_of(with_null(path))
    assert missing == null
    assert missing.id == 12345678
    if path == "status.basic_type" or not path.startswith("status"):
        assert missing.status.code == "panic_sell_pending"
    for other, leaf in leaves(without(path)):
        assert_same(at(missing, other), leaf, other)


@pytest.mark.parametrize("cls", CLASSES)
def test_missing_or_null_field_takes_its_default(cls: type[Any]) -> None:
    data = sample_of(cls)
    whole: Any = structure(data, cls)
    for field in fields_of(cls):
        if field.default is attrs.NOTHING:
            continue
        expected = attrs.evolve(whole, **{field.name: field.default})
        missing = {name: value for name, value in data.items() if name != field.name}
        assert structure(missing, cls) == expected, field.id
        assert structure({**data, field.name: None}, cls) == expected, field.id
        assert expected != whole, field.id


@pytest.mark.parametrize("name", ["id", "status"])
def test_id_and_status_are_required(name: str) -> None:
    for data in (without(name), with_null(name)):
        with pytest.raises(StructureError, match=rf"^SmartTrade\.{name}: expected a value, got"):
            trade_of(data)


def test_trade_with_only_id_and_status_is_parsed() -> None:
    trade = trade_of({"id": 7, "status": {"type": "failed"}})
    assert trade == SmartTrade(id=7, status=SmartTradeStatus(type=SmartTradeStatusCode.FAILED))
    assert trade.data.current_price.bid is None


# --- new fields and codes


def with_news(data: Json) -> Json:
    if isinstance(data, dict):
        news: Object = {"brand_new": {"a": [1, None]}, "finished?": True, "ñ": None}
        return {**{name: with_news(value) for name, value in data.items()}, **news}
    return [with_news(value) for value in data] if isinstance(data, list) else data


@pytest.mark.parametrize("data", [SEED, FULL], ids=["documented", "full"])
def test_new_fields_are_ignored_anywhere(data: Object) -> None:
    assert trade_of(cast("Object", with_news(data))) == trade_of(data)


@pytest.mark.parametrize("field", OPEN_ENUMS, ids=by_id)
def test_unknown_code_stays_a_plain_string(field: Field) -> None:
    data = {**sample_of(field.cls), field.name: "brand_new"}
    code: object = getattr(structure(data, field.cls), field.name)
    assert code == "brand_new"
    assert type(code) is str


@pytest.mark.parametrize("field", OPEN_ENUMS, ids=by_id)
def test_known_code_is_a_member_of_its_enum(field: Field) -> None:
    for member in cast("type[StrEnum]", field.kind):
        data = {**sample_of(field.cls), field.name: member.value}
        assert getattr(structure(data, field.cls), field.name) is member


# --- invalid values

NOT_A_LEAF: list[Json] = [[], {}]
NOT_AN_OBJECT: list[Json] = ["text", 1, True, []]
WRONG: dict[object, list[Json]] = {
    str: [1, True, Decimal("1.5"), *NOT_A_LEAF],
    int: ["1", "", True, Decimal("1.5"), *NOT_A_LEAF],
    bool: ["true", "", 0, 1, *NOT_A_LEAF],
    Decimal: ["", "ten", "NaN", "Infinity", "-Infinity", "sNaN", False, *NOT_A_LEAF],
    datetime: ["", "yesterday", 1725979462, True, *NOT_A_LEAF],
    tuple: ["text", 1, True, {}],
}


def wrong_for(field: Field) -> tuple[list[Json], str]:
    """Return values that a field does not accept, and the name that the error must give."""
    kind = field.kind
    if isinstance(kind, type) and attrs.has(kind):
        return NOT_AN_OBJECT, kind.__name__
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return WRONG[str], field.id
    return WRONG[get_origin(kind) or kind], field.id


@pytest.mark.parametrize("cls", CLASSES)
def test_wrong_type_error_names_class_and_field(cls: type[Any]) -> None:
    for field in fields_of(cls):
        values, named = wrong_for(field)
        for wrong in values:
            with pytest.raises(StructureError, match=f"^{re.escape(named)}: expected .*, got "):
                structure({**sample_of(cls), field.name: wrong}, cls)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_money_that_is_not_a_finite_number_is_refused(number: str) -> None:
    body = f'{{"id": 1, "status": {{}}, "profit": {{"usd": {number}}}}}'
    with pytest.raises(StructureError, match=f"{number} is not a number"):
        decode(body.encode(), SmartTrade)


def test_invalid_trade_in_a_list_raises_for_the_whole_list() -> None:
    body = b'[{"id": 1, "status": {}}, {"id": "2", "status": {}}]'
    with pytest.raises(StructureError, match=r"^SmartTrade\.id: expected an integer, got str$"):
        decode(body, list[SmartTrade])


# --- the classes


@pytest.mark.parametrize("cls", CLASSES)
def test_models_are_frozen_slotted_keyword_only_and_hashable(cls: type[Any]) -> None:
    instance: Any = structure(sample_of(cls), cls)
    equal: Any = structure(sample_of(cls), cls)
    assert instance == equal
    assert hash(instance) == hash(equal)
    assert not hasattr(instance, "__dict__")
    for field in fields_of(cls):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(instance, field.name, None)
    with pytest.raises(TypeError, match="positional argument"):
        cls(1)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (SmartTradeStatus(basic_type="a", type="b"), "a"),
        (SmartTradeStatus(type="b"), "b"),
        (SmartTradeStatus(basic_type="", type="b"), "b"),
        (SmartTradeStatus(), ""),
    ],
    ids=["both", "type only", "basic_type empty", "neither"],
)
def test_status_code_prefers_basic_type_over_type(status: SmartTradeStatus, code: str) -> None:
    assert status.code == code
