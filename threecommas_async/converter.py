"""JSON to frozen attrs classes and back: one cattrs converter, strict on types, tolerant of gaps.

* Money is exact: JSON numbers are read as `Decimal` from their text, never through float.
* Unknown fields and unknown enum values pass; missing and null fields take the field's default.
* A wrong type raises `StructureError`, naming class and field.

cattrs decides what a type needs; for each attrs class it asks `_class_hook` once, which writes a
constructor as a straight line of checks. That is measured: the general hooks cost more than twice
as much, most of it in choosing a hook for every `X | None` value again.
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

from .error_body import one_line
from .errors import InvalidRequestError

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

_ITEMS_A_STEP: Final = 20

WIRE: Final = "wire"
"""Key of an attrs field's metadata: its name on the wire where that is no Python name."""


class StructureError(ValueError):
    """A body that does not have the form of the class asked for."""


def decode(content: bytes, returns: type[T]) -> T:
    """Parse a JSON body into `returns`.

    Raises:
        StructureError: the body is not JSON, or has a wrong type somewhere.
    """
    return structure(from_json(content), returns)


def decode_in_steps(content: bytes, returns: type[T]) -> Generator[None, None, T]:
    """Parse like `decode`, pausing within a list, so that others have a turn in between.

    A page of a hundred trades would otherwise hold the event loop for milliseconds.
    """
    data = from_json(content)
    if get_origin(returns) is not list or type(data) is not list:
        return structure(data, returns)
    values = cast("list[object]", data)
    items: list[object] = []
    for start in range(0, len(values), _ITEMS_A_STEP):
        items += cast("list[object]", structure(values[start : start + _ITEMS_A_STEP], returns))
        yield
    return cast("T", items)


