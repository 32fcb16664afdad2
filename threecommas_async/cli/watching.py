"""Watching SmartTrades until they are over, whoever closes them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from attrs import define
from rich.console import Group

from .. import NotFoundError
from ..closing import Phase, smart_trade_phase
from .progress import Progress, trouble_of
from .render import FEW, grouped, status_of, table
from .screen import Exit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .. import SmartTrade, ThreeCommasError
    from .pace import Traffic
    from .session import Session

__all__ = ["watch"]

_NOT_FOUND, _NOT_READ = "not found", "not read"
_CLOSED = Phase.CLOSED.value
_EVERY = 30.0
"""Seconds between two looks at most."""
_OVER = frozenset({_CLOSED, Phase.FAILED.value, _NOT_FOUND})


async def watch(session: Session, trade_ids: Sequence[int], timeout: float | None) -> int:
    """Watch trades, with their progress on the screen, until all are over or the time is."""
    seen = Watching(session.traffic, trade_ids)
    try:
        async with seen.shown(session.screen), asyncio.timeout(timeout):
            changes = session.client.smart_trades.watch(
                trade_ids, every=_EVERY, on_error=seen.missed
            )
            async for trade in changes:
                seen.saw(trade)
    except TimeoutError:
        pass  # what has been seen tells how far they have come
    except asyncio.CancelledError:
        seen.tell(session)
        raise
    return seen.tell(session)


@define
class _Watched:
    """One trade, as last read."""

    trade_id: int
    trade: SmartTrade | None = None
    error: ThreeCommasError | None = None
    """Why the last read of it failed."""

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


class Watching(Progress):
    """Where trades stand."""

    def __init__(self, traffic: Traffic, trade_ids: Sequence[int]) -> None:
        self._traffic = traffic
        self._all = {trade_id: _Watched(trade_id) for trade_id in trade_ids}

    def saw(self, trade: SmartTrade) -> None:
        """Take note of a trade as it was read."""
        watched = self._all[trade.id]
        watched.trade, watched.error = trade, None

    def missed(self, trade_id: int, error: ThreeCommasError) -> None:
        """Take note of a trade that could not be read."""
        self._all[trade_id].error = error

    @property
    def _counts(self) -> Mapping[str, int]:
        return Counter(watched.standing for watched in self._all.values())

    @property
    def share(self) -> tuple[int, int]:
        """How many are over, and of how many."""
        counts = self._counts
        return sum(counts[standing] for standing in _OVER), len(self._all)

    def __str__(self) -> str:
        counts = self._counts
        parts = [f"closed {counts[_CLOSED]} of {len(self._all)}"]
        parts += (f"{count} {what}" for what, count in counts.items() if what != _CLOSED)
        if trouble := trouble_of(self._traffic):
            parts.append(trouble)
        return ", ".join(parts)

    def tell(self, session: Session) -> Exit:
        """Show where they stand, and return what it means for the exit status."""
        others = [watched for watched in self._all.values() if watched.standing != _CLOSED]
        session.screen.result(
            {
                "ok": not others,
                "counts": self._counts,
                "trades": [
                    {
                        "trade_id": watched.trade_id,
                        "standing": watched.standing,
                        "status": watched.status,
                        "error": watched.error,
                    }
                    for watched in self._all.values()
                ],
            },
            self._table(others),
        )
        return Exit.NOT_ALL if others else Exit.OK

    def _table(self, others: Sequence[_Watched]) -> Group:
        title = f"{len(self._all) - len(others)} of {len(self._all)} closed"
        if len(self._all) <= FEW:
            rows = [(w.trade_id, w.standing, w.status, w.reason) for w in self._all.values()]
            return table(title, "id", "standing", "status", "reason", rows=rows)
        counted = table(title, "standing", "number", rows=list(self._counts.items()))
        if not others:
            return counted
        wrong = [(w.trade_id, w.standing, w.reason) for w in others]
        return Group(counted, grouped("Not closed", wrong))
