"""Results to standard output, messages about them to standard error; exit statuses."""

from __future__ import annotations

import json
import os
import sys
from enum import IntEnum
from typing import TextIO

from rich.console import Console, Group
from rich.text import Text

from ..converter import to_json

__all__ = ["ExitStatus", "Output", "printable"]

_WIDTH_WITHOUT_TERMINAL = 120


class ExitStatus(IntEnum):
    """Exit status of a command."""

    OK = 0
    NOT_ALL = 1
    USAGE = 2
    CREDENTIALS = 3
    INTERRUPTED = 130
    """As a shell reports Ctrl-C."""
    TERMINATED = 143
    """As a shell reports SIGTERM."""


class Output:
    """Standard output and standard error, as text or with `as_json` as JSON.

    Only the result goes to standard output; with `as_json` it is a single JSON document. A stream
    that is no terminal gets plain text without control characters.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._stdout = _console(sys.stdout)
        self.stderr: Console = _console(sys.stderr)

    @property
    def live(self) -> bool:
        """Whether progress can be drawn in place."""
        return self.stderr.is_terminal

    def result(self, data: object, *shown: Group | str) -> None:
        """Print a result: `data` as JSON, or else the tables and lines."""
        if self.as_json:
            self._stdout.file.write(
                json.dumps(to_json(data), ensure_ascii=False, indent=2, default=_error_data) + "\n"
            )
            self._stdout.file.flush()
        else:
            for part in shown:
                # Lines are not wrapped, so that they can be copied and pasted.
                self._stdout.print(part, soft_wrap=isinstance(part, str))

    def message(self, text: str) -> None:
        """Print a line to standard error."""
        self.stderr.print(Text(printable(text)), soft_wrap=True)

    def fail(self, message: str, *, kind: str = "UsageError") -> None:
        """Print in one line why there is no result, and with `as_json` an error object as well."""
        self.message(f"threecommas: {message}")
        if self.as_json:
            self.result({"error": {"type": kind, "message": message}})


def _console(stream: TextIO) -> Console:
    terminal = stream.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}
    # Always pass `force_terminal`: otherwise FORCE_COLOR puts control characters into files.
    return Console(
        file=stream,
        force_terminal=terminal,
        width=None if terminal else _WIDTH_WITHOUT_TERMINAL,
        highlight=False,
        markup=False,
    )


def printable(text: object) -> str:
    """Replace control characters: names and notes from 3Commas could contain terminal escapes."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def _error_data(value: object) -> object:
    """Serialize the errors of outcomes, which `to_json` leaves as they are."""
    return {"type": type(value).__name__, "message": str(value)}
