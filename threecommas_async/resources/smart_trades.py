"""Smart trades: reading, closing, cancelling."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal, cast

from ..batch import CloseBatch
from ..call import Trace
from ..closing import close_one, error_of, interrupted
from ..endpoint import Bucket, Endpoint, Permission, Priority, Safety
from ..errors import InvalidRequestError
from ..lifecycle import smart_trade_is_closable, smart_trade_phase
from ..models.smart_trade import SmartTrade
from ..options import CallOptions, check_id, check_ids, check_seconds
from ..pagination import every_page

if TYPE_CHECKING:
    import builtins  # `list` is a method here
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from typing import Unpack

    from ..call import QueryValue
    from ..lifecycle import Phase
    from ..outcomes import CloseOutcome
    from ..pipeline import Pipeline

__all__ = ["CANCEL", "CLOSE_BY_MARKET", "GET", "LIST", "SmartTradeFilters", "SmartTrades"]

_READ, _WRITE = Permission.SMART_TRADES_READ, Permission.SMART_TRADES_WRITE

PAGE_SIZE: Final = 100
"""The largest page; the API's own default is 10, and asking for less costs requests."""

CLOSE_BY_MARKET: Final = Endpoint(
    "POST",
    "/v2/smart_trades/{trade_id}/close_by_market",
    SmartTrade,
    Safety.UNSAFE,
    _WRITE,
    priority=Priority.CLOSE,
)
GET: Final = Endpoint("GET", "/v2/smart_trades/{trade_id}", SmartTrade, Safety.SAFE, _READ)
CANCEL: Final = Endpoint("DELETE", "/v2/smart_trades/{trade_id}", SmartTrade, Safety.UNSAFE, _WRITE)
LIST: Final = Endpoint(
    "GET",
    "/v2/smart_trades",
    list[SmartTrade],
    Safety.SAFE,
    _READ,
    # Written as /ver1/smart_trades on the limits page, a path that exists nowhere else.
    bucket=Bucket("smart_trades", limit=40, window=10.0, penalty=10.0),
)


class SmartTradeFilters(CallOptions, total=False):
    """Filters and order of a list, with the options of a call.

    Keys:
        account_id, pair, type, base, quote: only these; `type` as in `data.type`.
        status: only this group of statuses.
        from_, to: only those created between these times.
        order_by, order_direction: order on the server.
    """

    account_id: int
    pair: str
    type: str
    base: str
    quote: str
    status: Literal["all", "active", "finished", "successfully_finish", "cancelled", "failed"]
    from_: datetime
    to: datetime
    order_by: Literal[
        "created_at", "updated_at", "closed_at", "status", "profit", "profit_percentage"
    ]
    order_direction: Literal["ASC", "DESC"]


