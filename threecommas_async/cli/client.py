"""The client of the commands: the library's, with what so far only the commands do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from threecommas_async import AsyncClient, CloseBatch
from threecommas_async.batch import CloseMany
from threecommas_async.options import check_ids
from threecommas_async.resources.smart_trades import CANCEL, SmartTrades

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from threecommas_async import CloseOutcome, SmartTrade

__all__ = ["CommandClient", "Trades"]


class CommandClient(AsyncClient):
    """`AsyncClient` with `trades`, which can do more than `smart_trades`."""

    @property
    def trades(self) -> Trades:
        """SmartTrades, to be cancelled by the many."""
        return Trades(self._pipeline)


class Trades(SmartTrades):
    """`SmartTrades`, to be cancelled by the many."""

    def cancel_many(
        self,
        trade_ids: Iterable[int],
        *,
        confirm: bool = False,
        deadline: float | None = None,
        on_outcome: Callable[[CloseOutcome[SmartTrade]], object] | None = None,
    ) -> CloseBatch[SmartTrade]:
        """Cancel many, each exactly once, as `close_many` closes them."""
        target = evolve(
            self._target({}), closes=CANCEL, is_closable=_can_be_cancelled, cancels=True
        )
        work = CloseMany(
            target,
            check_ids(trade_ids),
            policy=self._pipeline.retry,
            confirm=confirm,
            deadline=deadline,
        )
        return CloseBatch(work, on_outcome=on_outcome)


def _can_be_cancelled(trade: SmartTrade) -> bool:
    return trade.data.cancel_available is True
