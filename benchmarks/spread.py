"""Median and range of several runs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.measure import Record


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, minimum and maximum of several runs."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """Return the spread of values; None if there are none."""
        ordered = sorted(values)
        return cls(statistics.median(ordered), ordered[0], ordered[-1]) if ordered else None

    def show(self, digits: int = 0) -> str:
        """Format as ``median (low to high)``."""
        low, middle, high = (f"{v:,.{digits}f}" for v in (self.low, self.median, self.high))
        return f"{middle} ({low} to {high})"


def show(spread: Spread | None, digits: int = 0) -> str:
    """Format a spread; a dash if nothing was measured."""
    return spread.show(digits) if spread else "-"


def values(
    records: Sequence[Record], key: str, *, complete: bool = True, **wanted: object
) -> dict[int, float]:
    """Return the values of a key by repeat, of records that match `wanted`.

    With `complete`, runs with failures are left out.
    """
    return {
        record["repeat"]: record[key]
        for record in records
        if key in record
        and all(record.get(name) == value for name, value in wanted.items())
        and not (complete and record.get("failures"))
    }


def ratio(numerators: dict[int, float], denominators: dict[int, float]) -> Spread | None:
    """Return the spread of the ratios within each repeat."""
    return Spread.of(numerators[r] / denominators[r] for r in numerators if denominators.get(r))
