"""Faults of the sandbox: parse the options that inject them, count and show those injected."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from attrs import evolve

from ..sandbox import Fault, Faults
from .render import table
from .session import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.console import Group

    from ..sandbox import Ledger

__all__ = ["faults_table", "injected_faults", "parse_faults"]

_READ_LAG = Fault.READ_LAG.value

_DESCRIPTIONS = {
    "reset": "the connection is reset",
    "silence": "no answer at all",
    "stale": "a kept-alive connection is closed",
    "unavailable": "503 with a page of HTML",
    "bad_gateway": "502 with a page of HTML",
    "gateway_timeout": "504 with nothing",
    "gateway_404": "404 with a page of HTML",
    "drip": "an answer that comes byte by byte",
    "wrong_id": "the answer of another trade",
    "truncated": "half an answer",
    "garbage": "an answer that is not JSON",
    "wrong_type": "JSON of the wrong type",
    "slow": "the right answer, but late",
}
"""What the client sees, for the faults that neither block nor refuse."""


def parse_faults(rate: float, options: Iterable[str]) -> Faults:
    """Distribute a rate over the recoverable faults, and add faults given one by one.

    Args:
        rate: fraction of the closes that meet a fault.
        options: each KIND=RATE, or read_lag=SECONDS.

    Raises:
        UsageError: a kind or rate is invalid, or the rates add up to more than 1.
    """
    try:
        rates: dict[str, Any] = dict(map(_parse_rate, options))
        return evolve(Faults.mixed(rate), **rates)
    except ValueError as error:
        raise UsageError(f"{error}.") from None


def _parse_rate(text: str) -> tuple[str, float]:
    kind, _, rate = text.partition("=")
    kind = kind.replace("-", "_")
    if kind not in {fault.value for fault in Fault}:
        raise ValueError(f"--fault {text}: there is no such kind of fault")
    try:
        return kind, float(rate)
    except ValueError:
        takes = "seconds, as in read_lag=5" if kind == _READ_LAG else f"a rate, as in {kind}=0.1"
        raise ValueError(f"--fault {text}: a kind takes {takes}") from None


def injected_faults(ledger: Ledger) -> Mapping[Fault, int]:
    """Count the injected faults, in the order of `Fault`."""
    counts = Counter(record.fault for record in ledger.requests)
    return {fault: counts[fault] for fault in Fault if counts[fault]}


def faults_table(faults: Mapping[Fault, int]) -> Group:
    """Make a table of the injected faults."""
    counts = {fault.value: count for fault, count in faults.items()}
    rows = [
        (kind, description, counts.get(f"{kind}_before"), counts.get(f"{kind}_after"))
        for kind, description in _DESCRIPTIONS.items()
    ]
    after = sum(count for fault, count in faults.items() if fault.applied)
    total = sum(faults.values())
    return table(
        f"{total} faults injected, {after} of them after the close had been carried out",
        *("fault", "what the client sees", "before", "after"),
        rows=[*(row for row in rows if row[2] or row[3]), ("all", None, total - after, after)],
    )
