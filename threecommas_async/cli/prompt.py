"""Ask for confirmation before anything is sent."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .session import UsageError

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["ask_yes_no", "require_terminal"]


def require_terminal() -> None:
    """Raise `UsageError` when standard input is no terminal to ask on."""
    if not sys.stdin.isatty():
        raise UsageError("this asks first, and there is no terminal to ask on: add --yes")


def ask_yes_no(question: str) -> bool:
    """Ask, and return whether the answer is yes."""
    with _default_signal_handlers():
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().casefold() in {"y", "yes"}


@contextmanager
def _default_signal_handlers() -> Generator[None]:
    """Suspend the event loop's handlers: a blocking read would delay them until the answer."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if before[signal.SIGINT] is not signal.SIG_IGN:  # a background job keeps ignoring it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
