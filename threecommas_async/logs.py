"""The log of this library, safe from what is hung on it.

Handlers and filters are foreign code. What one of them raises must neither lose an outcome nor
delay a block, so it ends here; `CancelledError` too, which any `.result()` of a cancelled future
raises and which here cancels nothing.
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
        """Log a message; `debug`, `warning`, `exception` and the others go through here."""
        # What raises is foreign code, and the log is where one would tell of it.
        with suppress(Exception, asyncio.CancelledError):
            super().log(level, msg, *args, stacklevel=2, **kwargs)


log: Final = _SafeLog(logging.getLogger("threecommas_async"), None)
