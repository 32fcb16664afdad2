"""Performance goals of the package, checked against the results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.imports import HTTPX, OURS
from benchmarks.pacing import floor
from benchmarks.policies import LIMIT
from benchmarks.spread import Spread, ratio, values


@dataclass(frozen=True, slots=True)
class Goal:
    """An upper bound for a measurement."""

    label: str
    maximum: float
    measured: Spread | None
    digits: int = 2
    worst: bool = False
    """Whether the maximum is checked instead of the median."""

    @property
    def target(self) -> str:
        """The bound as text."""
        return f"{self.maximum:g}"

    @property
    def verdict(self) -> str:
        """Whether the goal was met; a dash if it was not measured."""
        if self.measured is None:
            return "-"
        counted = self.measured.high if self.worst else self.measured.median
        return "yes" if counted <= self.maximum else "**no**"


def goals(results: dict[str, Any]) -> Iterator[Goal]:
    """Yield all goals."""
    yield from _closes(results.get("closes", []))
    yield from _stalls(results.get("stall", []))
    parsing = results.get("parsing", [])
    for what, label in (("body", "the body of a close"), ("page", "a page of 100 trades")):
        found = ratio(
            values(parsing, "cpu_us", what=what, how="ours"),
            values(parsing, "cpu_us", what=what, how="cattrs"),
        )
        yield Goal(f"parsing {label} to plain cattrs", 0.45, found)
    imports = results.get("imports", [])
    found = ratio(
        values(imports, "cpu_ms", statement=OURS),
        values(imports, "cpu_ms", statement=HTTPX),
    )
    yield Goal("import to `import httpx`", 1.3, found)
    yield from _pacing(results.get("pacing", []))
    reader = results.get("reader", [])
    overtaken = Spread.of(record["overtaken"] for record in reader)
    yield Goal("reads that overtake a waiting close", 0, overtaken, digits=0, worst=True)


def _closes(records: list[dict[str, Any]]) -> Iterator[Goal]:
    def cpu(name: str, size: int) -> dict[int, float]:
        return values(records, "cpu_us", candidate=name, size=size, mode="cost")

    for name, label, maximum in (
        ("requests", "requests, 20 threads", 0.5),
        ("httpx-here", "bare httpx, semaphore, same environment", 0.25),
        ("httpx", "bare httpx, semaphore, as pip installs it", 0.25),
    ):
        found = ratio(cpu("ours", 1_000), cpu(name, 1_000))
        yield Goal(f"CPU per close at N = 1,000 to {label}", maximum, found)
    found = ratio(cpu("ours-speed", 1_000), cpu("aiohttp", 1_000))
    yield Goal("CPU per close at N = 1,000, extra speed, to bare aiohttp", 1.15, found)
    growth = ratio(cpu("ours", 10_000), cpu("ours", 100))
    yield Goal("growth of CPU per close, N = 100 to 10,000", 1.15, growth)
    memory = values(records, "memory", candidate="ours", size=10_000, mode="cost")
    per_close = Spread.of(value / 1024 for value in memory.values())
    yield Goal("KB of memory per close with its result, N = 10,000", 9, per_close, digits=1)


def _stalls(records: list[dict[str, Any]]) -> Iterator[Goal]:
    for name, label, maximum in (
        ("ours", "HMAC, N = 1,000, p99", 10),
        ("ours-rsa", "RSA-4096, N = 1,000, p99", 10),
        ("ours-pages", "reading pages of 100 trades, p99", 5),
    ):
        found = values(records, "stall_p99", candidate=name, size=1_000, mode="stall")
        yield Goal(f"stall of the event loop in ms: {label}", maximum, Spread.of(found.values()), 1)


def _pacing(records: list[dict[str, Any]]) -> Iterator[Goal]:
    ours = [record for record in records if record["policy"] == "ours"]
    refused = Spread.of(record["refused"] for record in ours)
    yield Goal("requests refused by the server", 0, refused, digits=0, worst=True)
    # Latency: the time that a full window takes without a limit on the same network.
    unlimited = {
        (r["window"], r["network"], r["seed"]): r["seconds"]
        for r in records
        if (r["policy"], r["size"]) == ("gather", LIMIT)
    }
    excess = Spread.of(
        (r["seconds"] - unlimited[run]) / floor(r["size"])
        for r in ours
        for run in [(r["window"], r["network"], r["seed"])]
        if floor(r["size"]) and run in unlimited
    )
    yield Goal("time to the last close less its latency, to the floor", 1.01, excess, 3, worst=True)
