"""Asking before anything is sent."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .session import UsageError

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["agreed", "check_can_ask"]


def check_can_ask() -> None:
    """Refuse the command at once when there is nobody who could be asked."""
    if not sys.stdin.isatty():
        raise UsageError("this asks first, and there is no terminal to ask on: add --yes")


def agreed(question: str) -> bool:
    """Ask, and tell whether the answer is yes."""
    with _signals_heard_at_once():
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().casefold() in {"y", "yes"}


@contextmanager
def _signals_heard_at_once() -> Generator[None]:
    """Do without the event loop's own handlers, which take effect only once the answer is given."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if before[signal.SIGINT] is not signal.SIG_IGN:  # as in the background, where it stays so
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
