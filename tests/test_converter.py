"""Conversion between JSON and classes: exact numbers, strict types, and defaults for gaps."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from enum import StrEnum
from typing import Literal

import pytest
from attrs import field, frozen, validators

from threecommas_async import InvalidRequestError
from threecommas_async.converter import (
    WIRE,
    StructureError,
    check_returns,
    decode,
    from_json,
    structure,
    to_json,
)


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


@frozen(kw_only=True)
class Wheel:
    size: Decimal | None = None
    spokes: int | None = None


@frozen(kw_only=True)
class Cart:
    name: str
    made_at: datetime | None = None
    sold: bool | None = field(default=None, metadata={WIRE: "sold?"})
    color: Color | str | None = None
    wheel: Wheel = Wheel()
    spare: Wheel | None = None
    wheels: tuple[Wheel, ...] = ()
    colors: tuple[Color | str, ...] = ()
    marks: tuple[int, ...] | None = None
    doors: int = 2


@frozen
class Checked:
    """A class with its own validator, which the converter must run."""

    count: int = field(validator=validators.gt(0))


def cart(**fields: object) -> Cart:
    return decode(json.dumps({"name": "x", **fields}).encode(), Cart)


# --- JSON


@pytest.mark.parametrize(
    ("content", "data"),
    [
        (b"1", 1),
        (b"1.10", Decimal("1.10")),
        (b"-1E-7", Decimal("-1E-7")),
        (b'"1.10"', "1.10"),
        ("[]".encode("utf-16"), []),
        ('"größe"', "größe"),
        (b"null", None),
    ],
)
def test_from_json_keeps_numbers_as_written(content: bytes | str, data: object) -> None:
    read = from_json(content)
    assert read == data
    assert type(read) is type(data)
    assert str(read) == str(data)


@pytest.mark.parametrize("content", [b"NaN", b"[Infinity]", b'{"a": -Infinity}'])
def test_nan_and_infinity_in_json_are_refused(content: bytes) -> None:
    with pytest.raises(StructureError, match=r"^not JSON: -?(NaN|Infinity) is not a number$"):
        from_json(content)


@pytest.mark.parametrize(
    "content", [b"{", b"<html>", b"\xff\xfe\xff", b"[1,]", b"{} {}", b"1" * 5000, b"[" * 200_000]
)
def test_invalid_json_raises_not_json(content: bytes) -> None:
    with pytest.raises(StructureError, match=r"^not JSON: "):
        from_json(content)


def test_empty_body_raises_body_is_empty() -> None:
    with pytest.raises(StructureError, match=r"^the body is empty$"):
        from_json(b"")


# --- simple values


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0.10", "0.10"),
        ("-0.0", "-0.0"),
        ("1e-18", "1E-18"),
        ("5.", "5"),
        (7, "7"),
        (-7, "-7"),
        (10**60 + 1, "1" + "0" * 59 + "1"),
    ],
)
def test_decimal_from_string_or_integer_is_exact(value: str | int, expected: str) -> None:
    size = cart(wheel={"size": value}).wheel.size
    assert isinstance(size, Decimal)
    assert size.as_tuple() == Decimal(expected).as_tuple()


def test_decimal_is_exact_in_any_decimal_context() -> None:
    with localcontext() as context:
        context.prec = 3
        assert cart(wheel={"size": "1.23456789"}).wheel.size == Decimal("1.23456789")
        body = b'{"name": "x", "wheel": {"size": 1.23456789}}'
        assert decode(body, Cart).wheel.size == Decimal("1.23456789")


@pytest.mark.parametrize("text", ["NaN", "sNaN", "Infinity", "-Infinity", "inf", "nan123"])
def test_decimal_must_be_finite(text: str) -> None:
    with pytest.raises(StructureError, match=r"^Wheel\.size: expected a finite number, got str$"):
        cart(wheel={"size": text})


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("", "str"),
        ("1,5", "str"),
        ("ten", "str"),
        ("0x1F", "str"),
        ("1 000", "str"),
        (True, "bool"),
        ([], "list"),
        ({}, "dict"),
    ],
)
def test_value_that_is_not_a_decimal_is_refused(value: object, kind: str) -> None:
    says = rf"^Wheel\.size: expected a decimal number, got {kind}$"
    with pytest.raises(StructureError, match=says):
        cart(wheel={"size": value})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-09-10T14:44:22.416Z", datetime(2024, 9, 10, 14, 44, 22, 416000, tzinfo=UTC)),
        ("2024-09-10T14:44:22Z", datetime(2024, 9, 10, 14, 44, 22, tzinfo=UTC)),
        ("2024-09-10T16:44:22+02:00", datetime(2024, 9, 10, 14, 44, 22, tzinfo=UTC)),
        ("2024-09-10T14:44:22", datetime(2024, 9, 10, 14, 44, 22, tzinfo=UTC)),
    ],
)
def test_datetime_is_aware_and_in_utc(text: str, expected: datetime) -> None:
    made_at = cart(made_at=text).made_at
    assert made_at == expected
    assert made_at is not None
    assert made_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "value", ["", "soon", "2024-13-10T14:44:22Z", "12:00", 1725979462, 1.5, True, [], {}]
)
def test_value_that_is_not_an_iso_8601_time_is_refused(value: object) -> None:
    with pytest.raises(StructureError, match=r"^Cart\.made_at: expected an ISO 8601 time, got"):
        cart(made_at=value)


@pytest.mark.parametrize(
    ("name", "wrong", "says"),
    [
        ("name", 1, "Cart.name: expected a string, got int"),
        ("name", True, "Cart.name: expected a string, got bool"),
        ("doors", "2", "Cart.doors: expected an integer, got str"),
        ("doors", True, "Cart.doors: expected an integer, got bool"),
        ("doors", 2.0, "Cart.doors: expected an integer, got Decimal"),
        ("sold?", 1, "Cart.sold?: expected true or false, got int"),
        ("sold?", "true", "Cart.sold?: expected true or false, got str"),
        ("color", 5, "Cart.color: expected a string, got int"),
        ("color", ["red"], "Cart.color: expected a string, got list"),
        ("color", {}, "Cart.color: expected a string, got dict"),
        ("wheel", [], "Wheel: expected an object, got list"),
        ("spare", "none", "Wheel: expected an object, got str"),
        ("wheels", {}, "Cart.wheels: expected an array, got dict"),
        ("wheels", [1], "Wheel: expected an object, got int"),
        ("wheels", [None], "Wheel: expected an object, got NoneType"),
        ("wheels", [{"spokes": "3"}], "Wheel.spokes: expected an integer, got str"),
        ("colors", [None], "Cart.colors: expected a string, got NoneType"),
        ("marks", ["1"], "Cart.marks: expected an integer, got str"),
    ],
)
def test_wrong_type_error_names_class_and_field(name: str, wrong: object, says: str) -> None:
    with pytest.raises(StructureError) as caught:
        cart(**{name: wrong})
    assert str(caught.value) == says


# --- classes


def test_open_enum_accepts_known_and_unknown_codes() -> None:
    assert cart(color="red").color is Color.RED
    unknown = cart(color="green").color
    assert unknown == "green"
    assert type(unknown) is str
    assert cart(color="").color == ""
    assert cart(colors=["blue", "green"]).colors == (Color.BLUE, "green")


def test_arrays_become_tuples() -> None:
    assert cart(wheels=[{"spokes": 1}, {}]).wheels == (Wheel(spokes=1), Wheel())
    assert cart(marks=[3, 1]).marks == (3, 1)


def test_missing_and_null_fields_take_their_defaults() -> None:
    bare = Cart(name="x")
    assert cart() == bare
    names = ["made_at", "sold?", "color", "wheel", "spare", "wheels", "colors", "marks", "doors"]
    assert cart(**dict.fromkeys(names)) == bare
    assert cart(spare={}).spare == Wheel()


def test_unknown_fields_are_ignored() -> None:
    assert cart(weight=5, wheel={"spokes": 3, "TTP\u0410ctivated": {"a": []}}) == Cart(
        name="x", wheel=Wheel(spokes=3)
    )


@pytest.mark.parametrize("body", [b"{}", b'{"name": null}'])
def test_missing_required_field_is_refused(body: bytes) -> None:
    with pytest.raises(StructureError, match=r"^Cart\.name: expected a value, got NoneType$"):
        decode(body, Cart)


def test_field_may_have_another_name_on_the_wire() -> None:
    assert cart(**{"sold?": True}).sold is True
    assert cart(sold=True).sold is None


@pytest.mark.parametrize("body", [b"[]", b"null", b'"text"', b"true", b"1.5"])
def test_class_is_built_from_an_object_only(body: bytes) -> None:
    with pytest.raises(StructureError, match=r"^Cart: expected an object, got"):
        decode(body, Cart)


def test_class_with_a_validator_is_validated() -> None:
    assert structure({"count": 2}, Checked) == Checked(2)
    with pytest.raises(StructureError, match=r"^Checked: ValueError$"):
        structure({"count": 0}, Checked)
    with pytest.raises(StructureError, match=r"Checked\.count"):
        structure({"count": "2"}, Checked)


# --- top level


def test_list_is_built_from_an_array() -> None:
    assert decode(b'[{"spokes": 1}, {}]', list[Wheel]) == [Wheel(spokes=1), Wheel()]
    assert decode(b"[]", list[Wheel]) == []
    with pytest.raises(StructureError, match=r"^body: expected an array, got dict$"):
        decode(b"{}", list[Wheel])
    with pytest.raises(StructureError, match=r"^Wheel: expected an object, got NoneType$"):
        decode(b"[null]", list[Wheel])


def test_simple_value_may_be_the_whole_body() -> None:
    assert decode(b"true", bool) is True
    assert decode(b'"0.10"', Decimal).as_tuple() == Decimal("0.10").as_tuple()
    assert decode(b"[1, 2]", list[int]) == [1, 2]
    with pytest.raises(StructureError, match=r"^Decimal: expected a decimal number, got bool$"):
        decode(b"true", Decimal)


def test_type_object_accepts_any_json() -> None:
    assert decode(b'{"a": [1.10, null]}', object) == {"a": [Decimal("1.10"), None]}
    assert decode(b"true", object) is True


# --- types that cannot be read


class NotJson:
    """A class that cannot be read from JSON."""


@frozen
class Holder:
    not_json: NotJson


@frozen
class Nameless:
    lost: "Nowhere"  # type: ignore[name-defined] # noqa: F821 - an unresolvable annotation


def refuses(content: object) -> int:
    raise ZeroDivisionError(content)


@frozen
class Picky:
    size: int = field(converter=refuses)


@pytest.mark.parametrize(
    "returns",
    [Cart, list[Cart], object, bool, dict[str, int | None], Literal["a"], tuple[Cart, ...], None],
)
def test_type_that_can_be_read_is_accepted(returns: object) -> None:
    check_returns(returns)


@pytest.mark.parametrize(
    "returns",
    [
        NotJson,
        Holder,
        Nameless,
        list[Holder],
        dict[str, NotJson],
        set[NotJson],
        NotJson | None,
        "Cart",
        [],
        5,
    ],
)
def test_type_that_cannot_be_read_is_refused_before_anything_is_sent(returns: object) -> None:
    for _ in range(2):
        with pytest.raises(InvalidRequestError, match=r"^an answer cannot be read as .*nothing"):
            check_returns(returns)


@pytest.mark.parametrize("content", [b"[]", b"5", b'"a"', b"null"])
def test_wrong_json_for_a_cattrs_type_raises_structure_error(content: bytes) -> None:
    with pytest.raises(StructureError, match=r"^dict\[str, int\]: \w+$"):
        decode(content, dict[str, int])


def test_exception_in_a_field_converter_raises_structure_error() -> None:
    with pytest.raises(StructureError, match=r"^Picky: ZeroDivisionError$"):
        decode(b'{"size": 5}', Picky)


# --- back to JSON


def test_class_survives_a_round_trip_through_json() -> None:
    original = Cart(
        name="x",
        made_at=datetime(2024, 9, 10, 14, 44, 22, 416000, tzinfo=UTC),
        color=Color.RED,
        wheel=Wheel(size=Decimal("1.10"), spokes=3),
        wheels=(Wheel(), Wheel(size=Decimal("1E-18"))),
        colors=(Color.BLUE, "green"),
    )
    text = json.dumps(to_json(original))
    assert decode(text.encode(), Cart) == original
    data: dict[str, object] = json.loads(text)
    assert data["wheel"] == {"size": "1.10", "spokes": 3}
    assert data["made_at"] == "2024-09-10T14:44:22.416000+00:00"
    assert data["color"] == "red"


def test_decimals_and_datetimes_become_json_strings() -> None:
    data = {"units": Decimal("0.10"), "at": datetime(2024, 9, 10, tzinfo=UTC), "n": [1, None]}
    assert to_json(data) == {"units": "0.10", "at": "2024-09-10T00:00:00+00:00", "n": [1, None]}
