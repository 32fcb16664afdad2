"""Conversion of JSON to frozen attrs classes and back, with one cattrs converter.

* Money is exact: JSON numbers become `Decimal` from their text, never through float.
* Unknown fields and enum values are accepted; missing and null fields take the field's default.
* A wrong type raises `StructureError` with class and field.

For each attrs class, `_class_hook` generates the source of a constructor once, as attrs and cattrs
do. cattrs' own hooks cost more than twice the CPU time, most of it for choosing a hook for every
`X | None` value again.
"""

from __future__ import annotations

import json
import types
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import cache, partial
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    NoReturn,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
)

import attrs
from cattrs import Converter

from .errors import InvalidRequestError
from .text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = [
    "StructureError",
    "check_returns",
    "decode",
    "decode_in_steps",
    "from_json",
    "structure",
    "to_json",
]

T = TypeVar("T")

_ITEMS_PER_STEP: Final = 20

WIRE: Final = "wire"
"""Key in an attrs field's metadata for its JSON name, where that is no Python name."""


class StructureError(ValueError):
    """A body that does not fit the requested class."""


def decode(content: bytes, returns: type[T]) -> T:
    """Parse a JSON body into `returns`.

    Raises:
        StructureError: the body is not JSON, or has a wrong type somewhere.
    """
    return structure(from_json(content), returns)


def decode_in_steps(content: bytes, returns: type[T]) -> Generator[None, None, T]:
    """Parse like `decode`, as a generator that yields after every few items of a list.

    So the caller can let other tasks run: a page of a hundred trades takes milliseconds.
    """
    data = from_json(content)
    if get_origin(returns) is not list or type(data) is not list:
        return structure(data, returns)
    values = cast("list[object]", data)
    items: list[object] = []
    for start in range(0, len(values), _ITEMS_PER_STEP):
        items += cast("list[object]", structure(values[start : start + _ITEMS_PER_STEP], returns))
        yield
    return cast("T", items)


def from_json(content: bytes | str) -> object:
    """Parse JSON, with exact numbers.

    Raises:
        StructureError: the text is not JSON.
    """
    try:
        text = (
            content if isinstance(content, str) else content.decode(json.detect_encoding(content))
        )
        return cast("object", _decoder.decode(text))
    except (ValueError, ArithmeticError, RecursionError) as error:
        msg = f"not JSON: {error}" if content else "the body is empty"
    raise StructureError(msg)


def structure(data: object, returns: type[T]) -> T:
    """Convert parsed JSON to `returns`.

    Raises:
        StructureError: a required field is missing, or a value has a wrong type.
    """
    try:
        return _converter.structure(data, returns)
    except StructureError:
        raise
    except Exception as error:  # noqa: BLE001 - a user's class may raise anything
        # The server carried out the request, so the caller must get our error, which says that.
        msg = f"{_name_of(returns)}: {type(error).__name__}"
    raise StructureError(msg)


def check_returns(returns: object) -> None:
    """Check that answers can be converted to `returns`, before the request is sent.

    Raises:
        InvalidRequestError: they cannot.
    """
    try:
        _check_hooks(returns)
    except Exception as error:  # noqa: BLE001 - of cattrs or the class, of any kind
        problem = type(error).__name__
    else:
        return
    msg = f"an answer cannot be read as {_name_of(returns)} ({problem}); nothing was sent"
    raise InvalidRequestError(msg)


@cache
def _check_hooks(kind: Any) -> None:  # noqa: ANN401 - of any type
    """Create the hooks of a type and its parts, as cattrs creates some of them only on use."""
    _converter.get_structure_hook(kind)
    if get_origin(kind) is not Literal:
        for part in get_args(kind):
            if part is not Ellipsis and part is not types.NoneType:
                _check_hooks(part)


def _unsupported(kind: object) -> NoReturn:
    msg = f"there is no way to make {_name_of(kind)} from JSON"
    raise TypeError(msg)


def _name_of(kind: object) -> str:
    return one_line(kind.__name__ if isinstance(kind, type) else repr(kind), 100)


def to_json(instance: object) -> object:
    """Convert a model to plain JSON data, under the Python names of its fields.

    Decimals become strings, times ISO 8601 strings.
    """
    return cast("object", _converter.unstructure(instance))


def _reject_constant(name: str) -> object:
    """Refuse NaN and Infinity, which `json` accepts by default."""
    msg = f"{name} is not a number"
    raise ValueError(msg)


_decoder: Final = json.JSONDecoder(parse_float=Decimal, parse_constant=_reject_constant)


