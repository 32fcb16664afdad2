"""Limits how many closes start in one iteration of the event loop.

The event loop runs everything that is ready before it polls for anything else, and 1,000 gathered
closes are all ready at once. Letting a few through per iteration keeps a bot's other tasks, such as
its price feeds, running meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Turnstile"]


class Turnstile:
    """Lets a limited number of tasks through per event loop iteration, in order of arrival.

    Args:
        width: maximum number of tasks per iteration.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._room = width
        """How many more tasks may pass in this iteration."""
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Wait for an iteration that has room."""
        if self._room == self._width:
            asyncio.get_running_loop().call_soon(self._next_iteration)
        if self._room:
            self._room -= 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        await future

    def _next_iteration(self) -> None:
        room = self._width
        while room and self._waiters:
            future = self._waiters.popleft()
            if not future.done():  # done means that its task was cancelled
                future.set_result(None)
                room -= 1
        self._room = room
        if room < self._width:
            asyncio.get_running_loop().call_soon(self._next_iteration)
