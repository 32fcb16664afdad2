"""A report of the client, held against the ledger of the sandbox: two accounts of one close."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen
from rich.console import Group

from .. import CloseState
from .faults import faults_table, struck
from .render import table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .. import CloseReport, SmartTrade
    from ..sandbox import Fault, Ledger

__all__ = ["Audit", "audit"]

_WINDOW = 60.0


@frozen(kw_only=True)
class Audit:
    """What came of the comparison. Everything but `trades` and `reported` is the server's view."""

    trades: int
    reported: int
    """Trades that the report calls closed."""
    carried_out: int
    """Closes that the server really carried out."""
    contradictions: tuple[int, ...]
    """Trades of which the report says something else than the ledger."""
    repeated: int
    """Requests to close what had already been accepted for closing."""
    refused: int
    """Requests refused for their rate (429)."""
    requests: int
    busiest_minute: int
    """The largest number of requests in any rolling window."""
    limit: int
    """The most that the server allows in a window."""
    connections: int
    """The most that were open at one moment."""
    faults: Mapping[Fault, int]
    """Faults that were injected."""

    @property
    def ok(self) -> bool:
        """Whether everything is closed, once, within the limit, and the report says so."""
        return (
            self.trades == self.reported == self.carried_out
            and not self.contradictions
            and not self.repeated
            and not self.refused
        )

    def data(self) -> dict[str, object]:
        """Make what a program gets."""
        return {
            "agrees": not self.contradictions,
            "contradictions": list(self.contradictions),
            "carried_out": self.carried_out,
            "sent_again_after_acceptance": self.repeated,
            "refused_429": self.refused,
            "requests": self.requests,
            "busiest_window": self.busiest_minute,
            "limit": self.limit,
            "peak_connections": self.connections,
            "faults": {fault.value: count for fault, count in self.faults.items()},
        }

    def table(self) -> Group:
        """Make what a person sees."""
        wrong = len(self.contradictions)
        compared = table(
            "The report of the client, held against the ledger of the server",
            *("", "report", "ledger", ""),
            rows=(
                ("closed", self.reported, self.carried_out, _mark(ok=not wrong)),
                ("outcomes that contradict the ledger", "", wrong, _mark(ok=not wrong)),
                (
                    "closes sent again after being accepted",
                    "",
                    self.repeated,
                    _mark(ok=not self.repeated),
                ),
                ("requests refused with 429", "", self.refused, _mark(ok=not self.refused)),
                (
                    f"busiest rolling window (limit {self.limit})",
                    "",
                    self.busiest_minute,
                    _mark(ok=self.busiest_minute <= self.limit),
                ),
                ("requests in all", "", self.requests, ""),
                ("connections at most", "", self.connections, ""),
            ),
        )
        return Group(faults_table(self.faults), compared) if self.faults else compared


def _mark(*, ok: bool) -> str:
    return "ok" if ok else "WRONG"


def audit(report: CloseReport[SmartTrade], ledger: Ledger, *, limit: int) -> Audit:
    """Hold every outcome of the report against what the server did."""
    carried_out = ledger.applied
    return Audit(
        trades=len(report),
        reported=sum(outcome.ok for outcome in report),
        carried_out=len(carried_out.intersection(outcome.trade_id for outcome in report)),
        contradictions=tuple(
            outcome.trade_id
            for outcome in report
            if outcome.state is not CloseState.UNKNOWN
            and outcome.ok != (outcome.trade_id in carried_out)
        ),
        repeated=len(ledger.repeated),
        refused=ledger.count(status=429),
        requests=len(ledger.requests),
        busiest_minute=ledger.max_in_window(_WINDOW),
        limit=limit,
        connections=ledger.peak_connections,
        faults=struck(ledger),
    )
