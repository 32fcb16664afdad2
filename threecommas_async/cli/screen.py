"""Where output goes: results to standard output, everything about them to standard error."""

from __future__ import annotations

import json
import os
import sys
from enum import IntEnum
from typing import TextIO

from rich.console import Console, Group
from rich.text import Text

from ..converter import to_json

__all__ = ["Exit", "Screen", "printable"]

_WIDTH_OF_A_LOG = 120


class Exit(IntEnum):
    """What the exit status says."""

    OK = 0
    NOT_ALL = 1
    USAGE = 2
    CREDENTIALS = 3
    INTERRUPTED = 130
    """As a shell reports Ctrl-C."""
    TERMINATED = 143
    """As a shell reports SIGTERM."""


class Screen:
    """Standard output and standard error, for a person or (`as_json`) for a program.

    Nothing but the result ever goes to standard output; with `as_json` that is one JSON document.
    Away from a terminal nothing but plain text goes anywhere.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._out = _console(sys.stdout)
        self.err = _console(sys.stderr)

    @property
    def live(self) -> bool:
        """Whether progress can be drawn in place."""
        return self.err.is_terminal

    def result(self, data: object, *shown: Group | str) -> None:
        """Show a result: `data` to a program, the tables and lines to a person."""
        if self.as_json:
            self._out.file.write(
                json.dumps(to_json(data), ensure_ascii=False, indent=2, default=_as_json) + "\n"
            )
            self._out.file.flush()
        else:
            for part in shown:
                # A line is never wrapped: it may be there to be pasted.
                self._out.print(part, soft_wrap=isinstance(part, str))

    def say(self, text: str) -> None:
        """Tell a person something beside the result, in one line."""
        self.err.print(Text(printable(text)), soft_wrap=True)

    def fail(self, message: str, *, kind: str = "UsageError") -> None:
        """Tell in one line why there is no result; with `as_json` a program is told as well."""
        self.say(f"threecommas: {message}")
        if self.as_json:
            self.result({"error": {"type": kind, "message": message}})


def _console(stream: TextIO) -> Console:
    terminal = stream.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}
    # `force_terminal` is said either way, so that FORCE_COLOR puts no control characters in a file.
    return Console(
        file=stream,
        force_terminal=terminal,
        width=None if terminal else _WIDTH_OF_A_LOG,
        highlight=False,
        markup=False,
    )


def printable(text: object) -> str:
    """Blot out what could steer a terminal: names and notes are what somebody typed at 3Commas."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def _as_json(value: object) -> object:
    """Turn what `to_json` leaves, the errors of outcomes, into what JSON has."""
    return {"type": type(value).__name__, "message": str(value)}
