"""How many closes begin at a time."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Turnstile"]


class Turnstile:
    """Lets a few tasks through in each turn of the event loop, first come, first served.

    A loop runs everything that is ready before it looks at anything else, and a thousand closes
    that are gathered are all ready at once. Going through here, they leave a bot's price feeds
    their turns.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._left = width
        self._line: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Wait for a turn of the event loop that has room."""
        if self._left == self._width:
            asyncio.get_running_loop().call_soon(self._next_turn)
        if self._left:
            self._left -= 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(future)
        await future

    def _next_turn(self) -> None:
        left = self._width
        while left and self._line:
            future = self._line.popleft()
            if not future.done():  # else its task was cancelled
                future.set_result(None)
                left -= 1
        self._left = left
        if left < self._width:
            asyncio.get_running_loop().call_soon(self._next_turn)
