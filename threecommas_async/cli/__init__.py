"""The command line: `threecommas`. Needs the extra `cli`.

Exit status: 0 all closed or all well, 1 something is not, 2 usage, 3 credentials, 130 interrupted,
143 terminated.
"""

from __future__ import annotations

import importlib.util
import sys

__all__ = ["main"]

_NEEDS = ("cyclopts", "rich", "aiohttp")
_USAGE = 2


def main() -> int:
    """Run the command that the program's arguments name, and return its exit status."""
    missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"threecommas: {' and '.join(missing)} not installed; the command line is an extra: "
            "pip install 'threecommas-async[cli]'\n"
        )
        return _USAGE
    from .app import start  # noqa: PLC0415 - only here are the packages of the extra there

    return start(sys.argv[1:])
