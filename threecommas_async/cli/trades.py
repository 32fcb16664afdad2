"""`threecommas validate` and `threecommas trades list|show|close`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from threecommas_async.lifecycle import smart_trade_is_closable

from .closing import close_shown, exit_status
from .render import report_data, report_table, table, trade_table, trades_table
from .screen import Exit
from .session import Flag, UsageError

if TYPE_CHECKING:
    from threecommas_async import CloseReport, SmartTrade
    from threecommas_async.resources.smart_trades import SmartTradeFilters

    from .session import Session

__all__ = ["Closing", "close", "confirmed", "show", "show_all", "validate"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Closing:
    """How to close."""

    yes: Flag = False
    """Do not ask."""
    dry_run: Flag = False
    """Only show what would be closed."""
    confirm: Flag = False
    """Wait until each is closed, not only closing."""
    deadline: Annotated[float, Parameter(validator=Number(gte=0))] | None = None
    """Seconds after which nothing more is sent."""


async def validate(session: Session) -> int:
    """Check the key."""
    answer = await session.client.users.validate()
    text = "The key is valid." if answer.valid else "3Commas does not accept the key."
    session.screen.result({"valid": answer.valid}, text)
    return Exit.OK if answer.valid else Exit.CREDENTIALS


async def show_all(session: Session, filters: SmartTradeFilters) -> int:
    """List trades."""
    trades = [trade async for trade in session.client.smart_trades.list(**filters)]
    session.screen.result(trades, trades_table(trades, f"{len(trades)} SmartTrades"))
    return Exit.OK


async def show(session: Session, trade_id: int) -> int:
    """Show one trade."""
    trade = await session.client.smart_trades.get(trade_id)
    session.screen.result(trade, trade_table(trade))
    return Exit.OK


async def close(session: Session, trade_ids: Sequence[int], how: Closing) -> int:
    """Close trades, unless it is only to be shown which."""
    if how.dry_run:
        return await _dry_run(session, trade_ids)
    if not how.yes and not confirmed(len(set(trade_ids))):
        session.screen.say("Nothing was sent.")
        return Exit.NOT_ALL
    report = await close_shown(
        session,
        trade_ids,
        confirm=how.confirm,
        deadline=how.deadline,
        interrupted=lambda report: _tell(session, report),
    )
    _tell(session, report)
    return exit_status(report)


def _tell(session: Session, report: CloseReport[SmartTrade]) -> None:
    session.screen.result(report_data(report), report_table(report))


async def _dry_run(session: Session, trade_ids: Sequence[int]) -> int:
    """Look the trades up among the open ones: a request per hundred, not one for each id."""
    listing = session.client.smart_trades.list(status="active")
    found = {trade.id: trade async for trade in listing}
    rows = [(trade_id, found.get(trade_id)) for trade_id in dict.fromkeys(trade_ids)]
    verdicts = [(trade_id, trade, _why_not(trade)) for trade_id, trade in rows]
    would_close = [trade_id for trade_id, _, why_not in verdicts if why_not is None]
    would_not = [(trade_id, why_not) for trade_id, _, why_not in verdicts if why_not is not None]
    session.screen.result(
        {
            "dry_run": True,
            "would_close": would_close,
            "would_not_close": [{"trade_id": i, "reason": reason} for i, reason in would_not],
        },
        table(
            f"{len(would_close)} of {len(verdicts)} would be closed; nothing was sent",
            *("trade", "pair", "status", "would be closed"),
            rows=[
                (
                    trade_id,
                    trade.pair if trade else None,
                    trade.status.code if trade else None,
                    "yes" if why_not is None else f"no: {why_not}",
                )
                for trade_id, trade, why_not in verdicts
            ],
        ),
    )
    return Exit.NOT_ALL if would_not else Exit.OK


def _why_not(trade: SmartTrade | None) -> str | None:
    """Tell why a trade would not be closed; None if it would."""
    if trade is None:
        return "not among the open trades"
    if smart_trade_is_closable(trade):
        return None
    if trade.data.cancel_available:
        return "nothing bought yet; it can be cancelled"
    return "already closing, or its state does not allow it"


def confirmed(count: int) -> bool:
    """Ask before anything is sent."""
    if not sys.stdin.isatty():
        raise UsageError("closing asks first, and there is no terminal to ask on: add --yes")
    # The event loop's own handler would only take effect once the answer is given.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.stderr.write(f"Close {count} SmartTrade{'s' * (count > 1)} at market now? [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().casefold() in {"y", "yes"}
    finally:
        signal.signal(signal.SIGINT, before)
