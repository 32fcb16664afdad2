"""The closing verbs, the same for every kind of entity that can be closed at market."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from ..batch import CloseBatch
from ..call import Trace
from ..closing import Target, close_one, error_of, interrupted, keep_doubts
from ..confirming import wait_closed
from ..doubts import Doubts
from ..options import CallOptions, check_callback, check_id, check_ids, check_options, check_seconds
from ..outcomes import CloseOutcome, CloseReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Unpack

    from ..call import QueryValue
    from ..pipeline import Pipeline

__all__ = ["ClosableResource", "join_filters", "split_filters"]

T = TypeVar("T")


class ClosableResource(ABC, Generic[T]):
    """A resource whose entities can be closed at market."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        # What earlier calls left UNKNOWN is read before it is closed again.
        self._doubts = Doubts()

    @abstractmethod
    def _target(self, options: CallOptions) -> Target[T]:
        """Return the entities as something to close, each request with these options."""

    async def close_by_market(self, trade_id: int, **options: Unpack[CallOptions]) -> T:
        """Close one position at market price, exactly once.

        Gather as many as you like: they are paced, and none starves for a connection. After
        anything ambiguous the trade is read before the close is made again, so this returns as
        soon as the trade is known to be closing or closed, whoever closed it.

        Returns:
            The trade as last seen, normally with status `panic_sell_pending`: closing goes on at
            the exchange after this.

        Raises:
            InvalidRequestError: `trade_id` is not a positive int below 2^63.
            RequestNotSentError: nothing was sent; `available_in` says when a slot comes free.
            NotFoundError: there is no such trade.
            CloseFailedError: the trade ended in failure.
            OutcomeUnknownError: it may have happened; read the trade before closing it again.
            APIStatusError: the server refused, see the subclasses.

        Source: POST /v2/smart_trades/{id}/close_by_market, POST /ver1/deals/{id}/panic_sell.
        """
        check_id(trade_id)
        check_seconds(deadline := options.get("deadline"), "deadline")
        target, trace = self._target(options), Trace()
        outcome: CloseOutcome[T]
        closing = close_one(
            target, trade_id, policy=self._pipeline.retry, read=target.read, trace=trace
        )
        try:
            if deadline is None:
                outcome = await closing
            else:
                async with asyncio.timeout(deadline):
                    outcome = await closing
        except TimeoutError:
            outcome = interrupted(target, trade_id, trace, None, deadline or 0.0)
        except asyncio.CancelledError:
            keep_doubts(target, interrupted(target, trade_id, trace, None, 0.0))
            raise
        keep_doubts(target, outcome)
        if outcome.ok and outcome.trade is not None:
            return outcome.trade
        raise error_of(outcome)

    def close_many(
        self,
        trade_ids: Iterable[int],
        *,
        confirm: bool = False,
        on_outcome: Callable[[CloseOutcome[T]], object] | None = None,
        **options: Unpack[CallOptions],
    ) -> CloseBatch[T]:
        """Close many positions, each exactly once, and tell what became of every one.

        Args:
            trade_ids: which ones; duplicates are closed once, the order is kept.
            confirm: wait until each is seen closed or failed, not just closing.
            on_outcome: called with each outcome as it becomes known. What it raises is logged.
            options: `deadline` is for the whole batch, in seconds from when it is awaited; it ends
                in a report, not in an exception. The other options are for each request.

        Returns:
            A handle to await, to iterate over, and to look at, see `CloseBatch`. No error of a
            single trade is raised, all are in the report.

        Raises:
            InvalidRequestError: an id is not a positive int below 2^63.

        Source: POST /v2/smart_trades/{id}/close_by_market, POST /ver1/deals/{id}/panic_sell.
        """
        ids = check_ids(trade_ids)
        check_callback(on_outcome)
        check_options(options)
        deadline = options.pop("deadline", None)
        return CloseBatch(
            self._target(options),
            ids,
            policy=self._pipeline.retry,
            confirm=confirm,
            deadline=deadline,
            on_outcome=on_outcome,
        )

    async def wait_until_closed(
        self, trade_ids: Iterable[int], *, timeout: float | None = None
    ) -> CloseReport[T]:
        """Wait until positions are closed, whoever closes them; close nothing.

        They are read by list pages at read priority, with growing pauses, so that closes which are
        under way go first.

        Args:
            trade_ids: which ones.
            timeout: seconds to wait at most; None waits as long as it takes. It ends in a report.

        Returns:
            CLOSED, FAILED or NOT_FOUND for what is over; for the rest as it was last seen: ACCEPTED
            where it is closing, NOT_SENT where it is open, UNKNOWN where it could not be read.

        Raises:
            InvalidRequestError: an id is not a positive int below 2^63.
        """
        ids = check_ids(trade_ids)
        check_seconds(timeout, "timeout")
        return CloseReport(await wait_closed(self._target({}), ids, timeout))


def split_filters(
    filters: CallOptions, kind: type[CallOptions]
) -> tuple[dict[str, QueryValue], CallOptions]:
    """Part the filters, which go into the query, from the options of the call."""
    given = cast("Mapping[str, QueryValue]", filters)
    names = kind.__annotations__.keys() - CallOptions.__annotations__.keys()
    query = {name.rstrip("_"): given[name] for name in sorted(names & given.keys())}
    options = {name: value for name, value in given.items() if name not in names}
    return query, cast("CallOptions", options)


def join_filters(filters: Mapping[str, object], options: CallOptions) -> Any:  # noqa: ANN401
    """Join filters and options into one, of whichever kind the list at hand takes."""
    return {**filters, **options}