def from_json(content: bytes | str) -> object:
    """Parse JSON with numbers kept exact.

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
    """Turn parsed JSON into `returns`.

    Raises:
        StructureError: a required field is missing, or a value has a wrong type.
    """
    try:
        return _converter.structure(data, returns)
    except StructureError:
        raise
    except Exception as error:  # noqa: BLE001 - a class of the user's may have code of its own
        # The server has carried it out: nothing but our own error may come of its answer.
        msg = f"{_name_of(returns)}: {type(error).__name__}"
    raise StructureError(msg)


def check_returns(returns: object) -> None:
    """Check that answers can be read as `returns`, before there is one.

    Raises:
        InvalidRequestError: there is no way to make it from JSON.
    """
    try:
        _check_hooks(returns)
    except Exception as error:  # noqa: BLE001 - cattrs says it in many ways, and so may the class
        problem = type(error).__name__
    else:
        return
    msg = f"an answer cannot be read as {_name_of(returns)} ({problem}); nothing was sent"
    raise InvalidRequestError(msg)


@cache
def _check_hooks(kind: Any) -> None:  # noqa: ANN401 - of any type
    """Make the hooks of a type now, which cattrs in part does only when it needs them."""
    _converter.get_structure_hook(kind)
    if get_origin(kind) is not Literal:
        for part in get_args(kind):
            if part is not Ellipsis and part is not types.NoneType:
                _check_hooks(part)


def _no_hook(kind: object) -> NoReturn:
    msg = f"there is no way to make {_name_of(kind)} from JSON"
    raise TypeError(msg)


def _name_of(kind: object) -> str:
    return one_line(kind.__name__ if isinstance(kind, type) else repr(kind), 100)


def to_json(instance: object) -> object:
    """Turn a model into plain JSON data under the names that its fields have here.

    Decimals become strings, times ISO 8601 strings.
    """
    return cast("object", _converter.unstructure(instance))


def _no_constant(name: str) -> object:
    msg = f"{name} is not a number"
    raise ValueError(msg)


_decoder: Final = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_constant)


def _wrong(where: str, expected: str, value: object) -> StructureError:
    # The type is named, the value is not: it may be long, and it is in the body anyway.
    return StructureError(f"{where}: expected {expected}, got {type(value).__name__}")


# --- leaves: what turns a value that is not null into its type, or raises naming its field


def _decimal(value: Any, where: str) -> Decimal:  # noqa: ANN401 - any JSON value
    if type(value) is str or type(value) is int:
        try:
            number = Decimal(value)
        except InvalidOperation:
            raise _wrong(where, "a decimal number", value) from None
    elif type(value) is Decimal:
        number = value
    else:
        raise _wrong(where, "a decimal number", value)
    if not number.is_finite():
        raise _wrong(where, "a finite number", value)
    return number


def _datetime(value: Any, where: str) -> datetime:  # noqa: ANN401 - any JSON value
    if type(value) is not str:
        raise _wrong(where, "an ISO 8601 time", value)
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is UTC:
            return moment
        # All documented times are UTC; one without an offset is taken as such.
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise _wrong(where, "an ISO 8601 time", value) from None


def _items(value: Any, where: str) -> list[Any]:  # noqa: ANN401 - any JSON value
    if type(value) is list:
        return value  # pyright: ignore[reportUnknownVariableType] - of any JSON values
    raise _wrong(where, "an array", value)


# JSON has these types itself: a look at the value's type is all there is to do.
_AS_THEY_ARE: Final[dict[object, str]] = {
    str: "a string",
    int: "an integer",
    bool: "true or false",
}
_CONVERTED: Final[dict[object, Callable[[Any, str], object]]] = {
    Decimal: _decimal,
    datetime: _datetime,
}


def _leaf(kind: object) -> Callable[[Any, str], Any] | None:
    """Return what turns a value into this type; None where that is not a leaf."""
    if kind in _AS_THEY_ARE:
        return partial(_as_it_is, kind)
    if members := _open_enum(kind):
        return partial(_code, members)
    return _CONVERTED.get(kind)


def _code(members: dict[str, StrEnum], value: Any, where: str) -> StrEnum | str:  # noqa: ANN401
    if type(value) is str:
        return members.get(value, value)  # a code nobody knows stays the string it is
    raise _wrong(where, "a string", value)


def _as_it_is(kind: object, value: Any, where: str) -> Any:  # noqa: ANN401 - of that kind
    if kind is type(value):  # pyright: ignore[reportUnnecessaryComparison] - it may well be
        return value
    raise _wrong(where, _AS_THEY_ARE[kind], value)


# --- classes


def _class_hook(cls: type[Any], converter: Converter) -> Any:  # noqa: ANN401 - a cattrs hook
    """Write the constructor of one attrs class."""
    attrs.resolve_types(cls)
    fields = attrs.fields(cls)
    names: dict[str, Any] = {"cls": cls, "_wrong": _wrong, "_items": _items}
    begin, assign, end = _construction(cls, names)
    lines = [
        "def construct(data, _=None):",
        "  if type(data) is not dict:",
        f"    raise _wrong({cls.__name__!r}, 'an object', data)",
        "  get = data.get",
        *begin,
        *(line for field in fields for line in _field_lines(cls, field, assign, converter, names)),
        *end,
    ]
    exec("\n".join(lines), names)  # noqa: S102 - the text is made from our own classes only
    return names["construct"]


def _construction(cls: type[Any], names: dict[str, Any]) -> tuple[list[str], str, list[str]]:
    """Return the lines before the fields, how a field is assigned, and the lines after.

    The frozen `__init__` sets every field through a function of Python, which takes as long as all
    the checks together. The slots' own setters, which are C, do the same.
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
    """Write the lines that read one field; `assign` is how it is assigned."""
    wire = field.metadata.get(WIRE, field.name)

    def to(value: str) -> str:
        return assign.format(name=field.name, value=value)

    where = f"{cls.__name__}.{wire}"
    kind = _without_none(field.type)
    hook, read = f"{field.name}_hook", f"  v = get({wire!r})"
    if field.default is attrs.NOTHING:
        null = f"  if v is None: raise _wrong({where!r}, 'a value', None)"
    else:
        null = f"  if v is None: {to(f'{field.name}_default')}"
        names[f"{field.name}_default"] = field.default
    members = _open_enum(kind)
    on_the_wire = str if members else kind
    if on_the_wire in _AS_THEY_ARE:
        wrong = f"raise _wrong({where!r}, {_AS_THEY_ARE[on_the_wire]!r}, v)"
        is_not = f"type(v) is not {cast('type[Any]', on_the_wire).__name__}"
        if members:
            names[hook] = members.get
            return [read, null, f"  elif {is_not}: {wrong}", f"  else: {to(f'{hook}(v, v)')}"]
        if field.default is None:
            return [read, f"  if {is_not} and v is not None: {wrong}", f"  {to('v')}"]
        return [read, null, f"  elif {is_not}: {wrong}", f"  else: {to('v')}"]
    return [read, null, f"  else: {to(_expression(kind, hook, where, converter, names))}"]


def _expression(
    kind: object, hook: str, where: str, converter: Converter, names: dict[str, Any]
) -> str:
    """Write what turns the variable `v`, which is not null, into its type."""
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
    """Return `X` for `X | None`; every field with a default may be missing or null."""
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
    """Return what structures a leaf by itself, which is no field of a class, as in `list[str]`."""
    leaf = _leaf(kind)
    where = getattr(kind, "__name__", "code")
    return lambda value, _: leaf(value, where) if leaf else value


def _is_list(kind: object) -> bool:
    return get_origin(kind) is list


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=False, structure_fallback_factory=_no_hook)
    register: Any = converter.register_structure_hook_factory  # its overloads know no plain `type`
    register(attrs.has, _class_hook)
    converter.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
    register(_is_list, _list_hook)
    register(_is_leaf, _leaf_hook)
    for kind in (str, int, bool):  # cattrs' own would coerce, and go before any factory
        converter.register_structure_hook(kind, _leaf_hook(kind))
    converter.register_unstructure_hook(Decimal, str)
    converter.register_unstructure_hook(datetime, datetime.isoformat)
    return converter


_converter = _make_converter()
