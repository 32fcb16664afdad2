"""Run a Python program in a subprocess, to test signals and the exit status."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def run_python(program: str, *arguments: str) -> Generator[subprocess.Popen[str]]:
    """Start the program with piped standard streams, and kill it at the end."""
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
