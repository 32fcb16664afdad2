"""Cancelling smart trades whose entry is not filled, instead of closing them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from attrs import evolve, field, frozen

from ..closing import (
    Phase,
    is_missing,
    smart_trade_is_cancellable,
    smart_trade_is_closable,
)
from ..endpoint import Endpoint, Permission, Priority, Safety
from ..errors import RequestNotSentError, ResponseDecodeError, ThreeCommasError
from ..models.smart_trade import SmartTrade

if TYPE_CHECKING:
    from ..closing import Target
    from ..http import Pipeline
    from ..options import CallOptions
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
    pipeline: Pipeline, options: CallOptions, target: Target[SmartTrade], *, close_entered: bool
) -> Target[SmartTrade]:
    """Return smart trades as something to cancel.

    Args:
        pipeline: sends the cancels.
        options: the options of each request.
        target: the same trades, as something to close.
        close_entered: close what turns out to be entered; else it is left as it is.
    """
    canceller = _Canceller(pipeline, options, target, close_entered)
    return evolve(target, close=canceller.cancel, is_closable=_can_be_ended, cancels=True)


def _can_be_ended(trade: SmartTrade) -> bool:
    return smart_trade_is_cancellable(trade) or smart_trade_is_closable(trade)


@frozen(eq=False)
class _Canceller:
    """Cancels smart trades whose entry is not filled.

    What a cancel does with a position that has been entered is not documented, and an entry may be
    filled at any moment. So each trade is read right before its cancel. One that was entered is
    closed where that is wanted, else left as it is.
    """

    _pipeline: Pipeline
    _options: CallOptions = field(repr=False)
    _target: Target[SmartTrade]
    _close_entered: bool
    _at_once: asyncio.Semaphore = field(
        init=False, repr=False, factory=lambda: asyncio.Semaphore(_AT_ONCE)
    )

    async def cancel(self, entity_id: int, trace: Trace) -> SmartTrade:
        """Cancel the trade, unless its entry has been filled meanwhile."""
        async with self._at_once:
            for _ in range(self._pipeline.retry.attempts - 1):
                try:
                    return await self._cancel_unless_entered(entity_id, trace)
                except RequestNotSentError as error:
                    if error.available_in is None:
                        raise  # else its read is out of date by the time of the next slot
            return await self._cancel_unless_entered(entity_id, trace)

    async def _cancel_unless_entered(self, entity_id: int, trace: Trace) -> SmartTrade:
        trade = await self._read_first(entity_id)
        if smart_trade_is_closable(trade):
            return await self._handle_entered(entity_id, trace)
        if self._target.phase(trade) in {Phase.CLOSING, Phase.CLOSED, Phase.FAILED}:
            return trade  # nothing has to be sent
        if not smart_trade_is_cancellable(trade):
            msg = f"trade {entity_id}: not cancelled; its entry may have been filled meanwhile"
            raise RequestNotSentError(msg)
        answer = await self._pipeline.send(
            CANCEL,
            path={"trade_id": entity_id},
            options=self._options,
            trace=trace,
            priority=Priority.IN_QUESTION,
            entity_id=entity_id,
            slot_within=_FRESH,
        )
        if smart_trade_is_closable(answer.data):  # it was entered while the cancel was on its way
            trace.unknown |= not self._close_entered
            return await self._handle_entered(entity_id, trace)
        return answer.data

    async def _handle_entered(self, entity_id: int, trace: Trace) -> SmartTrade:
        """Close the trade, or refuse to do anything about it."""
        if not self._close_entered:
            sent = "nothing more was sent" if trace.attempts else "nothing was sent"
            msg = (
                f"trade {entity_id}: not cancelled, for its entry has been filled and the position "
                f"is open; {sent}, close_many closes it"
            )
            raise RequestNotSentError(msg)
        registry = self._target.registry
        try:
            trade = await self._target.close(entity_id, trace)
        except ResponseDecodeError:
            registry.accept(entity_id)  # it was, whatever reads that lag behind may show
            raise
        registry.accept(entity_id)
        return trade

    async def _read_first(self, entity_id: int) -> SmartTrade:
        try:
            return await self._target.read(entity_id, Priority.IN_QUESTION)
        except ThreeCommasError as error:
            if is_missing(error) or error.stops_everything:
                raise
            failure = RequestNotSentError(
                f"trade {entity_id}: not cancelled, for it could not be read first: {error}"
            )
            failure.__cause__ = error
        raise failure
