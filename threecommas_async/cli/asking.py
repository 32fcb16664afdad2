"""Asking before anything is sent."""

from __future__ import annotations

import signal
import sys

from .session import UsageError

__all__ = ["agreed", "check_can_ask"]


def check_can_ask() -> None:
    """Refuse the command at once when there is nobody who could be asked."""
    if not sys.stdin.isatty():
        raise UsageError("this asks first, and there is no terminal to ask on: add --yes")


def agreed(question: str) -> bool:
    """Ask, and tell whether the answer is yes."""
    # The event loop's own handler would only take effect once the answer is given.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().casefold() in {"y", "yes"}
    finally:
        signal.signal(signal.SIGINT, before)
