"""`threecommas trades`: its commands and their options."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from cyclopts import App, Parameter

from . import closing, watching
from .operations import CANCEL_TRADES, CLOSE_TRADES
from .options import CloseOptions, ConnectionOptions, EntityId, Seconds, given_filters
from .output import ExitStatus
from .render import trade_table, trades_table
from .session import run_with_session

if TYPE_CHECKING:
    from .session import Session

__all__ = ["app"]

Status = Literal["active", "all", "finished", "successfully_finish", "cancelled", "failed"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which trades."""

    account_id: EntityId | None = None
    """Only those of this account."""
    pair: str | None = None
    """Only this pair, as in USDT_BTC."""
    type: str | None = None
    """Only this kind, as in smart_sell."""
    base: str | None = None
    """Only this base currency."""
    quote: str | None = None
    """Only this quote currency."""


_DEFAULT_CONNECTION, _DEFAULT_OPTIONS, _NO_FILTERS = ConnectionOptions(), CloseOptions(), Filters()

app: App = App(name="trades", help="List, show, close, cancel and watch SmartTrades.")


@app.command(name="list")
async def list_trades(
    *,
    status: Status = "active",
    filters: Filters = _NO_FILTERS,
    connection: ConnectionOptions = _DEFAULT_CONNECTION,
) -> int:
    """List trades, all pages of them.

    Args:
        status: Which ones.
        filters: Which ones of these.
        connection: Options of the connection.
    """

    async def listed(session: Session) -> int:
        listing = session.client.smart_trades.list(
            status=status,
            account_id=filters.account_id,
            pair=filters.pair,
            type=filters.type,
            base=filters.base,
            quote=filters.quote,
        )
        trades = [trade async for trade in listing]
        session.output.result(trades, trades_table(trades, CLOSE_TRADES.counted(len(trades))))
        return ExitStatus.OK

    return await run_with_session(connection, listed)


@app.command
async def show(
    trade_id: EntityId, /, *, connection: ConnectionOptions = _DEFAULT_CONNECTION
) -> int:
    """Show one trade.

    Args:
        trade_id: Its id.
        connection: Options of the connection.
    """

    async def shown(session: Session) -> int:
        trade = await session.client.smart_trades.get(trade_id)
        session.output.result(trade, trade_table(trade))
        return ExitStatus.OK

    return await run_with_session(connection, shown)


@app.command
async def close(
    trade_ids: list[EntityId],
    /,
    *,
    options: CloseOptions = _DEFAULT_OPTIONS,
    connection: ConnectionOptions = _DEFAULT_CONNECTION,
) -> int:
    """Close trades at market, each exactly once, and tell what became of each.

    Ctrl-C sends nothing more and tells what is known so far.

    Args:
        trade_ids: Ids of the trades.
        options: How to close.
        connection: Options of the connection.
    """
    return await run_with_session(
        connection, lambda session: closing.close(session, CLOSE_TRADES, trade_ids, options)
    )


@app.command
async def close_all(
    *,
    filters: Filters = _NO_FILTERS,
    pending: Literal["leave", "cancel"] = "leave",
    options: CloseOptions = _DEFAULT_OPTIONS,
    connection: ConnectionOptions = _DEFAULT_CONNECTION,
) -> int:
    """Close every open trade at market, or every one that passes the filters.

    Lists again after closing, until nothing is left that could be closed. Ctrl-C sends nothing
    more and tells what is known so far.

    Args:
        filters: Which ones.
        pending: What to do with trades whose entry is not filled, which cannot be closed.
        options: How to close.
        connection: Options of the connection.
    """

    async def closed(session: Session) -> int:
        start = partial(
            session.client.smart_trades.close_all,
            account_id=filters.account_id,
            pair=filters.pair,
            type=filters.type,
            base=filters.base,
            quote=filters.quote,
            pending=pending,
        )
        request = closing.CloseAllRequest(
            operation=CLOSE_TRADES, start=start, filters=given_filters(filters)
        )
        return await closing.close_all(session, request, options)

    return await run_with_session(connection, closed)


@app.command
async def cancel(
    trade_ids: list[EntityId],
    /,
    *,
    options: CloseOptions = _DEFAULT_OPTIONS,
    connection: ConnectionOptions = _DEFAULT_CONNECTION,
) -> int:
    """Cancel trades whose entry is not filled, each exactly once, and tell what became of each.

    Each is read first. What 3Commas does with a position already entered is not documented, so it
    is left as it is: to get out of one, close it. Ctrl-C sends nothing more and tells what is known
    so far.

    Args:
        trade_ids: Ids of the trades.
        options: How to cancel.
        connection: Options of the connection.
    """
    return await run_with_session(
        connection, lambda session: closing.close(session, CANCEL_TRADES, trade_ids, options)
    )


@app.command
async def watch(
    trade_ids: list[EntityId],
    /,
    *,
    timeout: Seconds | None = None,
    connection: ConnectionOptions = _DEFAULT_CONNECTION,
) -> int:
    """Wait until trades are over, whoever closes them, and tell where each one stands.

    Closes nothing. The status is 0 if all are closed.

    Args:
        trade_ids: Ids of the trades.
        timeout: Seconds to wait at most.
        connection: Options of the connection.
    """
    return await run_with_session(
        connection, lambda session: watching.watch(session, trade_ids, timeout)
    )
