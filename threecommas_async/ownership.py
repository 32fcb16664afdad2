"""Which process and event loop an object belongs to: said at once where it would otherwise hang."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, NoReturn

from .errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Owner"]


class Owner:
    """The process that made an object, and the event loop that uses it: the one that did so first.

    Futures, timers and connections belong to one event loop. On another one they are never woken,
    or are taken from under those who wait. What was made before a fork and is used by both
    processes would be two limits instead of one, so only the process that made it may use it.

    Args:
        name: what is owned, as the subject of an error message: "the client".
    """

    __slots__ = ("_loop", "_name", "_process", "time")

    time: Callable[[], float]
    """The clock of the event loop that was entered last."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None

    def enter(self) -> bool:
        """Return whether this is the first use on the running event loop.

        An event loop that was closed is followed by the next: several calls of asyncio.run() in
        turn are fine, and what waited on the one before is gone.

        Raises:
            ConfigurationError: used in another process, or on an event loop beside the first.
            RuntimeError: no event loop is running.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # A child that was forked out of a running coroutine has no event loop either.
            self._check_process()
            raise
        if loop is self._loop:
            return False
        self._check_process()
        if self._loop is not None and not self.gone:
            self._refuse(
                "is in use on another event loop, which is not closed: make one per event loop; "
                "to share a limit between event loops or processes use RedisLimiter"
            )
        self._loop, self.time = loop, loop.time
        return True

    @property
    def gone(self) -> bool:
        """Whether the event loop was closed, so that nobody who waited on it can be woken."""
        return self._loop is not None and self._loop.is_closed()

    def _check_process(self) -> None:
        if self._process != os.getpid():
            self._refuse(
                "was made in another process: make the client and its rate limiter after "
                "the fork, in each process; a limit is not shared between processes, see "
                "docs/sharing.md"
            )

    def _refuse(self, why: str) -> NoReturn:
        raise ConfigurationError(f"{self._name} {why}")
