"""Compare the client's report of a close with the ledger of the sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen
from rich.console import Group

from .. import CloseState
from .faults import faults_table, injected_faults
from .render import table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .. import CloseReport, SmartTrade
    from ..sandbox import Fault, Ledger

__all__ = ["Audit", "audit"]

_WINDOW = 60.0


@frozen(kw_only=True)
class Audit:
    """Result of the comparison. All but `trades` and `reported` come from the server's ledger."""

    trades: int
    reported: int
    """Number of trades that the report calls closed."""
    carried_out: int
    """Number of trades that the server closed."""
    contradictions: tuple[int, ...]
    """Ids of trades on which report and ledger disagree."""
    repeated: int
    """Number of close requests for trades whose close had already been accepted."""
    refused: int
    """Number of requests refused with status 429."""
    requests: int
    busiest_window: int
    """Maximum number of requests in a rolling window."""
    limit: int
    """Maximum number of requests that the server allows in a window."""
    peak_connections: int
    """Maximum number of connections open at the same time."""
    faults: Mapping[Fault, int]
    """Injected faults and their counts."""

    @property
    def ok(self) -> bool:
        """Whether every trade was closed once within the limit, and the report says so."""
        return (
            self.trades == self.reported == self.carried_out
            and not self.contradictions
            and not self.repeated
            and not self.refused
        )

    def data(self) -> dict[str, object]:
        """Return the result as data for JSON."""
        return {
            "agrees": not self.contradictions,
            "contradictions": list(self.contradictions),
            "carried_out": self.carried_out,
            "sent_again_after_acceptance": self.repeated,
            "refused_429": self.refused,
            "requests": self.requests,
            "busiest_window": self.busiest_window,
            "limit": self.limit,
            "peak_connections": self.peak_connections,
            "faults": {fault.value: count for fault, count in self.faults.items()},
        }

    def table(self) -> Group:
        """Return the result as tables."""
        contradictions = len(self.contradictions)
        comparison = table(
            "The report of the client, held against the ledger of the server",
            *("", "report", "ledger", ""),
            rows=(
                ("closed", self.reported, self.carried_out, _mark(ok=not contradictions)),
                (
                    "outcomes that contradict the ledger",
                    "",
                    contradictions,
                    _mark(ok=not contradictions),
                ),
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
                    self.busiest_window,
                    _mark(ok=self.busiest_window <= self.limit),
                ),
                ("requests in all", "", self.requests, ""),
                ("connections at most", "", self.peak_connections, ""),
            ),
        )
        return Group(faults_table(self.faults), comparison) if self.faults else comparison


def _mark(*, ok: bool) -> str:
    return "ok" if ok else "WRONG"


def audit(report: CloseReport[SmartTrade], ledger: Ledger, *, limit: int) -> Audit:
    """Compare every outcome of the report with what the server did."""
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
        busiest_window=ledger.max_in_window(_WINDOW),
        limit=limit,
        peak_connections=ledger.peak_connections,
        faults=injected_faults(ledger),
    )
