"""Closing and cancelling, as every command does it: asked first, shown, told truly at the end."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Generic, Never, TypeVar

from attrs import evolve, frozen

from .. import (
    AuthenticationError,
    CloseBatch,
    CloseOutcome,
    CloseReport,
    CloseState,
    PermissionDeniedError,
    RequestNotSentError,
    ThreeCommasError,
)
from .asking import agreed, check_can_ask
from .kinds import CANCEL, CLOSE, Deed, Entity, Kind, SweepCall
from .plan import Plan, plan_for_all, plan_for_ids
from .progress import ClosingProgress
from .render import report_data, report_table, skipped_table
from .screen import Exit, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Group

    from .options import Closing
    from .session import Session

__all__ = ["Everything", "close", "close_all", "exit_status", "shown"]

T = TypeVar("T", bound=Entity)


async def close(session: Session, kind: Kind[T], ids: Sequence[int], how: Closing) -> int:
    """Do to some what their kind says, unless it is only to be shown."""
    deed = kind.deed
    if how.dry_run:
        plan = await plan_for_ids(session.client, kind, ids)
        return plan.show(session.screen)
    if not how.yes:
        check_can_ask()
        question = f"{deed.verb.title()} {kind.count(len(set(ids)))}{deed.manner} now?"
        if not agreed(question):
            return _declined(session)
    start = partial(kind.batch(session.client), ids, confirm=how.confirm, deadline=how.deadline)
    report = await shown(
        session,
        ids,
        lambda saw: start(on_outcome=saw),
        deed=deed,
        deadline=how.deadline,
        interrupted=lambda report: _told(session, deed, report),
    )
    return _told(session, deed, report)


@frozen(kw_only=True)
class Everything(Generic[T]):
    """All that is open and passes the filters."""

    kind: Kind[T]
    sweep: SweepCall[T]
    filters: Mapping[str, object]
    also: str = ""
    """What one request for all of them does besides; empty if each is closed by its own."""


async def close_all(session: Session, what: Everything[T], how: Closing) -> int:
    """Close everything, unless it is only to be shown what that is."""
    if not (how.yes or how.dry_run):
        check_can_ask()
    clock = asyncio.get_running_loop().time
    began = clock()
    found = await _found(session, what, how.deadline)
    left = None if how.deadline is None else max(0.0, round(how.deadline - (clock() - began), 2))
    plan = plan_for_all(what.kind, found, what.also)
    if found.unmatched is not None:
        session.screen.say(what.kind.hint)
    if how.dry_run:
        return plan.show(session.screen)
    if not plan.items:
        return _told(session, CLOSE, found)
    if not (how.yes or agreed(_question(plan, what.filters))):
        return _declined(session)
    start = partial(what.sweep, confirm=how.confirm, deadline=left)
    report = await shown(
        session,
        [item.entity_id for item in plan.items],
        lambda saw: start(on_outcome=saw),
        deadline=left,
        interrupted=lambda report: _told(session, CLOSE, report),
    )
    return _told(session, CLOSE, report)


async def _found(session: Session, what: Everything[T], deadline: float | None) -> CloseReport[T]:
    """List what there is: to ask, to show how far it is, to tell the truth when interrupted."""
    try:
        return await what.sweep(dry_run=True, deadline=deadline)
    except asyncio.CancelledError:
        _declined(session)
        raise


def _question(plan: Plan[T], filters: Mapping[str, object]) -> str:
    deeds: list[str] = []
    if closed := len(plan.ids(CLOSE)):
        deeds.append(f"close all {plan.kind.count(closed)} at market now")
    if cancelled := len(plan.ids(CANCEL)):
        deeds.append(f"cancel all {plan.kind.count(cancelled)} whose entry is not filled")
    if plan.also:
        deeds.append(plan.also)
    text = ", and ".join(deeds)
    if filters:
        named = (f"{name.replace('_', ' ')} {value}" for name, value in filters.items())
        text += f" ({', '.join(named)})"
    return f"{text[0].upper()}{text[1:]}?"


def _declined(session: Session) -> Exit:
    session.screen.say("Nothing was sent.")
    return Exit.NOT_ALL


async def shown(  # noqa: PLR0913 - by name
    session: Session,
    ids: Sequence[int],
    start: Callable[[Callable[[CloseOutcome[T]], None]], CloseBatch[T]],
    *,
    deed: Deed = CLOSE,
    deadline: float | None = None,
    interrupted: Callable[[CloseReport[T]], object],
) -> CloseReport[T]:
    """Await what `start` begins, with its progress on the screen.

    Cancelled, as by Ctrl-C, it hands the truth so far to `interrupted`.

    Args:
        session: what to work with.
        ids: those known to be concerned.
        start: takes what is to be called with each outcome.
        deed: what is done to them.
        deadline: seconds after which nothing more is sent.
        interrupted: takes the report of a cancelled one.
    """
    progress = ClosingProgress(session.traffic, ids, deed.done, deadline)
    batch = start(progress.saw)
    try:
        async with progress.shown(session.screen):
            return await batch
    except asyncio.CancelledError:
        report = batch.report
        not_begun = (_not_begun(i) for i in dict.fromkeys(ids) if i not in report)
        interrupted(evolve(report, outcomes=(*report, *not_begun)))
        raise


def _not_begun(entity_id: int) -> CloseOutcome[Never]:
    """Return the outcome of one that a plan has named, and that was not listed again yet."""
    text = f"{entity_id}: not sent; nothing has happened, safe to close again"
    return CloseOutcome(entity_id, CloseState.NOT_SENT, error=RequestNotSentError(text))


def _told(session: Session, deed: Deed, report: CloseReport[T]) -> Exit:
    """Show a report, and return what it means for the exit status."""
    parts: list[Group | str] = []
    if len(report):
        parts.append(report_table(report, deed.known))
    if report.unmatched is not None:
        parts.append(printable(report.unmatched))
    if not parts:
        parts.append(f"There is nothing to {deed.verb}.")
    if report.skipped:
        parts.append(skipped_table(report.skipped))
    session.screen.result(report_data(report), *parts)
    return exit_status(report)


def exit_status(report: CloseReport[T]) -> Exit:
    """Tell what a report means for the exit status."""
    if report.ok:
        return Exit.OK
    errors = (report.unlisted, *(outcome.error for outcome in report))
    return Exit.CREDENTIALS if any(map(_is_about_the_key, errors)) else Exit.NOT_ALL


def _is_about_the_key(error: ThreeCommasError | None) -> bool:
    kinds = (AuthenticationError, PermissionDeniedError)
    return isinstance(error, kinds) and error.stops_everything
