"""The faults of the embedded 3Commas: made from options, and told of when they have struck."""

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

__all__ = ["faults_table", "made_of", "struck"]

_LAG = Fault.READ_LAG.value

_KINDS = {
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
"""What the client sees of those faults that neither block nor refuse."""


def made_of(rate: float, kinds: Iterable[str]) -> Faults:
    """Spread a rate over the faults that a client can get through, and set single ones on top.

    Args:
        rate: share of the closes that are met by a fault.
        kinds: KIND=RATE, each, or read_lag=SECONDS.

    Raises:
        UsageError: no such kind, no such rate, or more than 1 in all.
    """
    try:
        rates: dict[str, Any] = dict(map(_rate_of, kinds))
        return evolve(Faults.mixed(rate), **rates)
    except ValueError as error:
        raise UsageError(f"{error}.") from None


def _rate_of(text: str) -> tuple[str, float]:
    kind, _, rate = text.partition("=")
    kind = kind.replace("-", "_")
    if kind not in {fault.value for fault in Fault}:
        raise ValueError(f"--fault {text}: there is no such kind of fault")
    try:
        return kind, float(rate)
    except ValueError:
        takes = "seconds, as in read_lag=5" if kind == _LAG else f"a rate, as in {kind}=0.1"
        raise ValueError(f"--fault {text}: a kind takes {takes}") from None


def struck(ledger: Ledger) -> Mapping[Fault, int]:
    """Count the faults that have struck, in the order in which the sandbox names them."""
    counts = Counter(record.fault for record in ledger.requests)
    return {fault: counts[fault] for fault in Fault if counts[fault]}


def faults_table(faults: Mapping[Fault, int]) -> Group:
    """Make what a person sees of them."""
    counts = {fault.value: count for fault, count in faults.items()}
    rows = [
        (kind, seen, counts.get(f"{kind}_before"), counts.get(f"{kind}_after"))
        for kind, seen in _KINDS.items()
    ]
    after = sum(count for fault, count in faults.items() if fault.applied)
    every = sum(faults.values())
    return table(
        f"{every} faults injected, {after} of them after the close had been carried out",
        *("fault", "what the client sees", "before", "after"),
        rows=[*(row for row in rows if row[2] or row[3]), ("all", None, every - after, after)],
    )
