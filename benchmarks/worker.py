"""The measured process: run one candidate with one number of closes, print one line of JSON.

Runs in the environment of the candidate, so it imports only the standard library.
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
MIN_CLOSES = 1_000
TICK = 0.001


@dataclass(frozen=True, slots=True)
class Job:
    """Parameters of a measurement."""

    candidate: str
    base_url: str
    size: int
    mode: Mode = "cost"


@dataclass(slots=True)
class Measurement:
    """Result. Times are microseconds per close, memory is bytes per close, stalls are ms."""

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
    """Return the peak resident memory of this process in bytes."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_memory() -> int:
    """Return the resident memory of this process in bytes."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    return peak_memory()


def id_of(trade: Any) -> object:
    """Return the id of a trade, a dict or a model."""
    return trade["id"] if hasattr(trade, "keys") else trade.id


def failures(trade_ids: Sequence[int], results: Sequence[Any]) -> Counter[str]:
    """Count the closes that did not return their own trade, by kind of failure."""
    found: Counter[str] = Counter()
    for trade_id, result in zip(trade_ids, results, strict=True):
        if isinstance(result, BaseException):
            found[type(result).__name__] += 1
        elif id_of(result) != trade_id:
            found["wrong trade"] += 1
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile (nearest rank); `share` is 0 to 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@contextlib.asynccontextmanager
async def watched_loop(lateness: list[float]) -> AsyncGenerator[None]:
    """Record by how many milliseconds each sleep of 1 ms ends late."""
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


def stalls(measurement: Measurement, lateness: Sequence[float]) -> None:
    """Store the distribution of the lateness."""
    measurement.samples = len(lateness)
    measurement.stall_p50 = percentile(lateness, 0.50)
    measurement.stall_p99 = percentile(lateness, 0.99)
    measurement.stall_max = max(lateness, default=0.0)


async def cost(close_all: CloseAll, size: int, batches: int, measurement: Measurement) -> None:
    """Measure CPU time, wall time and memory, in several batches if `size` is small."""
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
        measurement.cpu_us += (time.process_time() - cpu) * 1e6
        measurement.wall_us += (time.perf_counter() - wall) * 1e6
        failed += failures(trade_ids, results)
    measurement.closes = size * batches
    measurement.cpu_us /= measurement.closes
    measurement.wall_us /= measurement.closes
    measurement.memory = max(0, peak_memory() - memory) / size
    measurement.failures = dict(failed)


async def stall(close_all: CloseAll, size: int, measurement: Measurement) -> None:
    """Measure the stall of the event loop during gathered closes."""
    trade_ids = range(FIRST_ID + WARM_UP, FIRST_ID + WARM_UP + size)
    lateness: list[float] = []
    gc.collect()
    async with watched_loop(lateness):
        results = await close_all(trade_ids)
    stalls(measurement, lateness)
    measurement.closes = size
    measurement.failures = dict(failures(trade_ids, results))


async def measure(job: Job) -> Measurement:
    """Connect, warm up, measure."""
    measurement = Measurement()
    candidate = CANDIDATES[job.candidate]
    async with candidate.opened()(job.base_url) as close_all:
        batches = 1
        if not candidate.cold:
            await close_all(range(FIRST_ID, FIRST_ID + min(WARM_UP, job.size)))
            batches = max(1, MIN_CLOSES // job.size) if job.size >= WARM_UP else 1
        if job.mode == "cost":
            await cost(close_all, job.size, batches, measurement)
        else:
            await stall(close_all, job.size, measurement)
    measurement.sniffio = "sniffio" in sys.modules
    return measurement


def main() -> None:
    """Run the job given as JSON in the only argument."""
    job = Job(**json.loads(sys.argv[1]))
    print(json.dumps(asdict(asyncio.run(measure(job)))))


if __name__ == "__main__":
    main()
