"""Types of options, and groups of options that several commands share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "CloseOptions",
    "ConnectionOptions",
    "EntityId",
    "Flag",
    "Fraction",
    "NonNegativeInt",
    "PositiveInt",
    "Seconds",
    "given_filters",
]

Flag = Annotated[bool, Parameter(show_default=False)]
PositiveInt = Annotated[int, Parameter(validator=Number(gte=1))]
NonNegativeInt = Annotated[int, Parameter(validator=Number(gte=0))]
EntityId = Annotated[int, Parameter(validator=Number(gt=0))]
Fraction = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]
Seconds = Annotated[float, Parameter(validator=Number(gte=0))]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CloseOptions:
    """Options of the commands that close or cancel."""

    yes: Flag = False
    """Do not ask."""
    dry_run: Flag = False
    """Only show what would be done."""
    confirm: Flag = False
    """Wait until each is over, not only until 3Commas has accepted it."""
    deadline: Seconds | None = None
    """Seconds after which nothing more is sent."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ConnectionOptions:
    """Options of the commands that send requests to 3Commas."""

    json: Flag = False
    """Print the result as JSON, and nothing else, to standard output."""
    env_file: Path | None = None
    """File with lines THREECOMMAS_API_KEY=... to take the key from."""
    rate_limit: PositiveInt = 100
    """Requests per minute that the plan allows; those of earlier commands count as well."""


def given_filters(filters: DataclassInstance) -> dict[str, object]:
    """Return the filters that are set, by name."""
    return {name: value for name, value in asdict(filters).items() if value is not None}