def _type_error(where: str, expected: str, value: object) -> StructureError:
    # Without the value itself: it may be long, and the error's body has it anyway.
    return StructureError(f"{where}: expected {expected}, got {type(value).__name__}")


# --- leaves: functions that convert one value, not null, for the field named `where`


def _decimal(value: Any, where: str) -> Decimal:  # noqa: ANN401 - any JSON value
    if type(value) is str or type(value) is int:
        try:
            number = Decimal(value)
        except InvalidOperation:
            raise _type_error(where, "a decimal number", value) from None
    elif type(value) is Decimal:
        number = value
    else:
        raise _type_error(where, "a decimal number", value)
    if not number.is_finite():
        raise _type_error(where, "a finite number", value)
    return number


def _datetime(value: Any, where: str) -> datetime:  # noqa: ANN401 - any JSON value
    if type(value) is not str:
        raise _type_error(where, "an ISO 8601 time", value)
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is UTC:
            return moment
        # All times of the API are UTC, and some have no offset.
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise _type_error(where, "an ISO 8601 time", value) from None


def _items(value: Any, where: str) -> list[Any]:  # noqa: ANN401 - any JSON value
    if type(value) is list:
        return value  # pyright: ignore[reportUnknownVariableType] - of any JSON values
    raise _type_error(where, "an array", value)


# Types that JSON has itself, with their names in errors: only the value's type is checked.
_JSON_TYPES: Final[dict[object, str]] = {
    str: "a string",
    int: "an integer",
    bool: "true or false",
}
_CONVERTED: Final[dict[object, Callable[[Any, str], object]]] = {
    Decimal: _decimal,
    datetime: _datetime,
}


def _leaf(kind: object) -> Callable[[Any, str], Any] | None:
    """Return the function that converts a value to this type; None if the type is no leaf."""
    if kind in _JSON_TYPES:
        return partial(_checked, kind)
    if members := _open_enum(kind):
        return partial(_enum_member, members)
    return _CONVERTED.get(kind)


def _enum_member(
    members: dict[str, StrEnum],
    value: Any,  # noqa: ANN401 - any JSON value
    where: str,
) -> StrEnum | str:
    if type(value) is str:
        return members.get(value, value)  # an unknown code stays a plain string
    raise _type_error(where, "a string", value)


def _checked(kind: object, value: Any, where: str) -> Any:  # noqa: ANN401 - of that kind
    if kind is type(value):  # pyright: ignore[reportUnnecessaryComparison] - it may well be
        return value
    raise _type_error(where, _JSON_TYPES[kind], value)


# --- classes


def _class_hook(cls: type[Any], converter: Converter) -> Any:  # noqa: ANN401 - a cattrs hook
    """Generate and compile the constructor of one attrs class."""
    attrs.resolve_types(cls)
    fields = attrs.fields(cls)
    names: dict[str, Any] = {"cls": cls, "_type_error": _type_error, "_items": _items}
    begin, assign, end = _construction(cls, names)
    lines = [
        "def construct(data, _=None):",
        "  if type(data) is not dict:",
        f"    raise _type_error({cls.__name__!r}, 'an object', data)",
        "  get = data.get",
        *begin,
        *(line for field in fields for line in _field_lines(cls, field, assign, converter, names)),
        *end,
    ]
    exec("\n".join(lines), names)  # noqa: S102 - made of class and field names, never of data
    return names["construct"]


def _construction(cls: type[Any], names: dict[str, Any]) -> tuple[list[str], str, list[str]]:
    """Return the lines before the fields, the template that assigns a field, and the lines after.

    The `__init__` of a frozen class sets each field by a Python function, which costs as much CPU
    time as all checks together. The setters of the slots do the same in C.
    """
    fields = attrs.fields(cls)
    slots = [getattr(cls, f.name, None) for f in fields]
    slotted = all(isinstance(slot, types.MemberDescriptorType) for slot in slots)
    plain = not any(f.validator or f.converter for f in fields)
    if not (slotted and plain) or hasattr(cls, "__attrs_post_init__"):
        arguments = ", ".join(f"{f.alias}=_{f.name}" for f in fields)
        return [], "_{name} = {value}", [f"  return cls({arguments})"]
    names |= {f"set_{f.name}": slot.__set__ for f, slot in zip(fields, slots, strict=True) if slot}
    names["new"] = object.__new__
    begin = ["  it = new(cls)"]
    if all(f.default is not attrs.NOTHING for f in fields):
        names["nothing"] = cls()
        begin = ["  if not data: return nothing", *begin]
    return begin, "set_{name}(it, {value})", ["  return it"]


