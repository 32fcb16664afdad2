"""Smart trades: endpoints, filters, and the methods that read, close and cancel them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from ..closing import CloseAll, CloseBatch, Target, smart_trade_is_closable, smart_trade_phase
from ..endpoint import Bucket, Endpoint, Permission, Priority, Safety
from ..errors import InvalidRequestError
from ..models.smart_trade import SmartTrade
from ..options import CallOptions, check_callback, check_count, check_id, check_options
from .cancelling import CANCEL, cancel_target
from .closable import ClosableKind, ClosableResource
from .filters import filter_query, pair_values
from .listing import PAGE_SIZE, PagedList

if TYPE_CHECKING:
    import builtins  # `list` is a method here
    from collections.abc import AsyncGenerator, Callable, Iterable
    from datetime import datetime
    from typing import Unpack

    from ..closing import CloseOutcome
    from ..http import Pipeline

__all__ = ["CANCEL", "CLOSE_BY_MARKET", "GET", "LIST", "SmartTrades"]

StatusGroup: TypeAlias = Literal[
    "all", "active", "finished", "successfully_finish", "cancelled", "failed"
]
OrderBy: TypeAlias = Literal[
    "created_at", "updated_at", "closed_at", "status", "profit", "profit_percentage"
]

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
    # The limits page says /ver1/smart_trades, a path that exists nowhere else:
    # https://developers.3commas.io/general-information/limits
    bucket=Bucket("smart_trades", limit=40, window=10.0, penalty=10.0),
)


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
            page_query=lambda number, _: {"page": number, "per_page": PAGE_SIZE},
            id_of=lambda trade: trade.id,
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
            pair: only this pair, such as USDT_BTC.
            type: only this type, as in `data.type`.
            base: only this base currency.
            quote: only this quote currency.
            pending: what to do with trades whose entry is not filled, which cannot be closed:
                "leave" them, or "cancel" them (their outcome is then the outcome of the cancel).
            confirm: wait until each trade is seen closed or failed, not just closing.
            dry_run: close nothing; the report has what would be closed, as NOT_SENT.
            on_outcome: called with each outcome as it becomes known. Exceptions it raises are
                logged.
            options: `deadline` applies to everything, listings included, in seconds from when it is
                awaited; it then ends with a report. The other options apply to each request.

        Returns:
            A handle to await or to iterate over, see `CloseBatch`. Its report has one outcome for
            every trade that was found, and `unlisted` if the listing after the closes failed. The
            outcome of a trade that may be tried again is published once it is final. If a later
            listing contradicts a published outcome, the new one is published as well. If the first
            listing fails, awaiting raises its `ThreeCommasError`, and nothing was closed.

        Raises:
            InvalidRequestError: a filter or an option is not valid.

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
            cancel = cancel_target(self._pipeline, options, target, close_entered=True)
        filters = filter_query(account_id=account_id, pair=pair, type=type, base=base, quote=quote)
        work = CloseAll(
            target,
            self._scope(filters, _filter_values, options),
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

        Each trade is read right before its cancel. One whose entry has been filled is left
        unchanged, because the API does not document what a cancel does to a position: it is
        NOT_SENT, its id is in `report.leftovers`, and `close_many` closes it.

        Args:
            trade_ids: the ids to cancel; duplicates are cancelled once, and the order is kept.
            confirm: wait until each trade is seen cancelled or failed, not just being cancelled.
            on_outcome: called with each outcome as it becomes known. Exceptions it raises are
                logged.
            options: as in `close_many`.

        Returns:
            A handle to await or to iterate over, see `CloseBatch`. ACCEPTED means that the cancel
            was accepted, CLOSED that the trade is cancelled, UNKNOWN that the cancel may have been
            carried out.

        Raises:
            InvalidRequestError: an id is not a positive int below 2^63.

        Source: DELETE /v2/smart_trades/{id}.
        """

        def target_of(options: CallOptions) -> Target[SmartTrade]:
            target = self._target(options)
            return cancel_target(self._pipeline, options, target, close_entered=False)

        return self._new_batch(target_of, trade_ids, confirm, on_outcome, options)

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
        """Cancel a smart trade. What this does to a trade with a position is not documented.

        Returns:
            The trade, normally with status `cancellation_pending`.

        Raises:
            NotFoundError: there is no such trade (the API says so with status 400).
            OutcomeUnknownError: the cancel may have been carried out; read the trade before
                repeating it.

        Source: DELETE /v2/smart_trades/{id}.
        """
        path = {"trade_id": check_id(trade_id)}
        answer = await self._pipeline.send(CANCEL, path=path, options=options, entity_id=trade_id)
        return answer.data

    async def list(  # noqa: PLR0913 - filters, by name
        self,
        *,
        account_id: int | None = None,
        pair: str | None = None,
        type: str | None = None,
        base: str | None = None,
        quote: str | None = None,
        status: StatusGroup | None = None,
        from_: datetime | None = None,
        to: datetime | None = None,
        order_by: OrderBy | None = None,
        order_direction: Literal["ASC", "DESC"] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncGenerator[SmartTrade, None]:
        """Yield all smart trades that pass the filters, page by page, 100 a page.

        A trade that moves to another page meanwhile is yielded once. The default order is oldest
        first, so that new trades do not move others to another page.

        Args:
            account_id: only this account.
            pair: only this pair, as in USDT_BTC.
            type: only this kind, as in `data.type`.
            base: only this base currency.
            quote: only this quote currency.
            status: only this group of statuses.
            from_: only those created since this time, which needs a time zone.
            to: only those created until this time, which needs a time zone.
            order_by: what the server orders by.
            order_direction: ascending or descending.
            options: the options of each call.

        Source: GET /v2/smart_trades.
        """
        query = filter_query(
            account_id=account_id,
            pair=pair,
            type=type,
            base=base,
            quote=quote,
            status=status,
            from_=from_,
            to=to,
            order_by=order_by,
            order_direction=order_direction,
        )
        async for page in self._paged.pages(query, options):
            for trade in page:
                yield trade

    async def list_page(  # noqa: PLR0913 - filters, by name
        self,
        page: int = 1,
        per_page: int = PAGE_SIZE,
        *,
        account_id: int | None = None,
        pair: str | None = None,
        type: str | None = None,
        base: str | None = None,
        quote: str | None = None,
        status: StatusGroup | None = None,
        from_: datetime | None = None,
        to: datetime | None = None,
        order_by: OrderBy | None = None,
        order_direction: Literal["ASC", "DESC"] | None = None,
        **options: Unpack[CallOptions],
    ) -> builtins.list[SmartTrade]:
        """Return one page of smart trades.

        Args:
            page: number of the page, from 1.
            per_page: maximum number of trades on the page, up to 100.
            account_id: only this account.
            pair: only this pair, as in USDT_BTC.
            type: only this kind, as in `data.type`.
            base: only this base currency.
            quote: only this quote currency.
            status: only this group of statuses.
            from_: only those created since this time, which needs a time zone.
            to: only those created until this time, which needs a time zone.
            order_by: what the server orders by.
            order_direction: ascending or descending.
            options: the options of each call.

        Source: GET /v2/smart_trades.
        """
        check_count(page, "page", least=1)
        check_count(per_page, "per_page", least=1, most=PAGE_SIZE)
        query = filter_query(
            account_id=account_id,
            pair=pair,
            type=type,
            base=base,
            quote=quote,
            status=status,
            from_=from_,
            to=to,
            order_by=order_by,
            order_direction=order_direction,
        )
        return await self._paged.page({**query, "page": page, "per_page": per_page}, options)


def _filter_values(trade: SmartTrade) -> dict[str, object]:
    """Return the values of a trade that filters compare, under the names of the filters."""
    return {
        "account_id": trade.account.id,
        "type": trade.data.type,
        **pair_values(trade.pair),
    }
