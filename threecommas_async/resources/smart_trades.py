"""Smart trades: reading, closing, cancelling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from ..closing import CloseAll, CloseBatch, Target, smart_trade_is_closable, smart_trade_phase
from ..endpoint import Bucket, Endpoint, Permission, Priority, Safety
from ..errors import InvalidRequestError
from ..models.smart_trade import SmartTrade
from ..options import CallOptions, check_callback, check_count, check_id, check_options
from .cancelling import CANCEL, cancelling
from .closable import ClosableKind, ClosableResource, split_filters
from .filters import check_filters, pair_facts
from .listing import PAGE_SIZE, PagedList

if TYPE_CHECKING:
    import builtins  # `list` is a method here
    from collections.abc import AsyncIterator, Callable, Iterable
    from datetime import datetime
    from typing import Unpack

    from ..closing import CloseOutcome
    from ..http import Pipeline

__all__ = ["CANCEL", "CLOSE_BY_MARKET", "GET", "LIST", "SmartTradeFilters", "SmartTrades"]

_READ, _WRITE = Permission.SMART_TRADES_READ, Permission.SMART_TRADES_WRITE

CLOSE_BY_MARKET: Final = Endpoint(
    "POST",
    "/v2/smart_trades/{trade_id}/close_by_market",
    SmartTrade,
    Safety.UNSAFE,
    _WRITE,
    priority=Priority.CLOSE,
)
GET: Final = Endpoint("GET", "/v2/smart_trades/{trade_id}", SmartTrade, Safety.SAFE, _READ)
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


_KIND: Final = ClosableKind(
    noun="trade",
    id_name="trade_id",
    close=CLOSE_BY_MARKET,
    get=GET,
    recent={"order_by": "updated_at", "order_direction": "DESC"},
    active={"status": "active"},
    phase=smart_trade_phase,
    is_closable=smart_trade_is_closable,
    failure=lambda trade: trade.status.error,
)


class SmartTrades(ClosableResource[SmartTrade]):
    """`client.smart_trades`.

    `close_by_market`, `close_many`, `wait_until_closed` and `watch` are inherited.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        paged = PagedList(
            pipeline=pipeline,
            endpoint=LIST,
            order={"order_by": "created_at", "order_direction": "ASC"},
            place=lambda number, _: {"page": number, "per_page": PAGE_SIZE},
            identity=lambda trade: trade.id,
        )
        super().__init__(pipeline, _KIND, paged)

    def close_all(  # noqa: PLR0913 - filters, by name
        self,
        *,
        account_id: int | None = None,
        pair: str | None = None,
        type: str | None = None,
        base: str | None = None,
        quote: str | None = None,
        pending: Literal["leave", "cancel"] = "leave",
        confirm: bool = False,
        dry_run: bool = False,
        on_outcome: Callable[[CloseOutcome[SmartTrade]], object] | None = None,
        **options: Unpack[CallOptions],
    ) -> CloseBatch[SmartTrade]:
        """Close every open smart trade that passes the filters.

        Lists all pages, closes what can be closed, and lists again until a fresh listing shows
        nothing closable.

        Args:
            account_id: only this account.
            pair: only this pair, as in USDT_BTC.
            type: only this kind, as in `data.type`.
            base: only this base currency.
            quote: only this quote currency.
            pending: what to do with trades whose entry is not filled, which cannot be closed:
                "leave" them, or "cancel" them (their outcome is then that of the cancel).
            confirm: wait until each is seen closed or failed, not just closing.
            dry_run: close nothing; the report names what would be closed, as NOT_SENT.
            on_outcome: called with each outcome as it becomes known, as iteration gives it.
            options: `deadline` is for everything, in seconds from when it is awaited; it ends in
                a report. The other options are for each request.

        Returns:
            A handle to await, to iterate over, and to look at, see `CloseBatch`. Its report has one
            outcome for every trade that was found, and `unlisted` if the listing after the closes
            could not be made. An outcome that may be tried again is told when it is final; what a
            later listing shows otherwise is told again. Awaiting it raises the `ThreeCommasError`
            of a first listing that failed; nothing was closed then.

        Raises:
            InvalidRequestError: a filter or an option that cannot be sent.

        Source: GET /v2/smart_trades, POST /v2/smart_trades/{id}/close_by_market,
        DELETE /v2/smart_trades/{id}.
        """
        if pending not in {"leave", "cancel"}:
            msg = f'pending must be "leave" or "cancel", not {pending!r}; nothing was sent'
            raise InvalidRequestError(msg)
        check_callback(on_outcome)
        check_options(options)
        deadline = options.pop("deadline", None)
        target = self._target(options)
        cancel = None
        if pending == "cancel":
            cancel = cancelling(self._pipeline, options, target, close_entered=True)
        given = {"account_id": account_id, "pair": pair, "type": type, "base": base, "quote": quote}
        work = CloseAll(
            target,
            self._scope(check_filters(given), _facts, options),
            cancel=cancel,
            policy=self._pipeline.retry,
            confirm=confirm,
            dry_run=dry_run,
            deadline=deadline,
        )
        return CloseBatch(work, on_outcome=on_outcome)

    def cancel_many(
        self,
        trade_ids: Iterable[int],
        *,
        confirm: bool = False,
        on_outcome: Callable[[CloseOutcome[SmartTrade]], object] | None = None,
        **options: Unpack[CallOptions],
    ) -> CloseBatch[SmartTrade]:
        """Cancel many smart trades whose entry is not filled, each exactly once.

        Each is read right before its cancel. One whose entry has been filled is left as it is, for
        what a cancel does with a position is not documented: it is NOT_SENT, its id is in
        `report.leftovers`, and `close_many` closes it.

        Args:
            trade_ids: which ones; duplicates are cancelled once, the order is kept.
            confirm: wait until each is seen cancelled or failed, not just on its way.
            on_outcome: called with each outcome as it becomes known. What it raises is logged.
            options: as in `close_many`.

        Returns:
            A handle to await, to iterate over, and to look at, see `CloseBatch`. ACCEPTED and
            CLOSED mean that the cancel was, UNKNOWN that it may have been.

        Raises:
            InvalidRequestError: an id is not a positive int below 2^63.

        Source: DELETE /v2/smart_trades/{id}.
        """

        def target_of(options: CallOptions) -> Target[SmartTrade]:
            target = self._target(options)
            return cancelling(self._pipeline, options, target, close_entered=False)

        return self._many(target_of, trade_ids, confirm, on_outcome, options)

    async def get(self, trade_id: int, **options: Unpack[CallOptions]) -> SmartTrade:
        """Return one smart trade.

        Raises:
            NotFoundError: there is no such trade (the API says so with status 400).

        Source: GET /v2/smart_trades/{id}.
        """
        path = {"trade_id": check_id(trade_id)}
        answer = await self._pipeline.send(GET, path=path, options=options, entity_id=trade_id)
        return answer.data

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
        answer = await self._pipeline.send(CANCEL, path=path, options=options, entity_id=trade_id)
        return answer.data

    async def list(self, **filters: Unpack[SmartTradeFilters]) -> AsyncIterator[SmartTrade]:
        """Go through all smart trades that pass the filters, page by page, 100 a page.

        A trade that moves between pages meanwhile is yielded once. Unless another order is asked
        for they come oldest first, so that new trades do not push others over a page's edge.

        Source: GET /v2/smart_trades.
        """
        query, options = split_filters(filters, SmartTradeFilters)
        async for page in self._paged.pages(query, options):
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
        check_count(page, "page", least=1)
        check_count(per_page, "per_page", least=1, most=PAGE_SIZE)
        query, options = split_filters(filters, SmartTradeFilters)
        return await self._paged.page({**query, "page": page, "per_page": per_page}, options)


def _facts(trade: SmartTrade) -> dict[str, object]:
    """Return what a trade says of itself, under the names of the filters."""
    return {
        "account_id": trade.account.id,
        "type": trade.data.type,
        **pair_facts(trade.pair),
    }
