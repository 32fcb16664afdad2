"""Waiting in line: closes before everything else, then first come."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Generic, TypeVar

from .endpoint import Priority

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Gate", "Line", "Place", "Turnstile"]

T = TypeVar("T")
W = TypeVar("W")


class Place(Generic[W, T]):
    """One task's place in a line; its future is resolved with what it waited for."""

    __slots__ = ("future", "priority", "wants")

    def __init__(self, future: asyncio.Future[T], priority: Priority, wants: W) -> None:
        self.future = future
        self.priority = priority
        self.wants = wants


class Line(Generic[W, T]):
    """Places in order of priority, then of arrival.

    `W` is what a place says it wants, `T` what it is given.
    """

    __slots__ = ("_places",)

    def __init__(self) -> None:
        # Thousands may wait, and any of them may leave: an OrderedDict finds its first and loses
        # one from the middle in constant time (a plain dict scans over those already gone).
        self._places: dict[Priority, OrderedDict[Place[W, T], None]] = {
            priority: OrderedDict() for priority in Priority
        }

    def join(self, priority: Priority, wants: W) -> Place[W, T]:
        """Take a place at the end of the line of this priority."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        place: Place[W, T] = Place(future, priority, wants)
        self._places[priority][place] = None
        return place

    def leave(self, place: Place[W, T]) -> None:
        """Leave the line, served or not."""
        self._places[place.priority].pop(place, None)

    def serve(self, place: Place[W, T], what: T) -> None:
        """Give a place what it waits for."""
        self.leave(place)
        place.future.set_result(what)

    def places(self, priority: Priority) -> Iterable[Place[W, T]]:
        """Return the places of a priority in order. The line must not change under the loop."""
        return self._places[priority]

    def waiting(self, priority: Priority) -> int:
        """Return how many wait with this priority."""
        return len(self._places[priority])

    def first(self) -> Place[W, T] | None:
        """Return the place that is served next, None when nobody waits."""
        for places in self._places.values():
            for place in places:
                if not place.future.done():
                    return place
        return None

    def __bool__(self) -> bool:
        """Tell whether anyone waits."""
        return any(self._places.values())


class Gate:
    """Lets a fixed number of calls through at a time; closes first, then first come."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._line: Line[None, None] = Line()

    async def enter(self, priority: Priority, *, closing: bool = True) -> None:
        """Wait until a place is free. Follow with `leave`, whatever happens."""
        if self._free:
            self._free -= 1
            return
        place = self._line.join(priority, None)
        try:
            await place.future
        except asyncio.CancelledError:
            self._line.leave(place)
            if place.future.done() and not place.future.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Give the place to the next in line."""
        place = self._line.first()
        if place is None:
            self._free += 1
        else:
            self._line.serve(place, None)


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
