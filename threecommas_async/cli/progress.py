"""The progress of a command while it runs: drawn in place on a terminal, else a line at times."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from .. import CloseOutcome
    from .kinds import Entity
    from .pace import Traffic
    from .screen import Screen

__all__ = ["ClosingProgress", "Progress", "trouble_of"]

_BAR_WIDTH = 20
_DRAW_EVERY = 0.1
_SAY_EVERY = 5.0


class Progress(ABC):
    """How far a command has come. Its text says it in one line."""

    @abstractmethod
    def __str__(self) -> str: ...

    @property
    @abstractmethod
    def share(self) -> tuple[int, int]:
        """How many are over, and of how many."""

    @asynccontextmanager
    async def shown(self, screen: Screen, *, every: float = _SAY_EVERY) -> AsyncGenerator[None]:
        """Show the progress while the block runs, and how it ended."""
        if not screen.live:
            async with _repeated(lambda: screen.say(str(self)), every):
                yield
            return
        text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=False))
        columns = (BarColumn(_BAR_WIDTH), text)
        with Bar(*columns, console=screen.err, auto_refresh=False) as bar:
            drawn = bar.add_task(str(self))

            def draw() -> None:
                done, total = self.share
                bar.update(drawn, completed=done, total=total, description=str(self), refresh=True)

            draw()
            async with _repeated(draw, _DRAW_EVERY):
                yield


class ClosingProgress(Progress):
    """How far a close of many has come. Its `saw` is what `on_outcome` wants."""

    def __init__(
        self,
        traffic: Traffic,
        ids: Iterable[int],
        done: str = "closed",
        deadline: float | None = None,
    ) -> None:
        """Begin now, with so many seconds to the deadline."""
        self._traffic = traffic
        self._ends = None if deadline is None else asyncio.get_running_loop().time() + deadline
        self._outcomes: dict[int, CloseOutcome[Entity] | None] = dict.fromkeys(ids)
        self._done = done

    def saw(self, outcome: CloseOutcome[Entity]) -> None:
        """Take note of an outcome."""
        self._outcomes[outcome.trade_id] = outcome

    @property
    def share(self) -> tuple[int, int]:
        """How many outcomes are known, and of how many."""
        return len(self._known), len(self._outcomes)

    @property
    def _known(self) -> list[CloseOutcome[Entity]]:
        return [outcome for outcome in self._outcomes.values() if outcome is not None]

    def __str__(self) -> str:
        known, total, limiter = self._known, len(self._outcomes), self._traffic.limiter
        done = sum(outcome.ok for outcome in known)
        open_ended = [i for i, outcome in self._outcomes.items() if outcome is None]
        in_flight = min(limiter.in_flight, len(open_ended))
        tried = self._traffic.tried.intersection(open_ended)
        checked = min(len(tried), len(open_ended) - in_flight)
        waiting = len(open_ended) - in_flight - checked
        trouble = trouble_of(self._traffic) if open_ended else None
        parts = [f"{self._done} {done} of {total}"]
        if missed := len(known) - done:
            parts.append(f"{missed} not {self._done}")
        if in_flight:
            parts.append(f"{in_flight} in flight")
        if checked:
            parts.append(f"{checked} being checked")
        if waiting:
            parts.append(f"{waiting} waiting" if trouble else f"{waiting} waiting for a slot")
        if lost := self._traffic.lost:
            parts.append(f"{lost} answer{'s' * (lost > 1)} lost")
        if blocked := limiter.blocked_for():
            parts.append(f"refused by the server for {blocked:.0f} s more")
        if trouble:
            parts.append(trouble)
        # Reads have to leave the reserve alone.
        requests = waiting + (1 + limiter.reserve if checked else 0)
        # Without a connection nobody knows.
        seconds = math.inf if trouble else limiter.seconds_until_sent(requests)
        if (waiting or seconds >= 1) and (left := self._time_left(seconds)):
            parts.append(left)
        return ", ".join(parts)

    def _time_left(self, seconds: float) -> str | None:
        """Say how long it takes, or how long until the deadline if that is sooner."""
        if self._ends is not None:
            remaining = max(0.0, self._ends - asyncio.get_running_loop().time())
            if remaining < seconds:
                return f"about {remaining:.0f} s left until the deadline"
        return None if seconds == math.inf else f"about {seconds:.0f} s left"


def trouble_of(traffic: Traffic) -> str | None:
    """Say why nothing goes out, if there is no connection."""
    if traffic.unreachable is None:
        return None
    return f"cannot reach {traffic.host} ({traffic.unreachable}), trying again"


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
