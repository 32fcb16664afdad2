"""The command `threecommas`. Requires the extra `cli`.

Exit status: 0 success, 1 not everything succeeded, 2 usage error, 3 credentials refused or missing,
130 interrupted, 143 terminated.
"""

from __future__ import annotations

import importlib.util
import sys

__all__ = ["main"]

_REQUIRED_PACKAGES = ("cyclopts", "rich", "aiohttp")
_USAGE_ERROR = 2


def main() -> int:
    """Run the command given in `sys.argv`, and return its exit status."""
    missing = [name for name in _REQUIRED_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"threecommas: {' and '.join(missing)} not installed; the command line is an extra: "
            "pip install 'threecommas-async[cli]'\n"
        )
        return _USAGE_ERROR
    from .app import run_blocking  # noqa: PLC0415 - needs the packages of the extra

    return run_blocking(sys.argv[1:])