class SmartTrades:
    """`client.smart_trades`."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def close_by_market(self, trade_id: int, **options: Unpack[CallOptions]) -> SmartTrade:
        """Close one smart trade at market price, exactly once.

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

        Source: POST /v2/smart_trades/{id}/close_by_market.
        """
        check_id(trade_id)
        check_seconds(deadline := options.get("deadline"), "deadline")
        target, trace = _Target(self._pipeline, options), Trace()
        closing = close_one(
            target, trade_id, policy=self._pipeline.retry, read=target.read, trace=trace
        )
        outcome: CloseOutcome[SmartTrade]
        try:
            async with asyncio.timeout(deadline):
                outcome = await closing
        except TimeoutError:
            outcome = interrupted(trade_id, trace, None, deadline or 0.0)
        if outcome.ok and outcome.trade is not None:
            return outcome.trade
        raise error_of(outcome)

    def close_many(
        self,
        trade_ids: Iterable[int],
        *,
        confirm: bool = False,
        on_outcome: Callable[[CloseOutcome[SmartTrade]], object] | None = None,
        **options: Unpack[CallOptions],
    ) -> CloseBatch[SmartTrade]:
        """Close many smart trades, each exactly once, and tell what became of every one.

        Args:
            trade_ids: the trades; duplicates are closed once, the order is kept.
            confirm: wait until each trade is seen closed or failed, not just closing.
            on_outcome: called with each outcome as it becomes known. What it raises is logged.
            options: `deadline` is for the whole batch, in seconds from when it is awaited; it ends
                in a report, not in an exception. The other options are for each request.

        Returns:
            A handle to await, to iterate over, and to look at, see `CloseBatch`. No error of a
            single trade is raised, all are in the report.

        Raises:
            InvalidRequestError: an id is not a positive int below 2^63.

        Source: POST /v2/smart_trades/{id}/close_by_market.
        """
        ids = check_ids(trade_ids)
        deadline = check_seconds(options.pop("deadline", None), "deadline")
        return CloseBatch(
            _Target(self._pipeline, options),
            ids,
            policy=self._pipeline.retry,
            confirm=confirm,
            deadline=deadline,
            on_outcome=on_outcome,
        )

    async def get(self, trade_id: int, **options: Unpack[CallOptions]) -> SmartTrade:
        """Return one smart trade.

        Raises:
            NotFoundError: there is no such trade (the API says so with status 400).

        Source: GET /v2/smart_trades/{id}.
        """
        path = {"trade_id": check_id(trade_id)}
        return (await self._pipeline.send(GET, path=path, options=options)).data

    async def cancel(self, trade_id: int, **options: Unpack[CallOptions]) -> SmartTrade:
        """Cancel a smart trade; what it does with a position already entered is not documented.

        Returns:
            The trade, normally with status `cancellation_pending`.

        Raises:
            NotFoundError: there is no such trade (the API says so with status 400).
            OutcomeUnknownError: it may have happened; read the trade before repeating it.

        Source: DELETE /v2/smart_trades/{id}.
        """
        path = {"trade_id": check_id(trade_id)}
        return (await self._pipeline.send(CANCEL, path=path, options=options)).data

    async def list(self, **filters: Unpack[SmartTradeFilters]) -> AsyncIterator[SmartTrade]:
        """Go through all smart trades that pass the filters, page by page, 100 a page.

        A trade that moves between pages meanwhile is yielded once. Unless another order is asked
        for they come oldest first, so that new trades do not push others over a page's edge.

        Source: GET /v2/smart_trades.
        """
        async for page in self.pages(filters):
            for trade in page:
                yield trade

    async def list_page(
        self, page: int = 1, per_page: int = PAGE_SIZE, **filters: Unpack[SmartTradeFilters]
    ) -> builtins.list[SmartTrade]:
        """Return one page of smart trades.

        Args:
            page: number of the page, from 1.
            per_page: trades on a page, up to 100.
            filters: which trades in which order, and the options of a call.

        Source: GET /v2/smart_trades.
        """
        check_id(page, "page")
        if not check_id(per_page, "per_page") <= PAGE_SIZE:
            msg = f"per_page is at most {PAGE_SIZE}, not {per_page}; nothing was sent"
            raise InvalidRequestError(msg)
        query, options = _split(filters)
        query |= {"page": page, "per_page": per_page}
        return (await self._pipeline.send(LIST, query=query, options=options)).data

    def pages(self, filters: SmartTradeFilters) -> AsyncIterator[Sequence[SmartTrade]]:
        """Go through the pages of a list, see `list`."""
        ordered: SmartTradeFilters = {
            "order_by": "created_at",
            "order_direction": "ASC",
            **filters,
        }
        return every_page(
            lambda number: self.list_page(number, **ordered), PAGE_SIZE, lambda trade: trade.id
        )


class _Target:
    """Smart trades as something to close, see `closing.Target`."""

    def __init__(self, pipeline: Pipeline, options: CallOptions) -> None:
        self._pipeline = pipeline
        self._options = options
        self._trades = SmartTrades(pipeline)

    async def close(self, entity_id: int, trace: Trace) -> SmartTrade:
        path = {"trade_id": entity_id}
        answer = await self._pipeline.send(
            CLOSE_BY_MARKET, path=path, options=self._options, trace=trace
        )
        return answer.data

    async def read(self, entity_id: int) -> SmartTrade:
        return await self._trades.get(entity_id, **self._options)

    def listings(self) -> Sequence[Callable[[], AsyncIterator[Sequence[SmartTrade]]]]:
        # What was closed was updated just now; what was not is still active.
        pages, options = self._trades.pages, self._options
        return (
            lambda: pages(_join({"order_by": "updated_at", "order_direction": "DESC"}, options)),
            lambda: pages(_join({"status": "active"}, options)),
        )

    def id_of(self, entity: SmartTrade) -> int:
        return entity.id

    def phase(self, entity: SmartTrade) -> Phase:
        return smart_trade_phase(entity)

    def is_closable(self, entity: SmartTrade) -> bool:
        return smart_trade_is_closable(entity)

    def failure(self, entity: SmartTrade) -> str | None:
        return entity.status.error


def _join(filters: SmartTradeFilters, options: CallOptions) -> SmartTradeFilters:
    return cast("SmartTradeFilters", {**filters, **options})


def _split(filters: SmartTradeFilters) -> tuple[dict[str, QueryValue], CallOptions]:
    """Part the filters, which go into the query, from the options of the call."""
    given = cast("Mapping[str, QueryValue]", filters)
    names = SmartTradeFilters.__annotations__.keys() - CallOptions.__annotations__.keys()
    query = {name.rstrip("_"): given[name] for name in sorted(names & given.keys())}
    options = {name: value for name, value in given.items() if name not in names}
    return query, cast("CallOptions", options)