def _field_lines(
    cls: type[Any],
    field: attrs.Attribute[Any],
    assign: str,
    converter: Converter,
    names: dict[str, Any],
) -> list[str]:
    """Return the lines that read, check and assign one field.

    Args:
        cls: the class.
        field: the field.
        assign: the template from `_construction`.
        converter: makes the hooks of fields that are classes.
        names: the globals of the generated code; the names that the lines use are added.
    """
    wire = field.metadata.get(WIRE, field.name)

    def set_to(value: str) -> str:
        return assign.format(name=field.name, value=value)

    where = f"{cls.__name__}.{wire}"
    kind = _without_none(field.type)
    hook, read = f"{field.name}_hook", f"  v = get({wire!r})"
    if field.default is attrs.NOTHING:
        if_null = f"  if v is None: raise _type_error({where!r}, 'a value', None)"
    else:
        if_null = f"  if v is None: {set_to(f'{field.name}_default')}"
        names[f"{field.name}_default"] = field.default
    members = _open_enum(kind)
    json_type = str if members else kind
    if json_type not in _JSON_TYPES:
        value = _expression(kind, hook, where, converter, names)
        return [read, if_null, f"  else: {set_to(value)}"]
    fail = f"raise _type_error({where!r}, {_JSON_TYPES[json_type]!r}, v)"
    mismatch = f"type(v) is not {cast('type[Any]', json_type).__name__}"
    if members:
        names[hook] = members.get
        return [read, if_null, f"  elif {mismatch}: {fail}", f"  else: {set_to(f'{hook}(v, v)')}"]
    if field.default is None:  # null and default are the same: one check less
        return [read, f"  if {mismatch} and v is not None: {fail}", f"  {set_to('v')}"]
    return [read, if_null, f"  elif {mismatch}: {fail}", f"  else: {set_to('v')}"]


def _expression(
    kind: object, hook: str, where: str, converter: Converter, names: dict[str, Any]
) -> str:
    """Return the expression that converts the variable `v`, not null, to its type."""
    if leaf := _leaf(kind):
        names[hook] = leaf
        return f"{hook}(v, {where!r})"
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        names[hook] = _leaf(item) or converter.get_structure_hook(item)
        return f"tuple([{hook}(item, {where!r}) for item in _items(v, {where!r})])"
    names[hook], names[f"{hook}_kind"] = converter.get_structure_hook(kind), kind
    return f"{hook}(v, {hook}_kind)"


def _without_none(kind: object) -> object:
    """Return `X` for `X | None`: null is handled before a value is converted."""
    if get_origin(kind) not in {Union, types.UnionType}:
        return kind
    rest = tuple(member for member in get_args(kind) if member is not type(None))
    return rest[0] if len(rest) == 1 else Union[rest]  # noqa: UP007 - made at run time


def _open_enum(kind: object) -> dict[str, StrEnum] | None:
    """Return the members of an open enum (`SomeStrEnum | str`) by value; None for other types."""
    members = get_args(kind)
    if len(members) == 2 and members[1] is str and issubclass(members[0], StrEnum):  # noqa: PLR2004
        return {member.value: member for member in members[0]}
    return None


def _list_hook(kind: type[Any], converter: Converter) -> Any:  # noqa: ANN401 - a cattrs hook
    item = get_args(kind)[0]
    hook = converter.get_structure_hook(item)

    def structure_list(data: object, _: object = None) -> list[Any]:
        return [hook(value, item) for value in _items(data, "body")]

    return structure_list


def _is_leaf(kind: object) -> bool:
    return _leaf(kind) is not None


def _leaf_hook(kind: type[Any]) -> Callable[[object, object], Any]:
    """Return the hook of a leaf that is no field of a class, as in `list[str]`."""
    leaf = _leaf(kind)
    where = getattr(kind, "__name__", "code")
    return lambda value, _: leaf(value, where) if leaf else value


def _is_list(kind: object) -> bool:
    return get_origin(kind) is list


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=False, structure_fallback_factory=_unsupported)
    register: Any = converter.register_structure_hook_factory  # no overload fits these factories
    register(attrs.has, _class_hook)
    converter.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
    register(_is_list, _list_hook)
    register(_is_leaf, _leaf_hook)
    for kind in (str, int, bool):  # cattrs' own hooks coerce, and come before any factory
        converter.register_structure_hook(kind, _leaf_hook(kind))
    converter.register_unstructure_hook(Decimal, str)
    converter.register_unstructure_hook(datetime, datetime.isoformat)
    return converter


_converter = _make_converter()
