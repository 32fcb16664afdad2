"""`threecommas deals`: its commands and their options."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from cyclopts import App, Parameter

from . import closing
from .operations import CLOSE_DEALS
from .options import CloseOptions, ConnectionOptions, EntityId, given_filters
from .output import ExitStatus
from .render import deals_table
from .session import run_with_session

if TYPE_CHECKING:
    from .session import Session

__all__ = ["app"]

Scope = Literal["active", "finished", "completed", "cancelled", "failed"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which deals."""

    bot_id: EntityId | None = None
    """Only those of this bot."""
    account_id: EntityId | None = None
    """Only those of this account."""
    base: str | None = None
    """Only this base currency."""
    quote: str | None = None
    """Only this quote currency."""


_DEFAULT_CONNECTION, _DEFAULT_OPTIONS, _NO_FILTERS = ConnectionOptions(), CloseOptions(), Filters()

app: App = App(name="deals", help="List and close deals of DCA bots.")


@app.command(name="list")
async def list_deals(
    *,
    scope: Scope = "active",
    filters: Filters = _NO_FILTERS,
    connection: ConnectionOptions = _DEFAULT_CONNECTION,
) -> int:
    """List deals, all pages of them.

    Args:
        scope: Which ones.
        filters: Which ones of these.
        connection: Options of the connection.
    """

    async def listed(session: Session) -> int:
        listing = session.client.deals.list(
            scope=scope,
            bot_id=filters.bot_id,
            account_id=filters.account_id,
            base=filters.base,
            quote=filters.quote,
        )
        deals = [deal async for deal in listing]
        session.output.result(deals, deals_table(deals, CLOSE_DEALS.counted(len(deals))))
        return ExitStatus.OK

    return await run_with_session(connection, listed)


@app.command
async def close(
    deal_ids: list[EntityId],
    /,
    *,
    options: CloseOptions = _DEFAULT_OPTIONS,
    connection: ConnectionOptions = _DEFAULT_CONNECTION,
) -> int:
    """Close deals at market, each exactly once, and tell what became of each.

    Ctrl-C sends nothing more and tells what is known so far.

    Args:
        deal_ids: Ids of the deals.
        options: How to close.
        connection: Options of the connection.
    """
    return await run_with_session(
        connection, lambda session: closing.close(session, CLOSE_DEALS, deal_ids, options)
    )


@app.command
async def close_all(
    *,
    filters: Filters = _NO_FILTERS,
    options: CloseOptions = _DEFAULT_OPTIONS,
    connection: ConnectionOptions = _DEFAULT_CONNECTION,
) -> int:
    """Close every open deal at market, or every one that passes the filters.

    With --bot-id and no other filter the whole bot is closed with one request, WHICH ALSO DISABLES
    THE BOT: it opens no further deals until you start it again. With any other filter, or none,
    each deal is closed by itself and its bot goes on.

    Lists again after closing, until nothing is left that could be closed. Ctrl-C sends nothing
    more and tells what is known so far.

    Args:
        filters: Which ones.
        options: How to close.
        connection: Options of the connection.
    """
    given = given_filters(filters)
    whole_bot = given.keys() == {"bot_id"}

    async def closed(session: Session) -> int:
        start = partial(
            session.client.deals.close_all,
            bot_id=filters.bot_id,
            account_id=filters.account_id,
            base=filters.base,
            quote=filters.quote,
        )
        request = closing.CloseAllRequest(
            operation=CLOSE_DEALS,
            start=start,
            filters=given,
            side_effect="disable the bot" if whole_bot else "",
        )
        return await closing.close_all(session, request, options)

    return await run_with_session(connection, closed)
