"""The one way to write to the log: what a handler or filter raises goes no further.

Handlers and filters are foreign code that runs in the middle of a close. One that raises must not
keep a block from being set, change an outcome, or make a call fail.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

__all__ = ["log"]


class _Log:
    """A logger whose handlers and filters cannot do harm."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def enabled_for(self, level: int) -> bool:
        """Return whether a record of this level would be handled."""
        return self._logger.isEnabledFor(level)

    def debug(self, message: str, *args: object) -> None:
        """Log at DEBUG."""
        self._write(logging.DEBUG, message, args)

    def warning(self, message: str, *args: object) -> None:
        """Log at WARNING."""
        self._write(logging.WARNING, message, args)

    def exception(self, message: str, *args: object) -> None:
        """Log at ERROR, with the exception that is being handled."""
        self._write(logging.ERROR, message, args, exc_info=True)

    def _write(
        self, level: int, message: str, args: tuple[object, ...], *, exc_info: bool = False
    ) -> None:
        try:
            self._logger.log(level, message, *args, exc_info=exc_info, stacklevel=3)
        except (Exception, asyncio.CancelledError):  # noqa: S110 - there is nobody left to tell
            pass


log: Final = _Log("threecommas_async")
