"""The charts: growth, stall, and the time to the last close compared with the minimum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.candidates import CANDIDATES
from benchmarks.charts import Bar, Panel, Series, bar_chart, line_chart
from benchmarks.measure import Record
from benchmarks.pacing import floor
from benchmarks.policies import POLICIES
from benchmarks.spread import Spread, values


def growth(records: list[Record]) -> str:
    """Return the chart of CPU time per close by number of closes gathered."""
    series: list[Series] = []
    for name, candidate in CANDIDATES.items():
        points: list[tuple[float, float]] = []
        for size in sorted({record["size"] for record in records}):
            found = values(records, "cpu_us", candidate=name, size=size, mode="cost")
            if spread := Spread.of(found.values()):
                points.append((size, spread.median))
        if points:
            label = candidate.label + _fails(records, name)
            series.append(Series(label, points, ours=name == "ours"))
    return line_chart(
        "CPU time per close", "microseconds; flat is good, low is better", series, "closes gathered"
    )


def _fails(records: list[Record], name: str) -> str:
    """Return the smallest size at which closes fail, for the label."""
    sizes = [r["size"] for r in records if r["candidate"] == name and r["failures"]]
    return f" (fails at {min(sizes):,})" if sizes else ""


def stall(records: list[Record]) -> str:
    """Return the chart of event loop stalls."""
    bars: list[Bar] = []
    size = max(record["size"] for record in records)
    for name, candidate in CANDIDATES.items():
        runs = [r for r in records if (r["candidate"], r["size"]) == (name, size)]
        p99 = Spread.of(r["stall_p99"] for r in runs if not r["failures"])
        longest = Spread.of(r["stall_max"] for r in runs if not r["failures"])
        if p99 and longest:
            note = f"{p99.median:.1f} ms (longest {longest.median:.1f})"
            bars.append(
                Bar(candidate.label, p99.median, longest.median, note, name.startswith("ours"))
            )
    return bar_chart(
        f"How long the event loop stands still while {size:,} closes are gathered",
        "99th percentile of samples, the line reaches to the longest; milliseconds",
        [Panel("", bars, 10.0, "10 ms")],
    )


def pacing(records: list[Record]) -> str:
    """Return the chart of the time to the last close with 100 requests per 60 s."""
    panels: list[Panel] = []
    for size in [size for size in sorted({r["size"] for r in records}) if floor(size)]:
        bars: list[Bar] = []
        for name, policy in POLICIES.items():
            runs = [r for r in records if (r["policy"], r["size"]) == (name, size)]
            if spread := Spread.of(r["seconds"] for r in runs):
                refused = any(r["refused"] for r in runs)
                note = f"{spread.median:,.0f} s" + (", refused (429)" if refused else "")
                bars.append(Bar(policy.label, spread.median, spread.high, note, name == "ours"))
        line = floor(size)
        panels.append(Panel(f"{size:,} closes", bars, line, f"floor {line:,.0f} s"))
    return bar_chart(
        "Time to the last close under 100 requests per 60 s",
        "seconds, median of simulated runs, the line reaches to the longest; red: the floor",
        panels,
    )


FIGURES = {"closes": growth, "stall": stall, "pacing": pacing}
FILES = {"closes": "growth.svg", "stall": "stall.svg", "pacing": "pacing.svg"}


def draw(folder: Path, results: dict[str, Any]) -> None:
    """Write the charts of all sections in the results."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, figure in FIGURES.items():
        if results.get(key):
            (folder / FILES[key]).write_text(figure(results[key]), encoding="utf-8")
