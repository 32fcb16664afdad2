"""How many calls are under way at a time."""

from __future__ import annotations

import asyncio
from typing import Final

from ..endpoint import Priority
from ..ownership import Owner
from ..rate_limit import WaitQueue

__all__ = ["Gate"]

# In order; to iterate over an enum takes longer than to serve somebody.
_PRIORITIES: Final = tuple(Priority)


class Gate:
    """Lets a fixed number of calls through at a time; closes first, then first come.

    Args:
        size: how many may be through at a time.
        reserve: how many of these places only closes may take, so that reads that hang do not
            hold closes up.
    """

    def __init__(self, size: int, reserve: int = 0) -> None:
        self._size = size
        self._reserve = reserve
        self._owner = Owner("the client")
        self._begin()

    def _begin(self) -> None:
        self._free = self._size
        self._queue: WaitQueue[bool, None] = WaitQueue()  # its kinds: closes, and what is none

    async def enter(self, priority: Priority, *, closing: bool) -> None:
        """Wait until a place is free. Follow with `leave`, whatever happens.

        Args:
            priority: who goes first.
            closing: whether it closes something, and may take a place of the reserve. A read does
                not, even one that has a close's priority because a close depends on it.

        Raises:
            ConfigurationError: another process or event loop uses it.
        """
        if self._owner.enter():
            self._begin()  # on an event loop that was closed in mid-run nobody leaves any more
        if self._free > self._kept_from(closing):
            self._free -= 1
            return
        waiter = self._queue.join(priority, closing)
        try:
            await waiter.future
        except asyncio.CancelledError:
            self._queue.leave(waiter)
            if waiter.future.done() and not waiter.future.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Give the place to the next in line who may take it."""
        # What is left over of an event loop closed in mid-run may leave a place it no longer has.
        self._free = min(self._free + 1, self._size)
        if self._queue and not self._owner.gone:
            self._serve()

    def _serve(self) -> None:
        for priority in _PRIORITIES:
            for waiter in self._queue.firsts(priority):
                if self._free > self._kept_from(waiter.kind):
                    self._free -= 1
                    self._queue.serve(waiter, None)
                    return

    def _kept_from(self, closing: bool) -> int:  # noqa: FBT001 - the kind of a place
        """Return how many free places this kind of call has to leave alone."""
        return 0 if closing else self._reserve
