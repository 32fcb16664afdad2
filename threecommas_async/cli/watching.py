"""`trades watch`: watch SmartTrades until they are closed or have failed."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from attrs import define
from rich.console import Group

from .. import NotFoundError
from ..closing import Phase, smart_trade_phase
from .output import ExitStatus
from .progress import Progress, connection_trouble
from .render import MAX_LISTED, grouped_table, status_of, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .. import SmartTrade, ThreeCommasError
    from .session import Session
    from .traffic import TrafficMonitor

__all__ = ["watch"]

_NOT_FOUND, _NOT_READ = "not found", "not read"
_CLOSED = Phase.CLOSED.value
_MAX_INTERVAL = 30.0
"""Maximum seconds between two reads of a trade."""
_FINAL = frozenset({_CLOSED, Phase.FAILED.value, _NOT_FOUND})


async def watch(session: Session, entity_ids: Sequence[int], timeout: float | None) -> int:
    """Watch trades and show the progress, until all are final or the timeout has passed."""
    progress = WatchProgress(session.traffic, entity_ids)
    try:
        async with progress.displayed(session.output), asyncio.timeout(timeout):
            changes = session.client.smart_trades.watch(
                entity_ids, every=_MAX_INTERVAL, on_error=progress.record_error
            )
            async for trade in changes:
                progress.record(trade)
    except TimeoutError:
        pass  # the result shows how far each trade has come
    except asyncio.CancelledError:
        progress.show_result(session)
        raise
    return progress.show_result(session)


@define
class _WatchedTrade:
    """A trade as last read."""

    entity_id: int
    trade: SmartTrade | None = None
    error: ThreeCommasError | None = None
    """Why the last read failed; None if it succeeded."""

    @property
    def standing(self) -> str:
        if isinstance(self.error, NotFoundError):
            return _NOT_FOUND
        return _NOT_READ if self.trade is None else smart_trade_phase(self.trade).value

    @property
    def status(self) -> str | None:
        return None if self.trade is None else status_of(self.trade)

    @property
    def reason(self) -> object:
        return self.error or (self.trade and self.trade.status.error)


class WatchProgress(Progress):
    """The standing of each watched trade: its phase, "not found" or "not read"."""

    def __init__(self, traffic: TrafficMonitor, entity_ids: Sequence[int]) -> None:
        self._traffic = traffic
        self._all = {entity_id: _WatchedTrade(entity_id) for entity_id in entity_ids}

    def record(self, trade: SmartTrade) -> None:
        """Record a trade as read."""
        watched = self._all[trade.id]
        watched.trade, watched.error = trade, None

    def record_error(self, entity_id: int, error: ThreeCommasError) -> None:
        """Record that reading a trade failed."""
        self._all[entity_id].error = error

    @property
    def _counts(self) -> Mapping[str, int]:
        return Counter(watched.standing for watched in self._all.values())

    @property
    def done_and_total(self) -> tuple[int, int]:
        """Number of trades in a final standing, and of all."""
        counts = self._counts
        return sum(counts[standing] for standing in _FINAL), len(self._all)

    def __str__(self) -> str:
        counts = self._counts
        parts = [f"closed {counts[_CLOSED]} of {len(self._all)}"]
        parts += (
            f"{count} {standing}" for standing, count in counts.items() if standing != _CLOSED
        )
        if trouble := connection_trouble(self._traffic):
            parts.append(trouble)
        return ", ".join(parts)

    def show_result(self, session: Session) -> ExitStatus:
        """Print the standing of each trade, and return the exit status."""
        not_closed = [watched for watched in self._all.values() if watched.standing != _CLOSED]
        session.output.result(
            {
                "ok": not not_closed,
                "counts": self._counts,
                "trades": [
                    {
                        "trade_id": watched.entity_id,
                        "standing": watched.standing,
                        "status": watched.status,
                        "error": watched.error,
                    }
                    for watched in self._all.values()
                ],
            },
            self._table(not_closed),
        )
        return ExitStatus.NOT_ALL if not_closed else ExitStatus.OK

    def _table(self, not_closed: Sequence[_WatchedTrade]) -> Group:
        title = f"{len(self._all) - len(not_closed)} of {len(self._all)} closed"
        if len(self._all) <= MAX_LISTED:
            rows = [(w.entity_id, w.standing, w.status, w.reason) for w in self._all.values()]
            return table(title, "id", "standing", "status", "reason", rows=rows)
        counted = table(title, "standing", "number", rows=list(self._counts.items()))
        if not not_closed:
            return counted
        reasons = [(w.entity_id, w.standing, w.reason) for w in not_closed]
        return Group(counted, grouped_table("Not closed", reasons))
