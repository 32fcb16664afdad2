"""The measured process: one candidate, one number of closes, one JSON line on standard output.

It runs in whichever environment the candidate lives, so it needs the standard library only.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.candidates import CANDIDATES, Mode
from benchmarks.candidates.base import CloseAll

FIRST_ID = 12_345_678
WARM_UP = 100
CLOSES_AT_LEAST = 1_000
TICK = 0.001


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to measure."""

    candidate: str
    base_url: str
    size: int
    mode: Mode = "cost"


@dataclass(slots=True)
class Measured:
    """What it measured. Times are per close in microseconds, memory in bytes, stalls in ms."""

    cpu_us: float = 0.0
    wall_us: float = 0.0
    memory: float = 0.0
    stall_p50: float = 0.0
    stall_p99: float = 0.0
    stall_max: float = 0.0
    samples: int = 0
    closes: int = 0
    failures: dict[str, int] = field(default_factory=dict[str, int])
    sniffio: bool = False


def peak_memory() -> int:
    """The most memory this process has had resident, in bytes."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_memory() -> int:
    """The memory this process has resident now, in bytes."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    return peak_memory()


def id_of(trade: Any) -> object:
    """The id of a trade, whether it is a dict or a model."""
    return trade["id"] if hasattr(trade, "keys") else trade.id


def failures(trade_ids: Sequence[int], results: Sequence[Any]) -> Counter[str]:
    """Count the closes that did not end with their own trade, by the kind of failure."""
    found: Counter[str] = Counter()
    for trade_id, result in zip(trade_ids, results, strict=True):
        if isinstance(result, BaseException):
            found[type(result).__name__] += 1
        elif id_of(result) != trade_id:
            found["wrong trade"] += 1
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which the share of the values lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@contextlib.asynccontextmanager
async def watched_loop(lateness: list[float]) -> AsyncGenerator[None]:
    """Note by how many milliseconds the event loop is late for a sleep of one."""
    clock = time.perf_counter

    async def watch() -> None:
        while True:
            due = clock() + TICK
            await asyncio.sleep(TICK)
            lateness.append(max(0.0, clock() - due) * 1e3)

    watcher = asyncio.create_task(watch())
    await asyncio.sleep(0.02)
    lateness.clear()
    try:
        yield
        await asyncio.sleep(TICK)
    finally:
        watcher.cancel()


def stalls(measured: Measured, lateness: Sequence[float]) -> None:
    """Write the distribution of the loop's lateness down."""
    measured.samples = len(lateness)
    measured.stall_p50 = percentile(lateness, 0.50)
    measured.stall_p99 = percentile(lateness, 0.99)
    measured.stall_max = max(lateness, default=0.0)


async def cost(close_all: CloseAll, size: int, batches: int, measured: Measured) -> None:
    """CPU time, wall time and memory; small numbers are repeated to be measurable."""
    results: list[Any] = []
    failed: Counter[str] = Counter()
    gc.collect()
    memory = resident_memory()
    for batch in range(batches):
        first = FIRST_ID + WARM_UP + batch * size
        trade_ids = range(first, first + size)
        results = []
        wall, cpu = time.perf_counter(), time.process_time()
        results = await close_all(trade_ids)
        measured.cpu_us += (time.process_time() - cpu) * 1e6
        measured.wall_us += (time.perf_counter() - wall) * 1e6
        failed += failures(trade_ids, results)
    measured.closes = size * batches
    measured.cpu_us /= measured.closes
    measured.wall_us /= measured.closes
    measured.memory = max(0, peak_memory() - memory) / size
    measured.failures = dict(failed)


async def stall(close_all: CloseAll, size: int, measured: Measured) -> None:
    """How late the event loop gets while everything is closed at once."""
    trade_ids = range(FIRST_ID + WARM_UP, FIRST_ID + WARM_UP + size)
    lateness: list[float] = []
    gc.collect()
    async with watched_loop(lateness):
        results = await close_all(trade_ids)
    stalls(measured, lateness)
    measured.closes = size
    measured.failures = dict(failures(trade_ids, results))


async def measure(job: Job) -> Measured:
    """Connect, warm up, measure."""
    measured = Measured()
    candidate = CANDIDATES[job.candidate]
    async with candidate.opened()(job.base_url) as close_all:
        batches = 1
        if not candidate.cold:
            await close_all(range(FIRST_ID, FIRST_ID + min(WARM_UP, job.size)))
            batches = max(1, CLOSES_AT_LEAST // job.size) if job.size >= WARM_UP else 1
        if job.mode == "cost":
            await cost(close_all, job.size, batches, measured)
        else:
            await stall(close_all, job.size, measured)
    measured.sniffio = "sniffio" in sys.modules
    return measured


def main() -> None:
    """Do the job given as JSON in the only argument."""
    job = Job(**json.loads(sys.argv[1]))
    print(json.dumps(asdict(asyncio.run(measure(job)))))


if __name__ == "__main__":
    main()
