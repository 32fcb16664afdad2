"""Deals of DCA bots: reading and closing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from ..endpoint import Bucket, Endpoint, Permission, Priority, Safety
from ..errors import InvalidRequestError
from ..lifecycle import deal_is_closable, deal_phase
from ..models.deal import Deal
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

__all__ = ["GET", "LIST", "PANIC_SELL", "PANIC_SELL_ALL", "DealFilters", "Deals"]

PAGE_SIZE: Final = 100
LARGEST_PAGE: Final = 1000

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
    object,  # the bot; what became of its deals is read from them
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


_RECENT: Final[dict[str, Any]] = {"order": "updated_at", "order_direction": "DESC"}


class DealFilters(CallOptions, total=False):
    """Filters and order of a list, with the options of a call.

    Keys:
        bot_id, account_id, base, quote, note: only these.
        scope: only this group of statuses; all when left out.
        from_, to: only those created between these times.
        order, order_direction: order on the server.
    """

    bot_id: int
    account_id: int
    base: str
    quote: str
    note: str
    scope: Literal["active", "finished", "completed", "cancelled", "failed"]
    from_: datetime
    to: datetime
    order: Literal["created_at", "updated_at", "closed_at", "profit", "profit_percentage"]
    order_direction: Literal["ASC", "DESC"]


class Deals(ClosableResource[Deal]):
    """`client.deals`. `close_by_market`, `close_many` and `wait_until_closed` are inherited."""

    def _target(self, options: CallOptions) -> Target[Deal]:
        return _Target(self, self._pipeline, options, self._doubts)

    async def close_all(  # noqa: PLR0913 - filters, by name
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
    ) -> CloseReport[Deal]:
        """Close every open deal that passes the filters.

        With `bot_id` alone the whole bot is closed with one request, **which also disables the
        bot**; each deal is then read, and closed by itself where it is open still. Lists again
        until a fresh listing shows nothing closable.

        Args:
            bot_id: only this bot.
            account_id: only this account.
            base: only this base currency.
            quote: only this quote currency.
            confirm: wait until each is seen closed or failed, not just closing.
            dry_run: close nothing; the report names what would be closed, as NOT_SENT.
            on_outcome: called with each outcome as it becomes known.
            options: `deadline` is for everything, in seconds; it ends in a report. The other
                options are for each request.

        Returns:
            One outcome for every deal that was found. `unlisted` tells if the listing after the
            closes could not be made.

        Raises:
            ThreeCommasError: the first listing failed; nothing was closed.

        Source: GET /ver1/deals, POST /ver1/deals/{id}/panic_sell,
        POST /ver1/bots/{id}/panic_sell_all_deals.
        """
        check_options(options)
        deadline = options.pop("deadline", None)
        given = {"bot_id": bot_id, "account_id": account_id, "base": base, "quote": quote}
        filters = {name: value for name, value in given.items() if value is not None}
        wholesale = None
        if filters.keys() == {"bot_id"}:
            path = {"bot_id": check_id(bot_id, "bot_id")}
            wholesale = partial(self._pipeline.send, PANIC_SELL_ALL, path=path, options=options)
        sweep = Sweep(
            target=self._target(options),
            wholesale=wholesale,
            listing=lambda: self.pages(join_filters({**filters, "scope": "active"}, options)),
            policy=self._pipeline.retry,
            confirm=confirm,
            deadline=deadline,
            on_outcome=on_outcome,
        )
        return await (sweep.plan() if dry_run else sweep.run())

    async def get(self, deal_id: int, **options: Unpack[CallOptions]) -> Deal:
        """Return one deal.

        Raises:
            NotFoundError: there is no such deal.

        Source: GET /ver1/deals/{id}/show.
        """
        path = {"deal_id": check_id(deal_id, "deal_id")}
        return (await self._pipeline.send(GET, path=path, options=options)).data

    async def list(self, **filters: Unpack[DealFilters]) -> AsyncIterator[Deal]:
        """Go through all deals that pass the filters, page by page, oldest first.

        A deal that moves between pages meanwhile is yielded once.

        Source: GET /ver1/deals.
        """
        async for page in self.pages(filters):
            for deal in page:
                yield deal

    async def list_page(
        self, offset: int = 0, limit: int = PAGE_SIZE, **filters: Unpack[DealFilters]
    ) -> builtins.list[Deal]:
        """Return one page of deals.

        Args:
            offset: deals to skip.
            limit: deals on a page, up to 1000.
            filters: which deals in which order, and the options of a call.

        Source: GET /ver1/deals.
        """
        check_id(offset + 1, "offset")
        if not check_id(limit, "limit") <= LARGEST_PAGE:
            msg = f"limit is at most {LARGEST_PAGE}, not {limit}; nothing was sent"
            raise InvalidRequestError(msg)
        query, options = split_filters(filters, DealFilters)
        query |= {"limit": limit, "offset": offset}
        return (await self._pipeline.send(LIST, query=query, options=options)).data

    def pages(self, filters: DealFilters) -> AsyncIterator[Sequence[Deal]]:
        """Go through the pages of a list, see `list`."""
        ordered: DealFilters = {"order": "created_at", "order_direction": "ASC", **filters}
        return every_page(
            lambda number: self.list_page((number - 1) * PAGE_SIZE, PAGE_SIZE, **ordered),
            lambda deal: deal.id,
        )


class _Target:
    """Deals as something to close, see `closing.Target`."""

    def __init__(
        self, deals: Deals, pipeline: Pipeline, options: CallOptions, doubts: Doubts
    ) -> None:
        self.doubts = doubts
        self._pipeline = pipeline
        self._options = options
        self._deals = deals

    async def close(self, entity_id: int, trace: Trace) -> Deal:
        path = {"deal_id": entity_id}
        answer = await self._pipeline.send(
            PANIC_SELL, path=path, options=self._options, trace=trace
        )
        return answer.data

    async def read(self, entity_id: int) -> Deal:
        return await self._deals.get(entity_id, **self._options)

    def listings(self) -> Sequence[Callable[[], AsyncIterator[Sequence[Deal]]]]:
        # What was closed was updated just now; what was not is still active.
        pages, options = self._deals.pages, self._options
        return (
            lambda: pages(join_filters(_RECENT, options)),
            lambda: pages(join_filters({"scope": "active"}, options)),
        )

    def id_of(self, entity: Deal) -> int:
        return entity.id

    def phase(self, entity: Deal) -> Phase:
        return deal_phase(entity)

    def is_closable(self, entity: Deal) -> bool:
        return deal_is_closable(entity)

    def failure(self, entity: Deal) -> str | None:
        return entity.error_message or entity.failed_message
