"""Run the workers against the server, interleaved, and collect their measurements."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.candidates import Candidate, Mode
from benchmarks.environment import ROOT, clean_environment, run_python

TIME_LIMIT = 300.0

Record = dict[str, Any]
"""A `worker.Measurement` as a dict, with candidate, size, mode and repeat."""


@dataclass(frozen=True, slots=True)
class Server:
    """Handle of the server process."""

    port: int

    @property
    def base_url(self) -> str:
        """Return the URL."""
        return f"http://127.0.0.1:{self.port}"

    def counters(self) -> dict[str, int]:
        """Return the number of POSTs so far, and of connections they came over."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", "/stats")
            counters: dict[str, int] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return counters


@contextmanager
def running_server(latency: float = 0.0) -> Generator[Server]:
    """Run a server process for the duration of the block."""
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "benchmarks.server", "--latency", str(latency)],
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Server(int(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_worker(python: str, server: Server, candidate: Candidate, size: int, mode: Mode) -> Record:
    """Run one measurement in its own process; a crash or timeout is recorded as failures."""
    before = server.counters()
    job = {"candidate": candidate.name, "base_url": server.base_url, "size": size, "mode": mode}
    try:
        output = run_python(python, "-m", "benchmarks.worker", json.dumps(job), timeout=TIME_LIMIT)
        record: Record = json.loads(output.splitlines()[-1])
    except subprocess.TimeoutExpired:
        record = {"failures": {"no end within the time limit": size}}
    except subprocess.CalledProcessError as error:
        record = {"failures": {f"worker exited with {error.returncode}": size}}
    after = server.counters()
    counted = {name: after[name] - before[name] for name in after}
    return {"candidate": candidate.name, "size": size, "mode": mode, **record, **counted}


def interleaved(  # noqa: PLR0913
    candidates: Sequence[Candidate],
    pythons: dict[str, str],
    server: Server,
    *,
    sizes: Sequence[int],
    mode: Mode,
    repeats: int,
    log: Callable[[str], None],
) -> list[Record]:
    """Run every candidate at every size, repeatedly, starting with another one each time."""
    records: list[Record] = []
    for repeat in range(repeats):
        shift = repeat % len(candidates) if candidates else 0
        for size in sizes:
            for candidate in (*candidates[shift:], *candidates[:shift]):
                if not candidate.measures(mode, size):
                    continue
                record = run_worker(pythons[candidate.home], server, candidate, size, mode)
                records.append({"repeat": repeat, **record})
                log(f"{repeat + 1}/{repeats} {mode} {size:>6,} {candidate.name}")
    return records
