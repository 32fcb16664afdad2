"""Cancelling smart trades whose entry is not filled, instead of closing them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ..closing import (
    Phase,
    is_missing,
    smart_trade_is_cancellable,
    smart_trade_is_closable,
)
from ..endpoint import Endpoint, Permission, Priority, Safety
from ..errors import RequestNotSentError, ResponseDecodeError, ThreeCommasError
from ..models.smart_trade import SmartTrade
from .closable import ResourceTarget

if TYPE_CHECKING:
    from ..retry import Trace

__all__ = ["CANCEL", "cancelling"]

CANCEL: Final = Endpoint(
    "DELETE",
    "/v2/smart_trades/{trade_id}",
    SmartTrade,
    Safety.UNSAFE,
    Permission.SMART_TRADES_WRITE,
)

# Seconds after its read within which a cancel has to leave.
_FRESH: Final = 5.0
# Each takes two slots of the rate limit, one right after the other. If all were read first, there
# would be no slots left for their cancels, and the reads would be out of date by the next window.
_AT_ONCE: Final = 2


def cancelling(
    target: ResourceTarget[SmartTrade], *, close_entered: bool
) -> ResourceTarget[SmartTrade]:
    """Return smart trades as something to cancel.

    Args:
        target: the same, as something to close.
        close_entered: close what turns out to be entered; else it is left as it is.
    """
    return _Cancelling(
        pipeline=target.pipeline,
        registry=target.registry,
        options=target.options,
        id_name=target.id_name,
        closes=CANCEL,
        reads=target.reads,
        paged=target.paged,
        recent=target.recent,
        active=target.active,
        phase=target.phase,
        is_closable=_is_to_end,
        failure_text=target.failure_text,
        cancels=True,
        instead=target if close_entered else None,
    )


def _is_to_end(trade: SmartTrade) -> bool:
    return smart_trade_is_cancellable(trade) or smart_trade_is_closable(trade)


@frozen(kw_only=True, eq=False)
class _Cancelling(ResourceTarget[SmartTrade]):
    """Smart trades, cancelled if their entry is not filled.

    What a cancel does with a position that has been entered is not documented, and an entry may be
    filled at any moment. So each is read right before its cancel. One that was entered is closed
    where that is wanted, else left as it is.
    """

    instead: ResourceTarget[SmartTrade] | None
    """The same, to be closed where it has been entered; None leaves it."""
    _places: asyncio.Semaphore = field(
        init=False, repr=False, factory=lambda: asyncio.Semaphore(_AT_ONCE)
    )

    async def close(self, entity_id: int, trace: Trace) -> SmartTrade:
        """Cancel the trade, unless its entry has been filled meanwhile."""
        async with self._places:
            for _ in range(self.pipeline.retry.attempts - 1):
                try:
                    return await self._cancel_unless_entered(entity_id, trace)
                except RequestNotSentError as error:
                    if error.available_in is None:
                        raise  # else its read is out of date by the time of the next slot
            return await self._cancel_unless_entered(entity_id, trace)

    async def _cancel_unless_entered(self, entity_id: int, trace: Trace) -> SmartTrade:
        trade = await self._read_first(entity_id)
        if smart_trade_is_closable(trade):
            return await self._entered(entity_id, trace)
        if self.phase(trade) in {Phase.CLOSING, Phase.CLOSED, Phase.FAILED}:
            return trade  # nothing has to be sent
        if not smart_trade_is_cancellable(trade):
            msg = f"trade {entity_id}: not cancelled; its entry may have been filled meanwhile"
            raise RequestNotSentError(msg)
        answer = await self.pipeline.send(
            self.closes,
            path={self.id_name: entity_id},
            options=self.options,
            trace=trace,
            priority=Priority.IN_QUESTION,
            entity_id=entity_id,
            slot_within=_FRESH,
        )
        if smart_trade_is_closable(answer.data):  # it was entered while the cancel was on its way
            trace.unknown |= self.instead is None
            return await self._entered(entity_id, trace)
        return answer.data

    async def _entered(self, entity_id: int, trace: Trace) -> SmartTrade:
        """Close the trade, or refuse to do anything about it."""
        if self.instead is None:
            sent = "nothing more was sent" if trace.attempts else "nothing was sent"
            msg = (
                f"trade {entity_id}: not cancelled, for its entry has been filled and the position "
                f"is open; {sent}, close_many closes it"
            )
            raise RequestNotSentError(msg)
        try:
            trade = await self.instead.close(entity_id, trace)
        except ResponseDecodeError:
            self.registry.accept(entity_id)  # it was, whatever reads that lag behind may show
            raise
        self.registry.accept(entity_id)
        return trade

    async def _read_first(self, entity_id: int) -> SmartTrade:
        try:
            return await self.read(entity_id, Priority.IN_QUESTION)
        except ThreeCommasError as error:
            if is_missing(error) or error.stops_everything:
                raise
            failure = RequestNotSentError(
                f"trade {entity_id}: not cancelled, for it could not be read first: {error}"
            )
            failure.__cause__ = error
        raise failure
