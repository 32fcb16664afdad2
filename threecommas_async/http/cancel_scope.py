"""CancelScope calls from outside: one that takes too long, or all of them with their client."""

from __future__ import annotations

import asyncio
import math
from typing import TypeAlias

__all__ = ["CancelScope"]

_Task: TypeAlias = "asyncio.Task[object]"


class CancelScope:
    """Cancels tasks, and knows of which cancellations it was the cause.

    It does what `asyncio.timeout` does, with one timer for all tasks: a timer for each attempt
    costs as much as its signature.
    """

    def __init__(self) -> None:
        self._ends_at: dict[_Task, float] = {}
        self._cancelled_before: dict[_Task, int] = {}
        """How often each had been cancelled when it entered: one that goes on all the same, to
        close its trades on the way out, still counts those."""
        self._ended: set[_Task] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return how many tasks may be ended."""
        return len(self._ends_at)

    def enter(self, ends_at: float = math.inf) -> _Task:
        """Let the running task be ended, at this event loop time if not before.

        Follow with `leave`, whatever happens.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - only coroutines of asyncio call this
        self._ends_at[task] = ends_at
        self._cancelled_before[task] = task.cancelling()
        if ends_at < math.inf and (self._timer is None or ends_at < self._timer.when()):
            self._arm(ends_at)
        return task

    def leave(self, task: _Task) -> None:
        """Let the task go on as it likes."""
        self._ends_at.pop(task, None)
        self._cancelled_before.pop(task, None)
        self._ended.discard(task)

    def caused(self, task: _Task) -> bool:
        """Return whether a cancellation of the task that was caught has no other cause than this.

        The cancellation then counts as handled. Ask before `leave`.
        """
        return task in self._ended and task.uncancel() <= self._cancelled_before[task]

    def was_cancelled(self, error: BaseException) -> bool:
        """Return whether the running task was cancelled since it entered.

        Else a `CancelledError` comes from some task of foreign code.
        """
        task = asyncio.current_task()
        if task is None or not isinstance(error, asyncio.CancelledError):
            return False
        return task.cancelling() > self._cancelled_before.get(task, 0)

    def end_all(self) -> None:
        """End all tasks that have entered."""
        self._end(math.inf)

    def forget(self) -> None:
        """Forget the tasks of an event loop that was closed in mid-run."""
        self._ends_at.clear()
        self._cancelled_before.clear()
        self._ended.clear()
        self._timer = None

    def _end(self, now: float) -> None:
        for task, ends_at in self._ends_at.items():
            if ends_at <= now and task not in self._ended:
                self._ended.add(task)
                task.cancel()

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._end(asyncio.get_running_loop().time())
        left = [at for task, at in self._ends_at.items() if task not in self._ended]
        if (at := min(left, default=math.inf)) < math.inf:
            self._arm(at)
