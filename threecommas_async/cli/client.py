"""The client of the commands: the library's, with what so far only the commands do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from threecommas_async import AsyncClient, CloseBatch
from threecommas_async.confirming import watch
from threecommas_async.options import check_ids
from threecommas_async.resources.smart_trades import CANCEL, SmartTrades

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from threecommas_async import CloseOutcome, SmartTrade, ThreeCommasError
    from threecommas_async.call import Trace
    from threecommas_async.closing import Target
    from threecommas_async.lifecycle import Phase
    from threecommas_async.pipeline import Pipeline

__all__ = ["CommandClient", "Trades"]


class CommandClient(AsyncClient):
    """`AsyncClient` with `trades`, which can do more than `smart_trades`."""

    @property
    def trades(self) -> Trades:
        """SmartTrades, to be cancelled by the many and to be watched."""
        return Trades(self._pipeline)


class Trades(SmartTrades):
    """`SmartTrades`, to be cancelled by the many and to be watched."""

    def cancel_many(
        self,
        trade_ids: Iterable[int],
        *,
        confirm: bool = False,
        deadline: float | None = None,
        on_outcome: Callable[[CloseOutcome[SmartTrade]], object] | None = None,
    ) -> CloseBatch[SmartTrade]:
        """Cancel many, each exactly once, as `close_many` closes them."""
        return CloseBatch(
            _Cancelling(self._pipeline, self._target({})),
            check_ids(trade_ids),
            policy=self._pipeline.retry,
            confirm=confirm,
            deadline=deadline,
            on_outcome=on_outcome,
        )

    async def watch(
        self, trade_ids: Iterable[int], seen: Callable[[int, SmartTrade | ThreeCommasError], bool]
    ) -> None:
        """Read trades as `wait_until_closed` does, and show each reading to `seen`.

        Ends when `seen` has returned True for each of them.
        """
        await watch(self._target({}), check_ids(trade_ids), seen, pause=0.0)


class _Cancelling:
    """Smart trades as something to cancel, see `closing.Target`."""

    def __init__(self, pipeline: Pipeline, trades: Target[SmartTrade]) -> None:
        self.doubts = trades.doubts
        self._pipeline = pipeline
        self._trades = trades

    async def close(self, entity_id: int, trace: Trace) -> SmartTrade:
        path = {"trade_id": entity_id}
        return (await self._pipeline.send(CANCEL, path=path, trace=trace)).data

    def is_closable(self, entity: SmartTrade) -> bool:
        return entity.data.cancel_available is True

    async def read(self, entity_id: int) -> SmartTrade:
        return await self._trades.read(entity_id)

    def listings(self) -> Sequence[Callable[[], AsyncIterator[Sequence[SmartTrade]]]]:
        return self._trades.listings()

    def id_of(self, entity: SmartTrade) -> int:
        return self._trades.id_of(entity)

    def phase(self, entity: SmartTrade) -> Phase:
        return self._trades.phase(entity)

    def failure(self, entity: SmartTrade) -> str | None:
        return self._trades.failure(entity)
