"""A Python program in a process of its own, for what only a process has: signals, exit status."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def python(program: str, *arguments: str) -> Generator[subprocess.Popen[str]]:
    """Run it beside the test, which reads its standard streams, and kill it afterwards."""
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()
