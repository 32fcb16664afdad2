"""One close of many, as the commands run it: with its progress, and with the truth at the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from threecommas_async import AuthenticationError

from .progress import ClosingProgress
from .screen import Exit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from threecommas_async import CloseReport, SmartTrade

    from .session import Session

__all__ = ["close_shown", "exit_status"]


async def close_shown(
    session: Session,
    ids: Sequence[int],
    *,
    confirm: bool = False,
    deadline: float | None = None,
    interrupted: Callable[[CloseReport[SmartTrade]], object],
) -> CloseReport[SmartTrade]:
    """Close trades with their progress on the screen.

    Cancelled, as by Ctrl-C, it hands the truth so far to `interrupted`.
    """
    progress = ClosingProgress(session.limiter, len(set(ids)))
    batch = session.client.smart_trades.close_many(
        ids, confirm=confirm, deadline=deadline, on_outcome=progress.saw
    )
    try:
        async with progress.shown(session.screen):
            return await batch
    except asyncio.CancelledError:
        interrupted(batch.report)
        raise


def exit_status(report: CloseReport[SmartTrade]) -> Exit:
    """Tell what a report means for the exit status."""
    if report.ok:
        return Exit.OK
    if any(isinstance(outcome.error, AuthenticationError) for outcome in report):
        return Exit.CREDENTIALS
    return Exit.NOT_ALL
