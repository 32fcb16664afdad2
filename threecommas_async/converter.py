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
from typing import TYPE_CHECKING, Any, Final, TypeVar, Union, cast, get_args, get_origin

import attrs
from cattrs import Converter

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["StructureError", "decode", "from_json", "structure", "to_json"]

T = TypeVar("T")

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


def from_json(content: bytes | str) -> object:
    """Parse JSON with numbers kept exact.

    Raises:
        StructureError: the text is not JSON.
    """
    try:
        return cast("object", json.loads(content, parse_float=Decimal, parse_constant=_no_constant))
    except (ValueError, RecursionError) as error:
        msg = f"not JSON: {error}" if content else "the body is empty"
    raise StructureError(msg)


def structure(data: object, returns: type[T]) -> T:
    """Turn parsed JSON into `returns`.

    Raises:
        StructureError: a required field is missing, or a value has a wrong type.
    """
    return _converter.structure(data, returns)


def to_json(instance: object) -> object:
    """Turn a model into plain JSON data: Decimals become strings, times ISO 8601 strings."""
    return cast("object", _converter.unstructure(instance))


def _no_constant(name: str) -> object:
    msg = f"{name} is not a number"
    raise ValueError(msg)


def _wrong(where: str, expected: str, value: object) -> StructureError:
    # The type is named, the value is not: it may be long, and it is in the body anyway.
    return StructureError(f"{where}: expected {expected}, got {type(value).__name__}")


# --- leaves: one function a type, called with a value that is not null, and the name of its field


def _str(value: object, where: str) -> str:
    if type(value) is str:
        return value
    raise _wrong(where, "a string", value)


def _int(value: object, where: str) -> int:
    if type(value) is int:
        return value
    raise _wrong(where, "an integer", value)


def _bool(value: object, where: str) -> bool:
    if type(value) is bool:
        return value
    raise _wrong(where, "true or false", value)


def _decimal(value: object, where: str) -> Decimal:
    kind = type(value)
    if kind is str or kind is int:
        try:
            number = Decimal(cast("str | int", value))
        except InvalidOperation:
            raise _wrong(where, "a decimal number", value) from None
    elif kind is Decimal:
        number = cast("Decimal", value)
    else:
        raise _wrong(where, "a decimal number", value)
    if not number.is_finite():
        raise _wrong(where, "a finite number", value)
    return number


def _datetime(value: object, where: str) -> datetime:
    if type(value) is str:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise _wrong(where, "an ISO 8601 time", value) from None
        if moment.tzinfo is UTC:
            return moment
        # All documented times are UTC; one without an offset is taken as such.
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    raise _wrong(where, "an ISO 8601 time", value)


_LEAVES: Final[dict[object, Any]] = {
    str: _str,
    int: _int,
    bool: _bool,
    Decimal: _decimal,
    datetime: _datetime,
}


# --- classes


def _class_hook(cls: type[Any], converter: Converter) -> Any:  # noqa: ANN401 - a cattrs hook
    """Write the constructor of one attrs class."""
    attrs.resolve_types(cls)
    names: dict[str, Any] = {"cls": cls, "_wrong": _wrong, "absent": object()}
    lines = [
        "def construct(data, _=None):",
        "  if type(data) is not dict:",
        f"    raise _wrong({cls.__name__!r}, 'an object', data)",
        "  get = data.get",
    ]
    for field in attrs.fields(cls):
        lines += _field_lines(cls, field, converter, names)
    arguments = ", ".join(f"{field.alias}=_{field.name}" for field in attrs.fields(cls))
    lines.append(f"  return cls({arguments})")
    exec("\n".join(lines), names)  # noqa: S102 - the text is made from our own classes only
    return names["construct"]


def _field_lines(
    cls: type[Any], field: attrs.Attribute[Any], converter: Converter, names: dict[str, Any]
) -> list[str]:
    """Write the lines that read one field into the variable `_<name>`."""
    name, wire = field.name, field.metadata.get(WIRE, field.name)
    where = f"{cls.__name__}.{wire}"
    expression = _expression(_without_none(field.type), f"_{name}", where, converter, names)
    lines = [f"  _{name} = get({wire!r})"]
    if field.default is attrs.NOTHING:
        lines += [f"  if _{name} is None:", f"    raise _wrong({where!r}, 'a value', None)"]
        return [*lines, f"  _{name} = {expression}"]
    names[f"default_{name}"] = field.default
    return [
        *lines,
        f"  if _{name} is None:",
        f"    _{name} = default_{name}",
        "  else:",
        f"    _{name} = {expression}",
    ]


def _expression(
    kind: object, variable: str, where: str, converter: Converter, names: dict[str, Any]
) -> str:
    """Write the expression that turns a value which is not null into the type of its field."""
    function = f"{variable}_hook"
    if kind in _LEAVES:
        names[function] = _LEAVES[kind]
        return f"{function}({variable}, {where!r})"
    if members := _open_enum(kind):
        names["_str"] = _str
        names[f"{variable}_members"] = members
        # Most values are known; of the others only strings pass, as they are.
        return (
            f"({variable}_members.get({variable}) if type({variable}) is str else None)"
            f" or _str({variable}, {where!r})"
        )
    if get_origin(kind) is tuple:
        item = f"{variable}_item"
        names["_items"] = _items
        inner = _expression(get_args(kind)[0], item, where, converter, names)
        return f"tuple([{inner} for {item} in _items({variable}, {where!r})])"
    names[function] = converter.get_structure_hook(kind)
    names[f"{variable}_kind"] = kind
    return f"{function}({variable}, {variable}_kind)"


def _items(value: object, where: str) -> list[object]:
    if type(value) is list:
        return cast("list[object]", value)
    raise _wrong(where, "an array", value)


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


def _leaf_hook(kind: type[Any]) -> Callable[[object, object], Any]:
    leaf = _LEAVES[kind]
    return lambda value, _: leaf(value, kind.__name__)


def _is_list(kind: object) -> bool:
    return get_origin(kind) is list


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=False)
    register: Any = converter.register_structure_hook_factory  # its overloads know no plain `type`
    register(attrs.has, _class_hook)
    converter.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
    register(_is_list, _list_hook)
    register(_LEAVES.__contains__, _leaf_hook)
    converter.register_unstructure_hook(Decimal, str)
    converter.register_unstructure_hook(datetime, datetime.isoformat)
    return converter


_converter = _make_converter()
