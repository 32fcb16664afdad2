"""Cancels smart trades whose entry is not filled, instead of closing them.

The result is a `Target` whose `close` cancels, so that cancels run through the same engine as
closes. Each trade is read right before its cancel, because an entry may be filled at any moment and
the API does not document what a cancel does to a position.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from attrs import evolve, field, frozen

from ..closing import (
    is_not_found,
    smart_trade_is_cancellable,
    smart_trade_is_closable,
)
from ..endpoint import Endpoint, Permission, Priority, Safety
from ..errors import RateLimitError, RequestNotSentError, ResponseDecodeError, ThreeCommasError
from ..models.smart_trade import SmartTrade

if TYPE_CHECKING:
    from ..closing import Target
    from ..http import Pipeline
    from ..options import CallOptions
    from ..retry import Trace

__all__ = ["CANCEL", "cancel_target"]

CANCEL: Final = Endpoint(
    "DELETE",
    "/v2/smart_trades/{trade_id}",
    SmartTrade,
    Safety.UNSAFE,
    Permission.SMART_TRADES_WRITE,
)

# Maximum seconds between the read of a trade and its cancel.
_MAX_READ_AGE: Final = 5.0
# Maximum number of cancels at a time. Each needs two slots of the rate limit in a row, for its read
# and the cancel. If all trades were read first, no slots would remain for the cancels, and the
# reads would be out of date by the next window.
_MAX_CONCURRENT: Final = 2


def cancel_target(
    pipeline: Pipeline, options: CallOptions, target: Target[SmartTrade], *, close_entered: bool
) -> Target[SmartTrade]:
    """Return a target that cancels smart trades instead of closing them.

    Args:
        pipeline: sends the cancels.
        options: the options of each request.
        target: the target that closes the same trades.
        close_entered: close a trade whose entry turns out to be filled, instead of leaving it
            unchanged.
    """
    canceller = _Canceller(pipeline, options, target, close_entered)
    return evolve(target, close=canceller.cancel, is_closable=_is_open_or_pending, cancels=True)


def _is_open_or_pending(trade: SmartTrade) -> bool:
    return smart_trade_is_cancellable(trade) or smart_trade_is_closable(trade)


@frozen(eq=False)
class _Canceller:
    """Cancels smart trades, a few at a time, each right after a read of it.

    A trade whose entry has been filled is closed if `close_entered` is set, else left unchanged.
    """

    _pipeline: Pipeline
    _options: CallOptions = field(repr=False)
    _target: Target[SmartTrade]
    _close_entered: bool
    _semaphore: asyncio.Semaphore = field(
        init=False, repr=False, factory=lambda: asyncio.Semaphore(_MAX_CONCURRENT)
    )

    async def cancel(self, entity_id: int, trace: Trace) -> SmartTrade:
        """Cancel the trade, unless a read shows that its entry has been filled."""
        async with self._semaphore:
            policy = self._pipeline.retry
            tries = refusals = 0
            while True:
                # Where the cancel has no slot in time, or meets a block, its read is out of date.
                try:
                    return await self._cancel_unless_entered(entity_id, trace)
                except RateLimitError:
                    refusals += 1
                    if trace.final or refusals > policy.rate_limit_waits:
                        raise
                except RequestNotSentError as error:
                    tries += 1
                    if error.available_in is None or tries >= policy.attempts:
                        raise

    async def _cancel_unless_entered(self, entity_id: int, trace: Trace) -> SmartTrade:
        trade = await self._read_first(entity_id)
        if smart_trade_is_closable(trade):
            return await self._handle_entered(entity_id, trace)
        if self._target.phase(trade).is_ending:
            return trade
        if not smart_trade_is_cancellable(trade):
            msg = f"trade {entity_id}: not cancelled; its entry may have been filled meanwhile"
            raise RequestNotSentError(msg)
        answer = await self._pipeline.send(
            CANCEL,
            path={"trade_id": entity_id},
            options=self._options,
            trace=trace,
            priority=Priority.IN_DOUBT,
            entity_id=entity_id,
            slot_within=_MAX_READ_AGE,
        )
        if smart_trade_is_closable(answer.data):
            # The entry was filled while the cancel was on its way, and the cancel may still do
            # something to the position. A position that is not closed now is therefore in doubt.
            trace.unknown |= not self._close_entered
            return await self._handle_entered(entity_id, trace)
        return answer.data

    async def _handle_entered(self, entity_id: int, trace: Trace) -> SmartTrade:
        """Close a trade whose entry is filled, or raise if it is to be left unchanged."""
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
            # The close was accepted, even if lagging reads show the trade open for a while.
            registry.mark_accepted(entity_id)
            raise
        registry.mark_accepted(entity_id)
        return trade

    async def _read_first(self, entity_id: int) -> SmartTrade:
        try:
            return await self._target.read(entity_id, Priority.IN_DOUBT)
        except ThreeCommasError as error:
            if is_not_found(error) or error.stops_everything:
                raise
            failure = RequestNotSentError(
                f"trade {entity_id}: not cancelled, for it could not be read first: {error}"
            )
            failure.__cause__ = error
        raise failure
