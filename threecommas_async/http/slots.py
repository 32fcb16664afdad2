"""What both kinds of connection have in common: who may use an idle one, and for how long."""

from __future__ import annotations

import asyncio
import os
from abc import abstractmethod
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar

import httpx

if TYPE_CHECKING:
    from .answer import Answer

__all__ = ["DEFAULT_PORTS", "KEEPALIVE", "IdleConnections", "OwnConnections"]

T = TypeVar("T")

# A connection works in the process and on the event loop that made it.
_Home: TypeAlias = "tuple[int, asyncio.AbstractEventLoop]"

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# Seconds for which an idle connection is kept. A server that closes it earlier is noticed.
KEEPALIVE: Final = 30.0


class OwnConnections(httpx.AsyncBaseTransport):
    """Connections of this package, which the client asks directly and not through httpx."""

    @abstractmethod
    async def exchange(self, request: httpx.Request, max_bytes: int) -> tuple[Answer, bytes]:
        """Send, and read the whole answer.

        Args:
            request: what to send.
            max_bytes: how long the body may be, as it comes.

        Returns:
            Status and headers, and the body as it came.
        """


class IdleConnections(Generic[T]):
    """The idle connections of each process and event loop, the last one used at the end."""

    def __init__(self) -> None:
        self._lists: dict[_Home, list[T]] = {}

    def here(self) -> list[T]:
        """Return the list of this process and loop.

        Those of others are neither used nor closed: after a fork the other process goes on with the
        same sockets, and another loop may be running in its thread. They are only let go of.
        """
        home = os.getpid(), asyncio.get_running_loop()
        idle = self._lists.get(home)
        if idle is None:
            gone = [it for it in self._lists if it[0] != home[0] or it[1].is_closed()]
            for other in gone:
                del self._lists[other]
            idle = self._lists[home] = []
        return idle

    def keeps(self, idle: list[T]) -> bool:
        """Return whether connections may still be given back to a list that `here` returned."""
        return self._lists.get((os.getpid(), asyncio.get_running_loop())) is idle

    def drop(self) -> list[T]:
        """Return the list of this process and loop, and keep it no longer."""
        return self._lists.pop((os.getpid(), asyncio.get_running_loop()), [])
