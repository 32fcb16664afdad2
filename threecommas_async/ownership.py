"""Ownership of an object by one process and one event loop.

Decides whether the current process and loop may use it, and raises an error where the call would
otherwise hang.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, NoReturn

from .errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Owner"]


class Owner:
    """The process that made an object, and the event loop that used it first.

    Futures, timers and connections work on one event loop only. An object that is used after a fork
    would be two copies with twice the rate limit, so only the process that made it may use it.

    Args:
        name: the object, as the subject of an error message: "the client".
    """

    __slots__ = ("_loop", "_name", "_process", "time")

    time: Callable[[], float]
    """The clock of the event loop that entered last."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None

    def enter(self) -> bool:
        """Return whether this is the first use on the running event loop.

        Another event loop may follow once the first is closed, as with several `asyncio.run()` in
        turn.

        Raises:
            ConfigurationError: used in another process, or on a second event loop.
            RuntimeError: no event loop is running.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # A child forked in a running coroutine has no event loop, but a better error.
            self._check_process()
            raise
        if loop is self._loop:
            return False
        self._check_process()
        if self._loop is not None and not self.loop_closed:
            self._refuse(
                "is in use on another event loop, which is not closed: make one per event loop; "
                "to share a limit between event loops or processes use RedisLimiter"
            )
        self._loop, self.time = loop, loop.time
        return True

    @property
    def loop_closed(self) -> bool:
        """Whether the event loop was closed, so that its waiters cannot be woken."""
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
