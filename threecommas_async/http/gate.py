"""A limit on the number of calls under way at a time.

The gate stands in front of the connections: a call that passes it finds one free, see `transport`.
Closes go first, and some of the capacity is reserved for them.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ..endpoint import Priority
from ..ownership import Owner
from ..rate_limit import WaitQueue

__all__ = ["Gate"]

# In order. Iterating over an enum takes longer than admitting a call.
_PRIORITIES: Final = tuple(Priority)


class Gate:
    """A semaphore that admits calls by priority, then in order of arrival.

    Args:
        size: maximum number of calls under way.
        reserve: how many of these only closes may use, so that hanging reads do not delay closes.
    """

    def __init__(self, size: int, reserve: int = 0) -> None:
        self._size = size
        self._reserve = reserve
        self._owner = Owner("the client")
        self._reset()

    def _reset(self) -> None:
        self._free = self._size
        self._queue: WaitQueue[bool, None] = WaitQueue()  # the kind: whether it is a close

    async def enter(self, priority: Priority, *, closing: bool) -> None:
        """Wait for admission; `leave` when the call is over.

        Args:
            priority: who goes first.
            closing: whether the call closes something and may use the reserve. False for a read,
                even one that has a close's priority because a close depends on it.

        Raises:
            ConfigurationError: another process or event loop uses the gate.
        """
        if self._owner.enter():
            self._reset()  # the calls of an event loop that was closed while running never leave
        if self._free > self._reserved_from(closing):
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
        """End a call, and admit the next waiter that may enter."""
        # A call of an event loop closed while running may still leave, after `_reset`.
        self._free = min(self._free + 1, self._size)
        if self._queue and not self._owner.loop_closed:
            self._admit_next()

    def _admit_next(self) -> None:
        for priority in _PRIORITIES:
            for waiter in self._queue.heads(priority):
                if self._free > self._reserved_from(waiter.kind):
                    self._free -= 1
                    self._queue.serve(waiter, None)
                    return

    def _reserved_from(self, closing: bool) -> int:  # noqa: FBT001 - the kind of a waiter
        """Return how much of the capacity this kind of call must not use."""
        return 0 if closing else self._reserve
