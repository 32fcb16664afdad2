"""The arithmetic of pacing: how many requests may go now, and when the next may. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right, insort

__all__ = ["SlidingWindow"]


class SlidingWindow:
    """How many requests may go now, and when the next may. Pure: no clock, no waiting.

    Each request is first *taken* (on its way), then *held* (answered, still remembered by the
    server), then free. All times are seconds on one clock of the caller's, which need not be
    steady: it counts as standing still while it is behind what it has shown before.
    """

    __slots__ = ("_expiries", "_latest", "_taken", "limit", "window")

    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self._taken = 0
        self._latest = -math.inf
        self._expiries: list[float] = []  # in order

    def free(self, now: float) -> int:
        """Return how many slots are free."""
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

        It comes free one window from now, or from `late` seconds beyond now: that long the server
        may still come to count a request that was not answered.
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
        """Return before when no more than `kept` slots can be free, whatever happens.

        Slots that are taken may come back at any moment, those that are held may not.
        """
        self.free(now)
        over = len(self._expiries) - (self.limit - kept)
        return self._expiries[over] if over >= 0 else now

    def available_at(self, nth: int, now: float) -> float:
        """Return when the nth slot from now (0 is the next) is to be expected, as things stand.

        Slots still taken are expected one window from now, and every slot again one window after
        each use.
        """
        free = self.free(now)
        rounds, place = divmod(nth, self.limit)
        place -= free
        soon = bisect_right(self._expiries, now + self.window)
        if place < 0:
            at = now
        elif place < soon:
            at = self._expiries[place]
        elif place < soon + self._taken:
            at = now + self.window
        else:
            at = self._expiries[place - self._taken]
        return at + rounds * self.window

    def settled(self, now: float) -> SlidingWindow:
        """Return a copy that holds from now what is taken here, as nobody is left to end it."""
        copy = SlidingWindow(self.limit, self.window)
        copy._expiries, copy._latest = self._expiries.copy(), self._latest
        copy._taken = self._taken
        for _ in range(self._taken):
            copy.hold(now)
        return copy
