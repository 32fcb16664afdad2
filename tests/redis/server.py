"""A real redis-server on a free port of this machine, which can be killed and started again."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager

BINARY = shutil.which("redis-server")
MISSING = "needs a redis-server on the PATH (Debian: apt-get install redis-server)"


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
        assert BINARY
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        options += ["--appendonly", "no", "--daemonize", "no"]
        if self._password:
            options += ["--requirepass", self._password]
        self._process = subprocess.Popen(  # noqa: S603 - the binary found on the PATH
            [BINARY, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(1000):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        raise AssertionError("redis-server did not start")

    def kill(self) -> None:
        """End it, with all that it remembers."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it answer nobody: connections stay, nothing comes back."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def running(server: RedisServer) -> Generator[RedisServer]:
    server.start()
    try:
        yield server
    finally:
        server.kill()
