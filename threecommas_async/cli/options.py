"""The types of options that several commands share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["Closing", "Count", "Flag", "Id", "Rate", "Seconds", "Whole", "given"]

Flag = Annotated[bool, Parameter(show_default=False)]
Count = Annotated[int, Parameter(validator=Number(gte=1))]
Whole = Annotated[int, Parameter(validator=Number(gte=0))]
Id = Annotated[int, Parameter(validator=Number(gt=0))]
Rate = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]
Seconds = Annotated[float, Parameter(validator=Number(gte=0))]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Closing:
    """How to close or to cancel."""

    yes: Flag = False
    """Do not ask."""
    dry_run: Flag = False
    """Only show what would be done."""
    confirm: Flag = False
    """Wait until each is over, not only until 3Commas has accepted it."""
    deadline: Seconds | None = None
    """Seconds after which nothing more is sent."""


def given(filters: DataclassInstance) -> dict[str, object]:
    """Return those filters that are given, by name."""
    return {name: value for name, value in asdict(filters).items() if value is not None}
