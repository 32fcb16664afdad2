"""What a person sees of trades and of reports, and what a program gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from .screen import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from decimal import Decimal

    from threecommas_async import CloseOutcome, CloseReport, SmartTrade

__all__ = [
    "outcome_data",
    "report_data",
    "report_table",
    "table",
    "trade_table",
    "trades_table",
    "verdict",
]

_FEW = 20
"""Outcomes that are listed one by one, rather than counted by state."""


def table(title: str, *columns: str, rows: Iterable[Sequence[object]]) -> Group:
    """Make a table of cells as they are: no markup, nothing that steers a terminal."""
    made = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        made.add_column(Text(column), overflow="fold")
    for row in rows:
        made.add_row(*(Text(_cell(cell)) for cell in row))
    # A title of the table's own would be folded to the table's width.
    return Group(Text(title, style="bold"), made)


def _cell(value: object) -> str:
    return "" if value is None else printable(value)


def _money(value: Decimal | None) -> str:
    return "" if value is None else f"{value:f}"


def _time(value: datetime | None) -> str:
    return "" if value is None else f"{value:%Y-%m-%d %H:%M:%S}"


def _amount(value: Decimal | None, before: str | None, after: str) -> str:
    return "" if value is None else f"{before or ''} {_money(value)} {after}".strip()


def trades_table(trades: Sequence[SmartTrade], title: str) -> Group:
    """One line for each trade."""
    return table(
        title,
        *("id", "pair", "account", "type", "status", "units", "profit %", "created (UTC)"),
        rows=(
            (
                trade.id,
                trade.pair,
                trade.account.name,
                trade.data.type,
                trade.status.code,
                _money(trade.position.units.value),
                _money(trade.profit.percent),
                _time(trade.data.created_at),
            )
            for trade in trades
        ),
    )


def trade_table(trade: SmartTrade) -> Group:
    """Everything about one trade that decides what to do with it."""
    position, data, quote = trade.position, trade.data, (trade.pair or "").partition("_")[0]
    facts = {
        "pair": trade.pair,
        "account": trade.account.name,
        "type": data.type,
        "status": trade.status.title or trade.status.code,
        "error": trade.status.error,
        "entry": _amount(
            position.units.value, position.type, f"at {_money(position.price.value)} {quote}"
        ),
        "take profit": "; ".join(
            f"{_money(step.volume)} % at {_money(step.price.value)} ({step.status.basic_type})"
            for step in trade.take_profit.steps
        ),
        "stop loss": _money(trade.stop_loss.conditional.price.value),
        "last price": _money(data.current_price.last),
        "profit": _amount(trade.profit.volume, None, f"{quote} ({_money(trade.profit.percent)} %)"),
        "can be closed at market": _yes(data.panic_sell_available),
        "can be cancelled": _yes(data.cancel_available),
        "created (UTC)": _time(data.created_at),
        "closed (UTC)": _time(data.closed_at),
        "note": trade.note,
    }
    rows = [(name, fact) for name, fact in facts.items() if fact]
    return table(f"SmartTrade {trade.id}", "", "", rows=rows)


def _yes(value: bool | None) -> str:  # noqa: FBT001 - it is the value to show
    return "" if value is None else "yes" if value else "no"


def verdict(report: CloseReport[SmartTrade]) -> str:
    """Tell in one line how a close ended."""
    good = sum(outcome.ok for outcome in report)
    text = f"{good} of {len(report)} closing or closed"
    if left := len(report.leftovers):
        text += f", {left} not known to be"
    return text


def report_table(report: CloseReport[SmartTrade]) -> Group:
    """The outcomes: one by one if they are few, else counted, with some of those gone wrong."""
    if len(report) <= _FEW:
        return _outcomes(list(report), verdict(report))
    counted = table(verdict(report), "state", "trades", rows=_counts(report))
    bad = [outcome for outcome in report if not outcome.ok]
    if not bad:
        return counted
    more = f", the first {_FEW} of them (--json has all)" if len(bad) > _FEW else ""
    return Group(counted, _outcomes(bad[:_FEW], f"Not known to be closing or closed{more}"))


def _counts(report: CloseReport[SmartTrade]) -> list[tuple[str, int]]:
    return [(state.value, count) for state, count in report.counts.items() if count]


def _outcomes(outcomes: Sequence[CloseOutcome[SmartTrade]], title: str) -> Group:
    return table(
        title,
        *("trade", "outcome", "status", "attempts", "seconds", "reason"),
        rows=(
            (
                outcome.trade_id,
                outcome.state.value,
                outcome.trade.status.code if outcome.trade else None,
                outcome.attempts,
                f"{outcome.elapsed:.2f}",
                outcome.error,
            )
            for outcome in outcomes
        ),
    )


def outcome_data(outcome: CloseOutcome[SmartTrade]) -> dict[str, object]:
    """Make what a program gets of one outcome."""
    return {
        "trade_id": outcome.trade_id,
        "state": outcome.state,
        "status": outcome.trade.status.code if outcome.trade else None,
        "attempts": outcome.attempts,
        "elapsed": round(outcome.elapsed, 3),
        "error": outcome.error,
    }


def report_data(report: CloseReport[SmartTrade]) -> dict[str, object]:
    """Make what a program gets of a whole report."""
    return {
        "ok": report.ok,
        "counts": dict(_counts(report)),
        "leftovers": list(report.leftovers),
        "outcomes": [outcome_data(outcome) for outcome in report],
    }
