"""The logger of this library, protected from failing handlers and filters.

Handlers and filters are foreign code. An exception in one must neither lose an outcome nor delay a
block, so it is suppressed here. That includes `CancelledError`, which `.result()` of a cancelled
future raises without any cancellation of the current task.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any, Final

__all__ = ["log"]


class _SafeLog(logging.LoggerAdapter[logging.Logger]):
    """A logger whose handlers and filters cannot raise."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:  # noqa: ANN401 - logging's
        """Log a message; `debug`, `warning`, `exception` and the others call this."""
        with suppress(Exception, asyncio.CancelledError):
            super().log(level, msg, *args, stacklevel=2, **kwargs)


log: Final = _SafeLog(logging.getLogger("threecommas_async"), None)
