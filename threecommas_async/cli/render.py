"""Tables and JSON data of SmartTrades, deals and reports."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from .. import CloseState, SmartTrade
from .output import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from decimal import Decimal

    from .. import CloseOutcome, CloseReport
    from ..models.deal import Deal
    from .operations import Entity

__all__ = [
    "MAX_LISTED",
    "deals_table",
    "grouped_table",
    "outcome_data",
    "report_data",
    "report_table",
    "skipped_table",
    "status_of",
    "table",
    "trade_table",
    "trades_table",
]

_ID_IN_PATH = re.compile(r"/\d+(?=[/:])")
_REQUEST_ID = re.compile(r" \[request [^\]]*\]")

MAX_LISTED = 20
"""Maximum number of entities listed one by one; more are counted."""


def table(title: str, *columns: str, rows: Iterable[Sequence[object]]) -> Group:
    """Make a table of plain text: no markup, no control characters."""
    body = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        body.add_column(Text(column), overflow="fold")
    for row in rows:
        body.add_row(*(Text(_cell(cell)) for cell in row))
    # `Table(title=...)` would wrap the title to the width of the table.
    return Group(Text(title, style="bold"), body)


def _cell(value: object) -> str:
    return "" if value is None else printable(value)


def _money(value: Decimal | None) -> str:
    return "" if value is None else f"{value:f}"


def _time(value: datetime | None) -> str:
    return "" if value is None else f"{value:%Y-%m-%d %H:%M:%S}"


def _amount(value: Decimal | None, prefix: str | None, suffix: str) -> str:
    return "" if value is None else f"{prefix or ''} {_money(value)} {suffix}".strip()


def trades_table(trades: Sequence[SmartTrade], title: str) -> Group:
    """Make a table with one row per SmartTrade."""
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
    """Make a table of one SmartTrade's details."""
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
        "can be closed at market": _yes_no(data.panic_sell_available),
        "can be cancelled": _yes_no(data.cancel_available),
        "created (UTC)": _time(data.created_at),
        "closed (UTC)": _time(data.closed_at),
        "note": trade.note,
    }
    rows = [(name, fact) for name, fact in facts.items() if fact]
    return table(f"SmartTrade {trade.id}", "", "", rows=rows)


def _yes_no(value: bool | None) -> str:  # noqa: FBT001 - the value to show
    return "" if value is None else "yes" if value else "no"


def status_of(entity: Entity) -> str:
    """Return the status code."""
    return str(entity.status.code if isinstance(entity, SmartTrade) else entity.status)


def deals_table(deals: Sequence[Deal], title: str) -> Group:
    """Make a table with one row per deal."""
    return table(
        title,
        *("id", "pair", "bot", "bot id", "account", "status"),
        *("bought", "profit %", "created (UTC)"),
        rows=(
            (
                deal.id,
                deal.pair,
                deal.bot_name,
                deal.bot_id,
                deal.account_name,
                status_of(deal),
                _money(deal.bought_volume),
                _money(deal.actual_profit_percentage),
                _time(deal.created_at),
            )
            for deal in deals
        ),
    )


_MEANING = {
    CloseState.ACCEPTED: "3Commas has taken it on",
    CloseState.CLOSED: "a read has shown that it is over",
    CloseState.ALREADY_CLOSED: "it was closing or closed before",
    CloseState.NOT_FOUND: "there is none of that id for this key",
    CloseState.REJECTED: "3Commas refused, and it is as it was",
    CloseState.FAILED: "closing failed: look at the exchange",
    CloseState.UNKNOWN: "it may have happened: look at it first",
    CloseState.NOT_SENT: "nothing has happened: safe to close again",
}


def _summary(report: CloseReport[Entity], success: str = "closing or closed") -> str:
    """Return the number of successes as text, with `success` as the name of their state."""
    succeeded = sum(outcome.ok for outcome in report)
    text = f"{succeeded} of {len(report)} {success}"
    if left := len(report.leftovers):
        text += f", {left} not known to be"
    return text


