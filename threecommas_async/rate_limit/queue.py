"""Waiting in line: closes before everything else, then first come."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from itertools import islice
from typing import Generic, TypeVar

from ..endpoint import Priority

__all__ = ["WaitQueue", "Waiter"]

K = TypeVar("K")
T = TypeVar("T")


class Waiter(Generic[K, T]):
    """One task's waiter in a line; its future is resolved with what it waited for."""

    __slots__ = ("arrival", "future", "kind", "priority")

    def __init__(
        self, future: asyncio.Future[T], priority: Priority, kind: K, arrival: int
    ) -> None:
        self.future = future
        self.priority = priority
        self.kind = kind
        self.arrival = arrival


class WaitQueue(Generic[K, T]):
    """Places in order of priority, then of arrival; those of one kind are served in that order.

    `K` is the kind of a waiter: what decides, beside its priority, whether it may be served. `T` is
    what it is given. There are few kinds, and thousands may wait, any of whom may leave: nothing
    that is done for one of them looks at all the others.
    """

    __slots__ = ("_arrivals", "_lanes", "_length")

    def __init__(self) -> None:
        # An OrderedDict finds its first and loses one from the middle in constant time (a plain
        # dict scans over those already gone).
        self._lanes: dict[Priority, dict[K, OrderedDict[Waiter[K, T], None]]] = {
            priority: {} for priority in Priority
        }
        self._arrivals = 0
        self._length = 0

    def join(self, priority: Priority, kind: K) -> Waiter[K, T]:
        """Take a place at the end of the line of this priority."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._arrivals += 1
        waiter = Waiter(future, priority, kind, self._arrivals)
        self._lanes[priority].setdefault(kind, OrderedDict())[waiter] = None
        self._length += 1
        return waiter

    def leave(self, waiter: Waiter[K, T]) -> None:
        """Leave the line, served or not."""
        lane = self._lanes[waiter.priority].get(waiter.kind)
        if lane and waiter in lane:
            del lane[waiter]
            self._length -= 1

    def serve(self, waiter: Waiter[K, T], what: T) -> None:
        """Give a place what it waits for."""
        self.leave(waiter)
        waiter.future.set_result(what)

    def firsts(self, priority: Priority) -> list[Waiter[K, T]]:
        """Return who is served next of each kind, by arrival."""
        firsts: list[Waiter[K, T]] = []
        for lane in self._lanes[priority].values():
            while lane:
                waiter = next(iter(lane))
                if not waiter.future.done():
                    firsts.append(waiter)
                    break
                self.leave(waiter)  # cancelled, but its task has yet to notice
        return sorted(firsts, key=_by_arrival)

    def front(self, most: int) -> list[Waiter[K, T]]:
        """Return so many of each priority and kind, in order."""
        return [
            waiter
            for lanes in self._lanes.values()
            for waiter in sorted(
                (waiter for lane in lanes.values() for waiter in islice(lane, most)),
                key=_by_arrival,
            )
            if not waiter.future.done()
        ]

    def of_kind(self, priority: Priority, kind: K) -> int:
        """Return how many of a kind wait with this priority."""
        return len(self._lanes[priority].get(kind, ()))

    def __len__(self) -> int:
        """Return how many wait."""
        return self._length


def _by_arrival(waiter: Waiter[K, T]) -> int:
    return waiter.arrival
