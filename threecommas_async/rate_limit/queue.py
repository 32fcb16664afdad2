"""A queue of tasks that wait for a slot: closes before everything else, then first come.

It decides the order only. Whether the waiter at the head may be served is for its user to decide:
the limiters and the gate of connections.
"""

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
    """One waiting task; its future is resolved with what it waits for."""

    __slots__ = ("arrival", "future", "kind", "priority")

    def __init__(
        self, future: asyncio.Future[T], priority: Priority, kind: K, arrival: int
    ) -> None:
        self.future: asyncio.Future[T] = future
        self.priority: Priority = priority
        self.kind: K = kind
        self.arrival: int = arrival


class WaitQueue(Generic[K, T]):
    """Waiters in order of priority, then of arrival; those of one kind are served in that order.

    `K` is the kind of a waiter: what decides, beside its priority, whether it may be served. `T` is
    what it is given. There are few kinds but there may be thousands of waiters, and each may leave
    at any moment: no operation on one waiter scans the others.
    """

    __slots__ = ("_arrivals", "_lanes", "_length")

    def __init__(self) -> None:
        # One lane per priority and kind. An OrderedDict finds its first entry and removes one from
        # the middle in constant time (a plain dict scans over the entries deleted before).
        self._lanes: dict[Priority, dict[K, OrderedDict[Waiter[K, T], None]]] = {
            priority: {} for priority in Priority
        }
        self._arrivals = 0
        self._length = 0

    def join(self, priority: Priority, kind: K) -> Waiter[K, T]:
        """Add a waiter behind all others of this priority and kind."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._arrivals += 1
        waiter = Waiter(future, priority, kind, self._arrivals)
        self._lanes[priority].setdefault(kind, OrderedDict())[waiter] = None
        self._length += 1
        return waiter

    def leave(self, waiter: Waiter[K, T]) -> None:
        """Remove a waiter, if it is still in the queue."""
        lane = self._lanes[waiter.priority].get(waiter.kind)
        if lane and waiter in lane:
            del lane[waiter]
            self._length -= 1

    def serve(self, waiter: Waiter[K, T], what: T) -> None:
        """Remove a waiter and resolve its future."""
        self.leave(waiter)
        waiter.future.set_result(what)

    def heads(self, priority: Priority) -> list[Waiter[K, T]]:
        """Return the first waiter of each kind with this priority, by arrival."""
        heads: list[Waiter[K, T]] = []
        for lane in self._lanes[priority].values():
            while lane:
                waiter = next(iter(lane))
                if not waiter.future.done():
                    heads.append(waiter)
                    break
                self.leave(waiter)  # cancelled, but its task has yet to notice
        return sorted(heads, key=_by_arrival)

    def front(self, most: int) -> list[Waiter[K, T]]:
        """Return the first `most` waiters of each priority and kind, by priority and arrival."""
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
        """Return the number of waiters of a kind with this priority."""
        return len(self._lanes[priority].get(kind, ()))

    def __len__(self) -> int:
        """Return the number of waiters."""
        return self._length


def _by_arrival(waiter: Waiter[K, T]) -> int:
    return waiter.arrival