def report_table(report: CloseReport[Entity], success: str = "closing or closed") -> Group:
    """Make a table of the outcomes; if they are many, count them and group the failures."""
    title, failures = _summary(report, success), [o for o in report if not o.ok]
    parts: list[Group | Text] = []
    if len(report) <= MAX_LISTED:
        parts.append(_outcomes(report, title))
    else:
        rows = [(state.value, count, _MEANING[state]) for state, count in _counts(report)]
        parts.append(table(title, "outcome", "number", "that is", rows=rows))
        if failures:
            reasons = [(o.trade_id, o.state.value, o.error) for o in failures]
            parts.append(grouped_table(f"Not known to be {success}", reasons))
    if report.unlisted:
        parts.append(Text(f"There may be others: {printable(report.unlisted)}"))
    return Group(*parts)


def skipped_table(skipped: Sequence[CloseOutcome[Entity]]) -> Group:
    """Make a table of active entities that were not closed, grouped by reason."""
    reasons = ((o.trade_id, status_of(o.trade) if o.trade else "", o.error) for o in skipped)
    return grouped_table(f"{len(skipped)} left alone, though active", reasons, "status")


def grouped_table(
    title: str, entries: Iterable[tuple[int, str, object]], column: str = "outcome"
) -> Group:
    """Make a table of ids grouped by the value of `column` and the reason.

    Each entry is an id, a value and a reason.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for entity_id, value, reason in entries:
        # Request ids differ, so with them no two reasons would be equal.
        why = _REQUEST_ID.sub("", _reason(entity_id, reason))
        groups.setdefault((value, why), []).append(entity_id)
    rows = [(value, len(ids), why, _id_list(ids)) for (value, why), ids in groups.items()]
    return table(title, column, "number", "reason", "ids", rows=rows)


def _reason(entity_id: int, reason: object) -> str:
    """Return the reason without the id, which has its own column."""
    text = "" if reason is None else str(reason)
    return _ID_IN_PATH.sub("/…", re.sub(rf"^(trade|deal) {entity_id}: ", "", text))


def _id_list(ids: Sequence[int]) -> str:
    more = f" and {len(ids) - MAX_LISTED} more (--json has all)" if len(ids) > MAX_LISTED else ""
    return " ".join(map(str, ids[:MAX_LISTED])) + more


def _counts(report: CloseReport[Entity]) -> list[tuple[CloseState, int]]:
    return [(state, count) for state, count in report.counts.items() if count]


def _outcomes(outcomes: Iterable[CloseOutcome[Entity]], title: str) -> Group:
    return table(
        title,
        *("id", "outcome", "status", "attempts", "seconds", "reason"),
        rows=(
            (
                outcome.trade_id,
                outcome.state.value,
                status_of(outcome.trade) if outcome.trade else None,
                outcome.attempts,
                f"{outcome.elapsed:.2f}",
                _reason(outcome.trade_id, outcome.error),
            )
            for outcome in outcomes
        ),
    )


def outcome_data(outcome: CloseOutcome[Entity]) -> dict[str, object]:
    """Return an outcome as data for JSON."""
    return {
        "trade_id": outcome.trade_id,
        "state": outcome.state,
        "status": status_of(outcome.trade) if outcome.trade else None,
        "attempts": outcome.attempts,
        "elapsed": round(outcome.elapsed, 3),
        "error": outcome.error,
    }


def report_data(report: CloseReport[Entity]) -> dict[str, object]:
    """Return a report as data for JSON."""
    return {
        "ok": report.ok,
        "counts": {state.value: count for state, count in _counts(report)},
        "leftovers": list(report.leftovers),
        "unlisted": report.unlisted,
        "unmatched": report.unmatched,
        "skipped": [outcome_data(outcome) for outcome in report.skipped],
        "outcomes": [outcome_data(outcome) for outcome in report],
    }
