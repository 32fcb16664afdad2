"""Progress of a running command: drawn in place on a terminal, else logged at intervals."""

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
    from .operations import Entity
    from .output import Output
    from .traffic import TrafficMonitor

__all__ = ["CloseProgress", "Progress", "connection_trouble"]

_BAR_WIDTH = 20
_DRAW_INTERVAL = 0.1
_LOG_INTERVAL = 5.0


class Progress(ABC):
    """Progress of a command. `str()` describes it in one line."""

    @abstractmethod
    def __str__(self) -> str: ...

    @property
    @abstractmethod
    def done_and_total(self) -> tuple[int, int]:
        """Number of entities that are done, and of all."""

    @asynccontextmanager
    async def displayed(self, output: Output) -> AsyncGenerator[None]:
        """Show the progress while the block runs, and once more at its end."""
        if not output.live:
            async with _called_every(_LOG_INTERVAL, lambda: output.message(str(self))):
                yield
            return
        text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=False))
        columns = (BarColumn(_BAR_WIDTH), text)
        with Bar(*columns, console=output.stderr, auto_refresh=False) as bar:
            task = bar.add_task(str(self))

            def draw() -> None:
                done, total = self.done_and_total
                bar.update(task, completed=done, total=total, description=str(self), refresh=True)

            draw()
            async with _called_every(_DRAW_INTERVAL, draw):
                yield


class CloseProgress(Progress):
    """Progress of a bulk close or cancel. Pass `record` as its `on_outcome`."""

    def __init__(
        self,
        traffic: TrafficMonitor,
        ids: Iterable[int],
        participle: str = "closed",
        deadline: float | None = None,
    ) -> None:
        """Start now, with `deadline` in seconds from now."""
        self._traffic = traffic
        self._deadline_at = (
            None if deadline is None else asyncio.get_running_loop().time() + deadline
        )
        self._outcomes: dict[int, CloseOutcome[Entity] | None] = dict.fromkeys(ids)
        self._participle = participle

    def record(self, outcome: CloseOutcome[Entity]) -> None:
        """Record an outcome."""
        self._outcomes[outcome.trade_id] = outcome

    @property
    def done_and_total(self) -> tuple[int, int]:
        """Number of known outcomes, and of all."""
        return len(self._known), len(self._outcomes)

    @property
    def _known(self) -> list[CloseOutcome[Entity]]:
        return [outcome for outcome in self._outcomes.values() if outcome is not None]

    def __str__(self) -> str:
        known, total, limiter = self._known, len(self._outcomes), self._traffic.limiter
        done = sum(outcome.ok for outcome in known)
        pending = [i for i, outcome in self._outcomes.items() if outcome is None]
        in_flight = min(limiter.in_flight, len(pending))
        attempted = self._traffic.attempted_ids.intersection(pending)
        checked = min(len(attempted), len(pending) - in_flight)
        waiting = len(pending) - in_flight - checked
        trouble = connection_trouble(self._traffic) if pending else None
        parts = [f"{self._participle} {done} of {total}"]
        if missed := len(known) - done:
            parts.append(f"{missed} not {self._participle}")
        if in_flight:
            parts.append(f"{in_flight} in flight")
        if checked:
            parts.append(f"{checked} being checked")
        if waiting:
            parts.append(f"{waiting} waiting" if trouble else f"{waiting} waiting for a slot")
        if lost := self._traffic.lost_answers:
            parts.append(f"{lost} answer{'s' * (lost > 1)} lost")
        if blocked := limiter.blocked_for():
            parts.append(f"refused by the server for {blocked:.0f} s more")
        if trouble:
            parts.append(trouble)
        # Reads may not use the slots reserved for closes.
        requests = waiting + (1 + limiter.reserve if checked else 0)
        # Without a connection there is no estimate.
        seconds = math.inf if trouble else limiter.seconds_until_sent(requests)
        if (waiting or seconds >= 1) and (left := self._time_left(seconds)):
            parts.append(left)
        return ", ".join(parts)

    def _time_left(self, seconds: float) -> str | None:
        """Describe the time until the end or the deadline, whichever comes first."""
        if self._deadline_at is not None:
            remaining = max(0.0, self._deadline_at - asyncio.get_running_loop().time())
            if remaining < seconds:
                return f"about {remaining:.0f} s left until the deadline"
        return None if seconds == math.inf else f"about {seconds:.0f} s left"


def connection_trouble(traffic: TrafficMonitor) -> str | None:
    """Describe the connection error; return None if there is none."""
    if traffic.connection_error is None:
        return None
    return f"cannot reach {traffic.host} ({traffic.connection_error}), trying again"


@asynccontextmanager
async def _called_every(seconds: float, show: Callable[[], None]) -> AsyncGenerator[None]:
    """Call `show` at intervals while the block runs, and once more at its end."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(seconds)
            show()

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        show()
