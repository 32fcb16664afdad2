"""`threecommas trades`: its commands and their options."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, cast

from cyclopts import App, Parameter

from . import closing, watching
from .kinds import CANCELLED_TRADES, TRADES
from .options import Closing, Id, Seconds, given
from .render import trade_table, trades_table
from .screen import Exit
from .session import Connection, with_client

if TYPE_CHECKING:
    from ..resources.smart_trades import SmartTradeFilters
    from .session import Session

__all__ = ["app"]

Status = Literal["active", "all", "finished", "successfully_finish", "cancelled", "failed"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which trades."""

    account_id: Id | None = None
    """Only those of this account."""
    pair: str | None = None
    """Only this pair, as in USDT_BTC."""
    type: str | None = None
    """Only this kind, as in smart_sell."""
    base: str | None = None
    """Only this base currency."""
    quote: str | None = None
    """Only this quote currency."""


_USUAL, _CAREFULLY, _ANY = Connection(), Closing(), Filters()

app = App(name="trades", help="List, show, close, cancel and watch SmartTrades.")


@app.command(name="list")
async def list_trades(
    *, status: Status = "active", which: Filters = _ANY, connection: Connection = _USUAL
) -> int:
    """List trades, all pages of them.

    Args:
        status: Which ones.
        which: Which ones of these.
        connection: How to reach 3Commas.
    """
    filters = cast("SmartTradeFilters", {"status": status, **given(which)})

    async def listed(session: Session) -> int:
        trades = [trade async for trade in session.client.smart_trades.list(**filters)]
        session.screen.result(trades, trades_table(trades, TRADES.count(len(trades))))
        return Exit.OK

    return await with_client(connection, listed)


@app.command
async def show(trade_id: Id, /, *, connection: Connection = _USUAL) -> int:
    """Show one trade.

    Args:
        trade_id: Its id.
        connection: How to reach 3Commas.
    """

    async def shown(session: Session) -> int:
        trade = await session.client.smart_trades.get(trade_id)
        session.screen.result(trade, trade_table(trade))
        return Exit.OK

    return await with_client(connection, shown)


@app.command
async def close(
    trade_ids: list[Id], /, *, how: Closing = _CAREFULLY, connection: Connection = _USUAL
) -> int:
    """Close trades at market, each exactly once, and tell what became of each.

    Ctrl-C sends nothing more and tells what is known so far.

    Args:
        trade_ids: Ids of the trades.
        how: How to close.
        connection: How to reach 3Commas.
    """
    return await with_client(connection, lambda s: closing.close(s, TRADES, trade_ids, how))


@app.command
async def close_all(
    *,
    which: Filters = _ANY,
    pending: Literal["leave", "cancel"] = "leave",
    how: Closing = _CAREFULLY,
    connection: Connection = _USUAL,
) -> int:
    """Close every open trade at market, or every one that passes the filters.

    Lists again after closing, until nothing is left that could be closed. Ctrl-C sends nothing
    more and tells what is known so far.

    Args:
        which: Which ones.
        pending: What to do with trades whose entry is not filled, which cannot be closed.
        how: How to close.
        connection: How to reach 3Commas.
    """

    async def closed(session: Session) -> int:
        sweep = partial(
            session.client.smart_trades.close_all,
            account_id=which.account_id,
            pair=which.pair,
            type=which.type,
            base=which.base,
            quote=which.quote,
            pending=pending,
        )
        everything = closing.Everything(kind=TRADES, sweep=sweep, filters=given(which))
        return await closing.close_all(session, everything, how)

    return await with_client(connection, closed)


@app.command
async def cancel(
    trade_ids: list[Id], /, *, how: Closing = _CAREFULLY, connection: Connection = _USUAL
) -> int:
    """Cancel trades whose entry is not filled, each exactly once, and tell what became of each.

    Each is read first. What 3Commas does with a position already entered is not documented, so it
    is left as it is: to get out of one, close it. Ctrl-C sends nothing more and tells what is known
    so far.

    Args:
        trade_ids: Ids of the trades.
        how: How to cancel.
        connection: How to reach 3Commas.
    """
    return await with_client(
        connection, lambda s: closing.close(s, CANCELLED_TRADES, trade_ids, how)
    )


@app.command
async def watch(
    trade_ids: list[Id], /, *, timeout: Seconds | None = None, connection: Connection = _USUAL
) -> int:
    """Wait until trades are over, whoever closes them, and tell where each one stands.

    Closes nothing. The status is 0 if all are closed.

    Args:
        trade_ids: Ids of the trades.
        timeout: Seconds to wait at most.
        connection: How to reach 3Commas.
    """
    return await with_client(connection, lambda s: watching.watch(s, trade_ids, timeout))
