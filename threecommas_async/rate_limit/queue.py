"""Waiting in line: closes before everything else, then first come."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from itertools import islice
from typing import Generic, TypeVar

from ..endpoint import Priority
from ..ownership import Owner

__all__ = ["Gate", "Line", "Place", "Turnstile"]

K = TypeVar("K")
T = TypeVar("T")


class Place(Generic[K, T]):
    """One task's place in a line; its future is resolved with what it waited for."""

    __slots__ = ("arrival", "future", "kind", "priority")

    def __init__(
        self, future: asyncio.Future[T], priority: Priority, kind: K, arrival: int
    ) -> None:
        self.future = future
        self.priority = priority
        self.kind = kind
        self.arrival = arrival


class Line(Generic[K, T]):
    """Places in order of priority, then of arrival; those of one kind are served in that order.

    `K` is the kind of a place: what decides, beside its priority, whether it may be served. `T` is
    what it is given. There are few kinds, and thousands may wait, any of whom may leave: nothing
    that is done for one of them looks at all the others.
    """

    __slots__ = ("_arrivals", "_lanes", "_length")

    def __init__(self) -> None:
        # An OrderedDict finds its first and loses one from the middle in constant time (a plain
        # dict scans over those already gone).
        self._lanes: dict[Priority, dict[K, OrderedDict[Place[K, T], None]]] = {
            priority: {} for priority in Priority
        }
        self._arrivals = 0
        self._length = 0

    def join(self, priority: Priority, kind: K) -> Place[K, T]:
        """Take a place at the end of the line of this priority."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._arrivals += 1
        place = Place(future, priority, kind, self._arrivals)
        self._lanes[priority].setdefault(kind, OrderedDict())[place] = None
        self._length += 1
        return place

    def leave(self, place: Place[K, T]) -> None:
        """Leave the line, served or not."""
        lane = self._lanes[place.priority].get(place.kind)
        if lane and place in lane:
            del lane[place]
            self._length -= 1

    def serve(self, place: Place[K, T], what: T) -> None:
        """Give a place what it waits for."""
        self.leave(place)
        place.future.set_result(what)

    def firsts(self, priority: Priority) -> list[Place[K, T]]:
        """Return who is served next of each kind, by arrival."""
        firsts: list[Place[K, T]] = []
        for lane in self._lanes[priority].values():
            while lane:
                place = next(iter(lane))
                if not place.future.done():
                    firsts.append(place)
                    break
                self.leave(place)  # cancelled, but its task has yet to notice
        return sorted(firsts, key=_by_arrival)

    def front(self, most: int) -> list[Place[K, T]]:
        """Return so many of each priority and kind, in order."""
        return [
            place
            for lanes in self._lanes.values()
            for place in sorted(
                (place for lane in lanes.values() for place in islice(lane, most)), key=_by_arrival
            )
            if not place.future.done()
        ]

    def of_kind(self, priority: Priority, kind: K) -> int:
        """Return how many of a kind wait with this priority."""
        return len(self._lanes[priority].get(kind, ()))

    def __len__(self) -> int:
        """Return how many wait."""
        return self._length


def _by_arrival(place: Place[K, T]) -> int:
    return place.arrival


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
        self._line: Line[bool, None] = Line()  # its kinds: closes, and what is none

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
        place = self._line.join(priority, closing)
        try:
            await place.future
        except asyncio.CancelledError:
            self._line.leave(place)
            if place.future.done() and not place.future.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Give the place to the next in line who may take it."""
        # What is left over of an event loop closed in mid-run may leave a place it no longer has.
        self._free = min(self._free + 1, self._size)
        if self._line and not self._owner.gone:
            self._serve()

    def _serve(self) -> None:
        for priority in Priority:
            for place in self._line.firsts(priority):
                if self._free > self._kept_from(place.kind):
                    self._free -= 1
                    self._line.serve(place, None)
                    return

    def _kept_from(self, closing: bool) -> int:  # noqa: FBT001 - the kind of a place
        """Return how many free places this kind of call has to leave alone."""
        return 0 if closing else self._reserve


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
