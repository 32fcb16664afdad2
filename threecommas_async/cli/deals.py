"""`threecommas deals`: its commands and their options."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, cast

from cyclopts import App, Parameter

from . import closing
from .kinds import DEALS
from .options import Closing, Id, given
from .render import deals_table
from .screen import Exit
from .session import Connection, with_client

if TYPE_CHECKING:
    from ..resources.deals import DealFilters
    from .session import Session

__all__ = ["app"]

Scope = Literal["active", "finished", "completed", "cancelled", "failed"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which deals."""

    bot_id: Id | None = None
    """Only those of this bot."""
    account_id: Id | None = None
    """Only those of this account."""
    base: str | None = None
    """Only this base currency."""
    quote: str | None = None
    """Only this quote currency."""


_USUAL, _CAREFULLY, _ANY = Connection(), Closing(), Filters()

app = App(name="deals", help="List and close deals of DCA bots.")


@app.command(name="list")
async def list_deals(
    *, scope: Scope = "active", which: Filters = _ANY, connection: Connection = _USUAL
) -> int:
    """List deals, all pages of them.

    Args:
        scope: Which ones.
        which: Which ones of these.
        connection: How to reach 3Commas.
    """
    filters = cast("DealFilters", {"scope": scope, **given(which)})

    async def listed(session: Session) -> int:
        deals = [deal async for deal in session.client.deals.list(**filters)]
        session.screen.result(deals, deals_table(deals, DEALS.count(len(deals))))
        return Exit.OK

    return await with_client(connection, listed)


@app.command
async def close(
    deal_ids: list[Id], /, *, how: Closing = _CAREFULLY, connection: Connection = _USUAL
) -> int:
    """Close deals at market, each exactly once, and tell what became of each.

    Ctrl-C sends nothing more and tells what is known so far.

    Args:
        deal_ids: Ids of the deals.
        how: How to close.
        connection: How to reach 3Commas.
    """
    return await with_client(connection, lambda s: closing.close(s, DEALS, deal_ids, how))


@app.command
async def close_all(
    *, which: Filters = _ANY, how: Closing = _CAREFULLY, connection: Connection = _USUAL
) -> int:
    """Close every open deal at market, or every one that passes the filters.

    With --bot-id and no other filter the whole bot is closed with one request, WHICH ALSO DISABLES
    THE BOT: it opens no further deals until you start it again. With any other filter, or none,
    each deal is closed by itself and its bot goes on.

    Lists again after closing, until nothing is left that could be closed. Ctrl-C sends nothing
    more and tells what is known so far.

    Args:
        which: Which ones.
        how: How to close.
        connection: How to reach 3Commas.
    """
    filters = given(which)
    whole_bot = filters.keys() == {"bot_id"}

    async def closed(session: Session) -> int:
        sweep = partial(
            session.client.deals.close_all,
            bot_id=which.bot_id,
            account_id=which.account_id,
            base=which.base,
            quote=which.quote,
        )
        everything = closing.Everything(
            kind=DEALS,
            sweep=sweep,
            filters=filters,
            also="disable the bot" if whole_bot else "",
        )
        return await closing.close_all(session, everything, how)

    return await with_client(connection, closed)
