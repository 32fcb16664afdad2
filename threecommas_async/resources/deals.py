"""Deals of DCA bots: endpoints, filters, and the methods that read and close them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from ..closing import CloseAll, CloseBatch, deal_is_closable, deal_phase
from ..endpoint import Bucket, Endpoint, Permission, Priority, Safety
from ..models.deal import Deal
from ..options import CallOptions, check_callback, check_count, check_id, check_options
from .closable import ClosableKind, ClosableResource
from .filters import filter_query, pair_values
from .listing import PAGE_SIZE, PagedList

if TYPE_CHECKING:
    import builtins  # `list` is a method here
    from collections.abc import AsyncGenerator, Callable
    from datetime import datetime
    from typing import Unpack

    from ..closing import CloseOutcome
    from ..http import Pipeline
    from ..retry import Trace

__all__ = ["GET", "LIST", "PANIC_SELL", "PANIC_SELL_ALL", "Deals"]

Scope: TypeAlias = Literal["active", "finished", "completed", "cancelled", "failed"]
OrderBy: TypeAlias = Literal["created_at", "updated_at", "closed_at", "profit", "profit_percentage"]

MAX_PAGE_SIZE: Final = 1000

PANIC_SELL: Final = Endpoint(
    "POST",
    "/ver1/deals/{deal_id}/panic_sell",
    Deal,
    Safety.UNSAFE,
    Permission.BOTS_WRITE,
    priority=Priority.CLOSE,
)
PANIC_SELL_ALL: Final = Endpoint(
    "POST",
    "/ver1/bots/{bot_id}/panic_sell_all_deals",
    object,  # the answer is the bot, which says nothing about its deals: they are read afterwards
    Safety.UNSAFE,
    Permission.BOTS_WRITE,
    priority=Priority.CLOSE,
)
GET: Final = Endpoint(
    "GET",
    "/ver1/deals/{deal_id}/show",
    Deal,
    Safety.SAFE,
    Permission.BOTS_READ,
    bucket=Bucket("deal", limit=120, window=60.0, penalty=60.0),
)
LIST: Final = Endpoint(
    "GET",
    "/ver1/deals",
    list[Deal],
    Safety.SAFE,
    Permission.BOTS_READ,
    bucket=Bucket("deals", limit=120, window=60.0, penalty=60.0),
)


_KIND: Final = ClosableKind(
    noun="deal",
    id_name="deal_id",
    close=PANIC_SELL,
    get=GET,
    recent={"order": "updated_at", "order_direction": "DESC"},
    active={"scope": "active"},
    phase=deal_phase,
    is_closable=deal_is_closable,
    failure=lambda deal: deal.error_message or deal.failed_message,
)


class Deals(ClosableResource[Deal]):
    """`client.deals`.

    `close_by_market`, `close_many`, `wait_until_closed` and `watch` are inherited.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        paged = PagedList(
            pipeline=pipeline,
            endpoint=LIST,
            order={"order": "created_at", "order_direction": "ASC"},
            page_query=lambda _, received: {"limit": PAGE_SIZE, "offset": received},
            id_of=lambda deal: deal.id,
        )
        super().__init__(pipeline, _KIND, paged)

    def close_all(  # noqa: PLR0913 - filters, by name
        self,
        *,
        bot_id: int | None = None,
        account_id: int | None = None,
        base: str | None = None,
        quote: str | None = None,
        confirm: bool = False,
        dry_run: bool = False,
        on_outcome: Callable[[CloseOutcome[Deal]], object] | None = None,
        **options: Unpack[CallOptions],
    ) -> CloseBatch[Deal]:
        """Close every open deal that passes the filters.

        With `bot_id` as the only filter, one request closes all deals of the bot, **which also
        disables the bot**; each deal is then read, and closed by itself if it is still open. Lists
        again until a fresh listing shows nothing closable.

        Args:
            bot_id: only this bot.
            account_id: only this account.
            base: only this base currency.
            quote: only this quote currency.
            confirm: wait until each deal is seen closed or failed, not just closing.
            dry_run: close nothing; the report has what would be closed, as NOT_SENT.
            on_outcome: called with each outcome as it becomes known. Exceptions it raises are
                logged.
            options: `deadline` applies to everything, listings included, in seconds from when it is
                awaited; it then ends with a report. The other options apply to each request.

        Returns:
            A handle to await or to iterate over, see `CloseBatch`. Its report has one outcome for
            every deal that was found, and `unlisted` if the listing after the closes failed. The
            outcome of a deal that may be tried again is published once it is final. If a later
            listing contradicts a published outcome, the new one is published as well. If the first
            listing fails, awaiting raises its `ThreeCommasError`, and nothing was closed.

        Raises:
            InvalidRequestError: a filter or an option is not valid.

        Source: GET /ver1/deals, POST /ver1/deals/{id}/panic_sell,
        POST /ver1/bots/{id}/panic_sell_all_deals.
        """
        check_callback(on_outcome)
        check_options(options)
        deadline = options.pop("deadline", None)
        filters = filter_query(bot_id=bot_id, account_id=account_id, base=base, quote=quote)
        target = self._target(options)
        bulk_close = None
        if filters.keys() == {"bot_id"}:
            bulk_close = partial(self._panic_sell_all, check_id(bot_id, "bot_id"), options)
        work = CloseAll(
            target,
            self._scope(filters, _filter_values, options),
            policy=self._pipeline.retry,
            bulk_close=bulk_close,
            confirm=confirm,
            dry_run=dry_run,
            deadline=deadline,
        )
        return CloseBatch(work, on_outcome=on_outcome)

    async def _panic_sell_all(self, bot_id: int, options: CallOptions, trace: Trace) -> object:
        answer = await self._pipeline.send(
            PANIC_SELL_ALL, path={"bot_id": bot_id}, options=options, trace=trace
        )
        return answer.data

    async def get(self, deal_id: int, **options: Unpack[CallOptions]) -> Deal:
        """Return one deal.

        Raises:
            NotFoundError: there is no such deal.

        Source: GET /ver1/deals/{id}/show.
        """
        path = {"deal_id": check_id(deal_id, "deal_id")}
        answer = await self._pipeline.send(GET, path=path, options=options, entity_id=deal_id)
        return answer.data

    async def list(  # noqa: PLR0913 - filters, by name
        self,
        *,
        bot_id: int | None = None,
        account_id: int | None = None,
        base: str | None = None,
        quote: str | None = None,
        note: str | None = None,
        scope: Scope | None = None,
        from_: datetime | None = None,
        to: datetime | None = None,
        order: OrderBy | None = None,
        order_direction: Literal["ASC", "DESC"] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncGenerator[Deal, None]:
        """Yield all deals that pass the filters, page by page, oldest first.

        A deal that moves to another page meanwhile is yielded once.

        Args:
            bot_id: only this bot.
            account_id: only this account.
            base: only this base currency.
            quote: only this quote currency.
            note: only those with this text in their note.
            scope: only this group of statuses; all when left out.
            from_: only those created since this time, which needs a time zone.
            to: only those created until this time, which needs a time zone.
            order: what the server orders by.
            order_direction: ascending or descending.
            options: the options of each call.

        Source: GET /ver1/deals.
        """
        query = filter_query(
            bot_id=bot_id,
            account_id=account_id,
            base=base,
            quote=quote,
            note=note,
            scope=scope,
            from_=from_,
            to=to,
            order=order,
            order_direction=order_direction,
        )
        async for page in self._paged.pages(query, options):
            for deal in page:
                yield deal

    async def list_page(  # noqa: PLR0913 - filters, by name
        self,
        offset: int = 0,
        limit: int = PAGE_SIZE,
        *,
        bot_id: int | None = None,
        account_id: int | None = None,
        base: str | None = None,
        quote: str | None = None,
        note: str | None = None,
        scope: Scope | None = None,
        from_: datetime | None = None,
        to: datetime | None = None,
        order: OrderBy | None = None,
        order_direction: Literal["ASC", "DESC"] | None = None,
        **options: Unpack[CallOptions],
    ) -> builtins.list[Deal]:
        """Return one page of deals.

        Args:
            offset: number of deals to skip.
            limit: maximum number of deals on the page, up to 1000.
            bot_id: only this bot.
            account_id: only this account.
            base: only this base currency.
            quote: only this quote currency.
            note: only those with this text in their note.
            scope: only this group of statuses; all when left out.
            from_: only those created since this time, which needs a time zone.
            to: only those created until this time, which needs a time zone.
            order: what the server orders by.
            order_direction: ascending or descending.
            options: the options of each call.

        Source: GET /ver1/deals.
        """
        check_count(offset, "offset")
        check_count(limit, "limit", least=1, most=MAX_PAGE_SIZE)
        query = filter_query(
            bot_id=bot_id,
            account_id=account_id,
            base=base,
            quote=quote,
            note=note,
            scope=scope,
            from_=from_,
            to=to,
            order=order,
            order_direction=order_direction,
        )
        return await self._paged.page({**query, "limit": limit, "offset": offset}, options)


def _filter_values(deal: Deal) -> dict[str, object]:
    """Return the values of a deal that filters compare, under the names of the filters."""
    return {"bot_id": deal.bot_id, "account_id": deal.account_id, **pair_values(deal.pair)}
