"""The results as Markdown: conditions, tables and goals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.candidates import CANDIDATES
from benchmarks.goals import goals
from benchmarks.imports import HTTPX
from benchmarks.measure import Record
from benchmarks.pacing import floor
from benchmarks.policies import POLICIES
from benchmarks.spread import Spread, ratio, show, values

BEGIN = "<!-- results: begin -->"
END = "<!-- results: end -->"

Results = dict[str, Any]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is left-aligned, the others right-aligned."""
    lines = [head, [":--", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def measured(records: Sequence[Record], mode: str) -> tuple[list[str], list[int]]:
    """Return the candidates (in the order of `CANDIDATES`) and the sizes in the records."""
    found = [record for record in records if record["mode"] == mode]
    names = {record["candidate"] for record in found}
    sizes = sorted({record["size"] for record in found})
    return [name for name in CANDIDATES if name in names], sizes


def values_of(
    records: Sequence[Record], key: str, candidate: str, size: int, mode: str = "cost"
) -> dict[int, float]:
    """Return the values of a candidate at a size by repeat; costs only of runs without failures."""
    complete = mode == "cost"
    return values(records, key, complete=complete, candidate=candidate, size=size, mode=mode)


def size_headers(sizes: Sequence[int]) -> list[str]:
    """Return column headers for sizes."""
    return [f"N = {size:,}" for size in sizes]


def failed(records: Sequence[Record], candidate: str, size: int, mode: str) -> str:
    """Return the failures of the worst run as text; empty if there were none."""
    runs: list[dict[str, int]] = [
        record["failures"]
        for record in records
        if (record["candidate"], record["size"], record["mode"]) == (candidate, size, mode)
    ]
    worst = max(runs, key=lambda run: sum(run.values())) if runs else {}
    return ", ".join(f"{count:,} x {kind}" for kind, count in worst.items())


def cost_table(records: Sequence[Record]) -> str:
    """Return the table of CPU time per close and its growth."""
    names, sizes = measured(records, "cost")
    rows: list[list[str]] = []
    for name in names:
        cells = [
            failed(records, name, size, "cost")
            or show(Spread.of(values_of(records, "cpu_us", name, size).values()))
            for size in sizes
        ]
        growth = ratio(
            values_of(records, "cpu_us", name, sizes[-1]),
            values_of(records, "cpu_us", name, sizes[0]),
        )
        rows.append([CANDIDATES[name].label, *cells, show(growth, 2)])
    return table(["CPU µs per close", *size_headers(sizes), "growth"], rows)


def ratio_table(
    records: Sequence[Record], key: str, title: str, ours: Sequence[str] = ("ours",)
) -> str:
    """Return the table of ratios of this package to the others, within each repeat."""
    names, sizes = measured(records, "cost")
    rows = [
        [
            CANDIDATES[name].label + (", extra speed" if our == "ours-speed" else ""),
            *(
                show(
                    ratio(values_of(records, key, our, size), values_of(records, key, name, size)),
                    2,
                )
                for size in sizes
            ),
        ]
        for our in ours
        if our in names
        for name in names
        if not name.startswith("ours")
    ]
    return table([title, *size_headers(sizes)], rows)


def memory_table(records: Sequence[Record]) -> str:
    """Return the table of memory and connections at the largest sizes."""
    names, sizes = measured(records, "cost")
    sizes = [size for size in sizes if size >= 1_000] or sizes
    rows: list[list[str]] = []
    for name in names:
        cells = [
            show(Spread.of(v / 1024 for v in values_of(records, "memory", name, size).values()), 1)
            for size in sizes
        ]
        connections = [record["connections"] for record in records if record["candidate"] == name]
        rows.append([CANDIDATES[name].label, *cells, f"{max(connections):,}"])
    head = [
        "peak memory per close, results kept, KB",
        *size_headers(sizes),
        "connections opened, at most",
    ]
    return table(head, rows)


def stall_table(records: Sequence[Record]) -> str:
    """Return the table of event loop stalls."""
    names, sizes = measured(records, "stall")
    keys = ("stall_p50", "stall_p99", "stall_max")
    rows = [
        [
            CANDIDATES[name].label,
            *(
                show(Spread.of(values_of(records, key, name, size, "stall").values()), 1)
                for key in keys
            ),
            failed(records, name, size, "stall") or "none",
        ]
        for size in sizes[-1:]
        for name in names
    ]
    return table(["stall of the event loop, ms", "median", "p99", "longest", "failed"], rows)


def import_table(records: Sequence[Record]) -> str:
    """Return the table of import costs."""
    httpx = values(records, "cpu_ms", statement=HTTPX)
    rows = [
        [
            f"`{statement}`",
            show(Spread.of(found.values()), 1),
            show(ratio(found, httpx), 2),
        ]
        for statement in dict.fromkeys(record["statement"] for record in records)
        for found in [values(records, "cpu_ms", statement=statement)]
    ]
    return table(["statement", "CPU ms", "to httpx"], rows)


def parsing_table(records: Sequence[Record]) -> str:
    """Return the table of parsing costs."""
    labels = {
        "json": "`json.loads` alone, floats",
        "json-decimal": "`json.loads` alone, exact decimals",
        "cattrs": "plain cattrs on exact decimals, same classes",
        "ours": "threecommas-async, same classes",
    }
    names = {"body": "the body of a close", "page": "a page of 100 trades"}
    rows: list[list[str]] = []
    for what, how in dict.fromkeys((record["what"], record["how"]) for record in records):
        found = values(records, "cpu_us", what=what, how=how)
        plain = values(records, "cpu_us", what=what, how="cattrs")
        cells = [show(Spread.of(found.values()), 1), show(ratio(found, plain), 2)]
        rows.append([f"{names[what]}: {labels[how]}", *cells])
    return table(["parsing", "CPU µs", "to plain cattrs"], rows)


def pacing_table(records: Sequence[Record]) -> str:
    """Return the table of times to the last close and of refusals."""
    sizes = sorted({record["size"] for record in records})
    rows = [
        [
            POLICIES[policy].label,
            *(
                show(Spread.of(r["seconds"] for r in runs if r["size"] == size), 1)
                for size in sizes
            ),
            f"{sum(1 for r in runs if r['refused']):,} of {len(runs):,}",
        ]
        for policy in dict.fromkeys(record["policy"] for record in records)
        for runs in [[record for record in records if record["policy"] == policy]]
    ]
    rows.append(["floor", *(f"{floor(size):,.0f}" for size in sizes), ""])
    return table(["seconds to the last close", *size_headers(sizes), "runs refused (429)"], rows)


def reader_table(records: Sequence[Record]) -> str:
    """Return the table of the waits of closes while readers saturate the limit."""
    rows = [
        [
            f"{closes:,}",
            show(Spread.of(r["first_waited"] for r in runs), 1),
            show(Spread.of(r["last_waited"] for r in runs), 1),
            str(max(r["overtaken"] for r in runs)),
        ]
        for closes in dict.fromkeys(record["closes"] for record in records)
        for runs in [[record for record in records if record["closes"] == closes]]
    ]
    head = ["closes issued at once", "first left after s", "last left after s"]
    return table([*head, "reads that left before one of them"], rows)


def goal_table(results: Results) -> str:
    """Return the table of goals, measurements and verdicts."""
    rows = [
        [goal.label, goal.target, show(goal.measured, goal.digits), goal.verdict]
        for goal in goals(results)
    ]
    return table(["goal", "at most", "measured", "met"], rows)


def conditions(results: Results) -> str:
    """Return the conditions of the measurement as a list."""
    machine, versions = results["machine"], results["versions"]
    lines = [f"- Date: {results['date']}; command: `{results['command']}`"]
    where = f"{machine['cores']} cores, {machine['architecture']}, {machine['system']}"
    begin, end = results["load"]
    load = f"load {begin} when it began, {end} at the end (with the run itself)"
    lines.append(f"- Machine: {where}, Python {machine['python']}; {load}")
    for home, title in (("package", "Our environment"), ("alternatives", "The alternatives'")):
        found = ", ".join(f"{name} {version}" for name, version in versions[home].items())
        lines.append(f"- {title}: {found}")
    lines.append("- Figures are medians, with the least and the greatest run in brackets.")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the report: a table made from the results under `key`."""

    key: str
    title: str
    make: Callable[[list[Record]], str]
    chart: str = ""


def cpu_ratios(records: Sequence[Record]) -> str:
    """Return the table of CPU time ratios."""
    return ratio_table(records, "cpu_us", "our CPU time ÷ that of", ("ours", "ours-speed"))


def wall_ratios(records: Sequence[Record]) -> str:
    """Return the table of wall time ratios."""
    return ratio_table(records, "wall_us", "our wall time ÷ that of")


SECTIONS = (
    Section("closes", "What a gathered close costs", cost_table, "growth"),
    Section("closes", "Ours divided by theirs: CPU", cpu_ratios),
    Section("closes", "Ours divided by theirs: time on the clock", wall_ratios),
    Section("closes", "Memory and connections", memory_table),
    Section("stall", "The event loop meanwhile", stall_table, "stall"),
    Section("imports", "Importing", import_table),
    Section("parsing", "Parsing", parsing_table),
    Section("pacing", "Pacing: 100 per 60 s, in virtual time", pacing_table, "pacing"),
    Section("reader", "Closes beside a saturating reader, in virtual time", reader_table),
)


def markdown(results: Results) -> str:
    """Return the whole report."""
    parts = [conditions(results)]
    for section in SECTIONS:
        if records := results.get(section.key):
            parts += [f"### {section.title}", section.make(records)]
            if section.chart:
                parts.append(f"![{section.chart}](charts/{section.chart}.svg)")
    parts += ["### The goals", goal_table(results)]
    return "\n\n".join(parts)


def rewrite(path: Path, results: Results) -> None:
    """Write the report between the markers of a Markdown file."""
    page = path.read_text(encoding="utf-8")
    before, after = page.index(BEGIN) + len(BEGIN), page.index(END)
    path.write_text(f"{page[:before]}\n\n{markdown(results)}\n\n{page[after:]}", encoding="utf-8")
