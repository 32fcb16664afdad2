"""The progress of a close while it runs: drawn in place on a terminal, else a line now and then."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from threecommas_async import CloseOutcome, SmartTrade

    from .pace import WatchedLimiter
    from .screen import Screen

__all__ = ["ClosingProgress"]

_DRAW_EVERY = 0.1
_SAY_EVERY = 5.0


class ClosingProgress:
    """How far a close of many has come. Its `saw` is what `on_outcome` wants."""

    def __init__(self, limiter: WatchedLimiter, total: int) -> None:
        self._limiter = limiter
        self._total = total
        self._known = 0
        self.closed = 0

    def saw(self, outcome: CloseOutcome[SmartTrade]) -> None:
        """Count an outcome."""
        self._known += 1
        self.closed += outcome.ok

    def __str__(self) -> str:
        waiting = max(0, self._total - self._known - self._limiter.in_flight)
        parts = [f"closed {self.closed} of {self._total}"]
        if missed := self._known - self.closed:
            parts.append(f"{missed} not closed")
        parts.append(f"{waiting} waiting for a slot")
        if blocked := self._limiter.blocked_for():
            parts.append(f"refused by the server for {blocked:.0f} s more")
        if waiting:
            parts.append(f"about {self._limiter.seconds_until_sent(waiting):.0f} s left")
        return ", ".join(parts)

    @asynccontextmanager
    async def shown(self, screen: Screen, *, every: float = _SAY_EVERY) -> AsyncGenerator[None]:
        """Show the progress while the block runs, and how it ended."""
        if not screen.live:
            async with _repeated(lambda: screen.say(str(self)), every):
                yield
            return
        columns = (BarColumn(), TextColumn("{task.description}", markup=False))
        with Bar(*columns, console=screen.err, auto_refresh=False) as bar:
            drawn = bar.add_task(str(self), total=self._total)

            def draw() -> None:
                bar.update(drawn, completed=self._known, description=str(self), refresh=True)

            draw()
            async with _repeated(draw, _DRAW_EVERY):
                yield


@asynccontextmanager
async def _repeated(show: Callable[[], None], every: float) -> AsyncGenerator[None]:
    """Call `show` again and again while the block runs, and once more at its end."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(every)
            show()

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        show()
