"""Smart trades: reading, closing, cancelling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from ..endpoint import Bucket, Endpoint, Permission, Priority, Safety
from ..errors import InvalidRequestError
from ..lifecycle import (
    smart_trade_is_cancellable,
    smart_trade_is_closable,
    smart_trade_phase,
)
from ..models.smart_trade import SmartTrade
from ..options import CallOptions, check_id, check_options
from ..pagination import every_page
from ..sweeping import Sweep
from .closable import ClosableResource, join_filters, split_filters

if TYPE_CHECKING:
    import builtins  # `list` is a method here
    from collections.abc import AsyncIterator, Callable, Sequence
    from datetime import datetime
    from typing import Unpack

    from ..call import Trace
    from ..closing import Target
    from ..doubts import Doubts
    from ..lifecycle import Phase
    from ..outcomes import CloseOutcome, CloseReport
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


_RECENT: Final[dict[str, Any]] = {"order_by": "updated_at", "order_direction": "DESC"}


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


class SmartTrades(ClosableResource[SmartTrade]):
    """`client.smart_trades`; `close_by_market`, `close_many`, `wait_until_closed` are inherited."""

    def _target(self, options: CallOptions) -> Target[SmartTrade]:
        return _Target(self, self._pipeline, options, self._doubts)

    async def close_all(  # noqa: PLR0913 - filters, by name
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
    ) -> CloseReport[SmartTrade]:
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
            on_outcome: called with each outcome as it becomes known.
            options: `deadline` is for everything, in seconds; it ends in a report. The other
                options are for each request.

        Returns:
            One outcome for every trade that was found. `unlisted` tells if the listing after the
            closes could not be made.

        Raises:
            ThreeCommasError: the first listing failed; nothing was closed.

        Source: GET /v2/smart_trades, POST /v2/smart_trades/{id}/close_by_market,
        DELETE /v2/smart_trades/{id}.
        """
        if pending not in {"leave", "cancel"}:
            msg = f'pending must be "leave" or "cancel", not {pending!r}; nothing was sent'
            raise InvalidRequestError(msg)
        check_options(options)
        deadline = options.pop("deadline", None)
        given = {"account_id": account_id, "pair": pair, "type": type, "base": base, "quote": quote}
        filters = {name: value for name, value in given.items() if value is not None}
        kind = _TargetOrCancel if pending == "cancel" else _Target
        target = kind(self, self._pipeline, options, self._doubts)
        sweep = Sweep(
            target=target,
            listing=lambda: self.pages(join_filters({**filters, "status": "active"}, options)),
            policy=self._pipeline.retry,
            confirm=confirm,
            deadline=deadline,
            on_outcome=on_outcome,
        )
        return await (sweep.plan() if dry_run else sweep.run())

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
        query, options = split_filters(filters, SmartTradeFilters)
        query |= {"page": page, "per_page": per_page}
        return (await self._pipeline.send(LIST, query=query, options=options)).data

    def pages(self, filters: SmartTradeFilters) -> AsyncIterator[Sequence[SmartTrade]]:
        """Go through the pages of a list, see `list`."""
        ordered: SmartTradeFilters = {
            "order_by": "created_at",
            "order_direction": "ASC",
            **filters,
        }
        return every_page(lambda number: self.list_page(number, **ordered), lambda trade: trade.id)


class _Target:
    """Smart trades as something to close, see `closing.Target`."""

    def __init__(
        self, trades: SmartTrades, pipeline: Pipeline, options: CallOptions, doubts: Doubts
    ) -> None:
        self.doubts = doubts
        self._pipeline = pipeline
        self._options = options
        self._trades = trades

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
            lambda: pages(join_filters(_RECENT, options)),
            lambda: pages(join_filters({"status": "active"}, options)),
        )

    def id_of(self, entity: SmartTrade) -> int:
        return entity.id

    def phase(self, entity: SmartTrade) -> Phase:
        return smart_trade_phase(entity)

    def is_closable(self, entity: SmartTrade) -> bool:
        return smart_trade_is_closable(entity)

    def failure(self, entity: SmartTrade) -> str | None:
        return entity.status.error


class _TargetOrCancel(_Target):
    """Smart trades, where one whose entry is not filled is cancelled instead of closed."""

    def __init__(
        self, trades: SmartTrades, pipeline: Pipeline, options: CallOptions, doubts: Doubts
    ) -> None:
        super().__init__(trades, pipeline, options, doubts)
        self._pending: set[int] = set()

    def is_closable(self, entity: SmartTrade) -> bool:
        if smart_trade_is_cancellable(entity):
            self._pending.add(entity.id)
            return True
        self._pending.discard(entity.id)
        return super().is_closable(entity)

    async def close(self, entity_id: int, trace: Trace) -> SmartTrade:
        if entity_id not in self._pending:
            return await super().close(entity_id, trace)
        path = {"trade_id": entity_id}
        answer = await self._pipeline.send(CANCEL, path=path, options=self._options, trace=trace)
        return answer.data
