"""The arithmetic of a rolling window: how many requests may go now, and when the next may.

Pure: no clock and no waiting. The limiters of this process and of Redis both compute with it.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort

__all__ = ["SlidingWindow"]


class SlidingWindow:
    """The slots of one limit. Each is free, *taken* or *held*.

    A slot is *taken* while its request is on its way, then *held* while the server still counts the
    answered request, then free again. All times are seconds on one clock of the caller's. It need
    not be steady: while it is behind the latest time it has shown, it counts as standing still.

    Args:
        limit: requests per window.
        window: length of the window in seconds.
    """

    __slots__ = ("_expiries", "_latest", "_taken", "limit", "window")

    def __init__(self, limit: int, window: float) -> None:
        self.limit: int = limit
        self.window: float = window
        self._taken = 0
        self._latest = -math.inf
        self._expiries: list[float] = []  # when each held slot comes free, in order

    def free(self, now: float) -> int:
        """Return the number of free slots."""
        expiries = self._expiries
        if expiries and expiries[0] <= now:
            del expiries[: bisect_right(expiries, now)]
        return self.limit - self._taken - len(expiries)

    def take(self) -> None:
        """Take a free slot, before a request is sent."""
        self._taken += 1

    def give_back(self) -> None:
        """Free a taken slot at once: its request provably never left."""
        self._taken -= 1

    def hold(self, now: float, late: float = 0.0) -> None:
        """Hold a taken slot: its answer arrived, or its attempt ended.

        The slot comes free one window after `now + late`. `late` is the number of seconds in which
        the server may still count a request that was not answered.
        """
        self._taken -= 1
        expiries = self._expiries
        now = max(now, self._latest)
        self._latest = now
        at = now + self.window + late
        if expiries and at < expiries[-1]:
            insort(expiries, at)
        else:
            expiries.append(at)

    def next_expiry(self, now: float) -> float:
        """Return when the next held slot comes free; infinity while none is held."""
        self.free(now)
        return self._expiries[0] if self._expiries else math.inf

    def not_before(self, kept: int, now: float) -> float:
        """Return the earliest time at which more than `kept` slots can be free.

        A taken slot may come back at any moment; a held one cannot.
        """
        self.free(now)
        excess = len(self._expiries) - (self.limit - kept)
        return self._expiries[excess] if excess >= 0 else now

    def available_at(self, nth: int, now: float) -> float:
        """Return when to expect the nth slot from now (0 is the next), as things stand.

        Assumes that each taken slot comes free one window from now, and every slot again one window
        after each use.
        """
        free = self.free(now)
        rounds, index = divmod(nth, self.limit)
        index -= free
        # Slots come free in this order: held ones that expire within a window, the taken ones, then
        # held ones that expire later (`late`).
        soon = bisect_right(self._expiries, now + self.window)
        if index < 0:
            at = now
        elif index < soon:
            at = self._expiries[index]
        elif index < soon + self._taken:
            at = now + self.window
        else:
            at = self._expiries[index - self._taken]
        return at + rounds * self.window

    def settled(self, now: float) -> SlidingWindow:
        """Return a copy in which all taken slots are held from now.

        For a new event loop: the attempts that took them are gone with the loop before.
        """
        copy = SlidingWindow(self.limit, self.window)
        copy._expiries, copy._latest = self._expiries.copy(), self._latest
        copy._taken = self._taken
        for _ in range(self._taken):
            copy.hold(now)
        return copy
