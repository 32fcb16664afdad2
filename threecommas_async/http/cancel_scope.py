"""Cancellation of calls from outside: one that takes too long, or all of a client that is closed.

It decides which cancellations are ours. Any other one, of the user's or of foreign code, must not
be taken for a timeout.
"""

from __future__ import annotations

import asyncio
import math
from typing import TypeAlias

__all__ = ["CancelScope"]

_Task: TypeAlias = "asyncio.Task[object]"


class CancelScope:
    """Cancels tasks, and knows which cancellations it has caused.

    Like `asyncio.timeout`, but with one timer for all tasks: one per attempt costs as much CPU time
    as signing it.
    """

    def __init__(self) -> None:
        self._ends_at: dict[_Task, float] = {}
        self._cancelled_before: dict[_Task, int] = {}
        """Cancellation count of each task when it entered: a task that closes its trades after it
        was cancelled enters with more than 0."""
        self._cancelled: set[_Task] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return the number of tasks that have entered."""
        return len(self._ends_at)

    def enter(self, ends_at: float = math.inf) -> _Task:
        """Add the running task, to be cancelled at this event loop time at the latest.

        Always follow with `leave`.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - only coroutines of asyncio call this
        self._ends_at[task] = ends_at
        self._cancelled_before[task] = task.cancelling()
        if ends_at < math.inf and (self._timer is None or ends_at < self._timer.when()):
            self._set_timer(ends_at)
        return task

    def shorten(self, task: _Task, ends_at: float) -> None:
        """Cancel a task that has entered at this event loop time, if not before."""
        if ends_at < self._ends_at.get(task, -math.inf):
            self._ends_at[task] = ends_at
            if self._timer is None or ends_at < self._timer.when():
                self._set_timer(ends_at)

    def leave(self, task: _Task) -> None:
        """Remove a task: it is not cancelled any more."""
        self._ends_at.pop(task, None)
        self._cancelled_before.pop(task, None)
        self._cancelled.discard(task)

    def absorb(self, task: _Task) -> bool:
        """Return whether this scope alone caused the `CancelledError` that the task has caught.

        If so, the cancellation counts as handled. Call it before `leave`.
        """
        return task in self._cancelled and task.uncancel() <= self._cancelled_before[task]

    def was_cancelled(self, error: BaseException) -> bool:
        """Return whether the error is a cancellation of the running task since it entered.

        Any other `CancelledError` comes from a task or future of foreign code.
        """
        task = asyncio.current_task()
        if task is None or not isinstance(error, asyncio.CancelledError):
            return False
        return task.cancelling() > self._cancelled_before.get(task, 0)

    def cancel_all(self) -> None:
        """Cancel all tasks that have entered."""
        self._cancel_due(math.inf)

    def forget(self) -> None:
        """Forget the tasks of an event loop that was closed while running."""
        self._ends_at.clear()
        self._cancelled_before.clear()
        self._cancelled.clear()
        self._timer = None

    def _cancel_due(self, now: float) -> None:
        for task, ends_at in self._ends_at.items():
            if ends_at <= now and task not in self._cancelled:
                self._cancelled.add(task)
                task.cancel()

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._cancel_due(asyncio.get_running_loop().time())
        pending = [at for task, at in self._ends_at.items() if task not in self._cancelled]
        if (at := min(pending, default=math.inf)) < math.inf:
            self._set_timer(at)
