"""Medians and how far the single runs lie from them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.measure import Record


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several runs, with the least and the greatest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """Sum up some values; None if there are none."""
        ordered = sorted(values)
        return cls(statistics.median(ordered), ordered[0], ordered[-1]) if ordered else None

    def show(self, digits: int = 0) -> str:
        """As ``median (low to high)``."""
        low, middle, high = (f"{v:,.{digits}f}" for v in (self.low, self.median, self.high))
        return f"{middle} ({low} to {high})"


def show(spread: Spread | None, digits: int = 0) -> str:
    """A spread, or a dash where nothing was measured."""
    return spread.show(digits) if spread else "-"


def values(
    records: Sequence[Record], key: str, *, complete: bool = True, **wanted: object
) -> dict[int, float]:
    """The values under a key by repeat; runs with failures only if they need not be complete."""
    return {
        record["repeat"]: record[key]
        for record in records
        if key in record
        and all(record.get(name) == value for name, value in wanted.items())
        and not (complete and record.get("failures"))
    }


def ratio(above: dict[int, float], below: dict[int, float]) -> Spread | None:
    """How many times one is the other, run by run of the same repeat."""
    return Spread.of(above[r] / below[r] for r in above if below.get(r))
