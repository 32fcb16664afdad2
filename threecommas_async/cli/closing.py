"""Run a bulk close or cancel: ask, show the progress, print the report even if interrupted."""

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
from .operations import CANCEL, CLOSE, Action, CloseAllCall, Entity, Operation
from .output import ExitStatus, printable
from .plan import Plan, plan_for_all, plan_for_ids
from .progress import CloseProgress
from .prompt import ask_yes_no, require_terminal
from .render import report_data, report_table, skipped_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Group

    from .options import CloseOptions
    from .session import Session

__all__ = ["CloseAllRequest", "close", "close_all", "exit_status", "run_with_progress"]

T = TypeVar("T", bound=Entity)


async def close(
    session: Session, operation: Operation[T], ids: Sequence[int], options: CloseOptions
) -> int:
    """Close or cancel the given ids; with --dry-run only show the plan."""
    action = operation.action
    if options.dry_run:
        plan = await plan_for_ids(session.client, operation, ids)
        return plan.show(session.output)
    if not options.yes:
        require_terminal()
        question = f"{action.verb.title()} {operation.counted(len(set(ids)))}{action.manner} now?"
        if not ask_yes_no(question):
            return _report_nothing_sent(session)
    start = partial(
        operation.bulk_method(session.client),
        ids,
        confirm=options.confirm,
        deadline=options.deadline,
    )
    report = await run_with_progress(
        session,
        ids,
        lambda record: start(on_outcome=record),
        action=action,
        deadline=options.deadline,
        interrupted=lambda report: _show_report(session, action, report),
    )
    return _show_report(session, action, report)


@frozen(kw_only=True)
class CloseAllRequest(Generic[T]):
    """A close of all open entities that pass the filters."""

    operation: Operation[T]
    start: CloseAllCall[T]
    filters: Mapping[str, object]
    side_effect: str = ""
    """Side effect of closing all with a single request; empty if there is none."""


async def close_all(session: Session, request: CloseAllRequest[T], options: CloseOptions) -> int:
    """Close all that match; with --dry-run only show the plan."""
    if not (options.yes or options.dry_run):
        require_terminal()
    clock = asyncio.get_running_loop().time
    began = clock()
    listed = await _list_matching(session, request, options.deadline)
    remaining = None
    if options.deadline is not None:
        remaining = max(0.0, round(options.deadline - (clock() - began), 2))
    plan = plan_for_all(request.operation, listed, request.side_effect)
    if listed.unmatched is not None:
        session.output.message(request.operation.filter_hint)
    if options.dry_run:
        return plan.show(session.output)
    if not plan.items:
        return _show_report(session, CLOSE, listed)
    if not (options.yes or ask_yes_no(_question(plan, request.filters))):
        return _report_nothing_sent(session)
    start = partial(request.start, confirm=options.confirm, deadline=remaining)
    report = await run_with_progress(
        session,
        [item.entity_id for item in plan.items],
        lambda record: start(on_outcome=record),
        deadline=remaining,
        interrupted=lambda report: _show_report(session, CLOSE, report),
    )
    return _show_report(session, CLOSE, report)


async def _list_matching(
    session: Session, request: CloseAllRequest[T], deadline: float | None
) -> CloseReport[T]:
    """List what would be closed: needed for the question, the progress and an early report."""
    try:
        return await request.start(dry_run=True, deadline=deadline)
    except asyncio.CancelledError:
        _report_nothing_sent(session)
        raise


def _question(plan: Plan[T], filters: Mapping[str, object]) -> str:
    actions: list[str] = []
    if closed := len(plan.ids(CLOSE)):
        actions.append(f"close all {plan.operation.counted(closed)} at market now")
    if cancelled := len(plan.ids(CANCEL)):
        actions.append(f"cancel all {plan.operation.counted(cancelled)} whose entry is not filled")
    if plan.side_effect:
        actions.append(plan.side_effect)
    text = ", and ".join(actions)
    if filters:
        named = (f"{name.replace('_', ' ')} {value}" for name, value in filters.items())
        text += f" ({', '.join(named)})"
    return f"{text[0].upper()}{text[1:]}?"


def _report_nothing_sent(session: Session) -> ExitStatus:
    session.output.message("Nothing was sent.")
    return ExitStatus.NOT_ALL


async def run_with_progress(  # noqa: PLR0913 - keyword arguments
    session: Session,
    ids: Sequence[int],
    start: Callable[[Callable[[CloseOutcome[T]], None]], CloseBatch[T]],
    *,
    action: Action = CLOSE,
    deadline: float | None = None,
    interrupted: Callable[[CloseReport[T]], object],
) -> CloseReport[T]:
    """Start a batch, show its progress, and return its report.

    Args:
        session: client and output.
        ids: ids that are known to be affected.
        start: starts the batch; its argument is to be called with each outcome.
        action: what is done to the ids.
        deadline: seconds after which nothing more is sent.
        interrupted: called with the report so far when cancelled, as by Ctrl-C.
    """
    progress = CloseProgress(session.traffic, ids, action.participle, deadline)
    batch = start(progress.record)
    try:
        async with progress.displayed(session.output):
            return await batch
    except asyncio.CancelledError:
        report = batch.report
        not_started = (_not_started(i) for i in dict.fromkeys(ids) if i not in report)
        interrupted(evolve(report, outcomes=(*report, *not_started)))
        raise


def _not_started(entity_id: int) -> CloseOutcome[Never]:
    """Return the outcome of a planned id that the batch has not listed yet."""
    text = f"{entity_id}: not sent; nothing has happened, safe to close again"
    return CloseOutcome(entity_id, CloseState.NOT_SENT, error=RequestNotSentError(text))


def _show_report(session: Session, action: Action, report: CloseReport[T]) -> ExitStatus:
    """Print a report, and return the exit status."""
    parts: list[Group | str] = []
    if len(report):
        parts.append(report_table(report, action.success))
    if report.unmatched is not None:
        parts.append(printable(report.unmatched))
    if not parts:
        parts.append(f"There is nothing to {action.verb}.")
    if report.skipped:
        parts.append(skipped_table(report.skipped))
    session.output.result(report_data(report), *parts)
    return exit_status(report)


def exit_status(report: CloseReport[T]) -> ExitStatus:
    """Return the exit status for a report."""
    if report.ok:
        return ExitStatus.OK
    errors = (report.unlisted, *(outcome.error for outcome in report))
    return ExitStatus.CREDENTIALS if any(map(_is_credential_error, errors)) else ExitStatus.NOT_ALL


def _is_credential_error(error: ThreeCommasError | None) -> bool:
    types = (AuthenticationError, PermissionDeniedError)
    return isinstance(error, types) and error.stops_everything
