"""The results as Markdown: what was measured where, tables, and the goals they are held against."""

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
    """A Markdown table, the first column left, the others right."""
    lines = [head, [":--", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def measured(records: Sequence[Record], mode: str) -> tuple[list[str], list[int]]:
    """The candidates and sizes in the records, in the order of the list of candidates."""
    found = [record for record in records if record["mode"] == mode]
    names = {record["candidate"] for record in found}
    sizes = sorted({record["size"] for record in found})
    return [name for name in CANDIDATES if name in names], sizes


def of(
    records: Sequence[Record], key: str, candidate: str, size: int, mode: str = "cost"
) -> dict[int, float]:
    """The values of one candidate at one size, by repeat; no cost of runs with failures."""
    complete = mode == "cost"
    return values(records, key, complete=complete, candidate=candidate, size=size, mode=mode)


def heads(sizes: Sequence[int]) -> list[str]:
    """Column heads for sizes."""
    return [f"N = {size:,}" for size in sizes]


def failed(records: Sequence[Record], candidate: str, size: int, mode: str) -> str:
    """How many of the closes failed in the worst run, and how; empty if none."""
    runs: list[dict[str, int]] = [
        record["failures"]
        for record in records
        if (record["candidate"], record["size"], record["mode"]) == (candidate, size, mode)
    ]
    worst = max(runs, key=lambda run: sum(run.values())) if runs else {}
    return ", ".join(f"{count:,} x {kind}" for kind, count in worst.items())


def cost_table(records: Sequence[Record]) -> str:
    """CPU time per close, and how it grows."""
    names, sizes = measured(records, "cost")
    rows: list[list[str]] = []
    for name in names:
        cells = [
            failed(records, name, size, "cost")
            or show(Spread.of(of(records, "cpu_us", name, size).values()))
            for size in sizes
        ]
        growth = ratio(
            of(records, "cpu_us", name, sizes[-1]), of(records, "cpu_us", name, sizes[0])
        )
        rows.append([CANDIDATES[name].label, *cells, show(growth, 2)])
    return table(["CPU µs per close", *heads(sizes), "growth"], rows)


def ratio_table(
    records: Sequence[Record], key: str, title: str, ours: Sequence[str] = ("ours",)
) -> str:
    """Ours divided by each of the others, run by run of the same repeat."""
    names, sizes = measured(records, "cost")
    rows = [
        [
            CANDIDATES[name].label + (", extra speed" if our == "ours-speed" else ""),
            *(
                show(ratio(of(records, key, our, size), of(records, key, name, size)), 2)
                for size in sizes
            ),
        ]
        for our in ours
        if our in names
        for name in names
        if not name.startswith("ours")
    ]
    return table([title, *heads(sizes)], rows)


def memory_table(records: Sequence[Record]) -> str:
    """Memory and connections at the greatest sizes."""
    names, sizes = measured(records, "cost")
    sizes = [size for size in sizes if size >= 1_000] or sizes
    rows: list[list[str]] = []
    for name in names:
        cells = [
            show(Spread.of(v / 1024 for v in of(records, "memory", name, size).values()), 1)
            for size in sizes
        ]
        connections = [record["connections"] for record in records if record["candidate"] == name]
        rows.append([CANDIDATES[name].label, *cells, f"{max(connections):,}"])
    head = ["peak memory per close, results kept, KB", *heads(sizes), "connections opened, at most"]
    return table(head, rows)


def stall_table(records: Sequence[Record]) -> str:
    """How late the event loop gets."""
    names, sizes = measured(records, "stall")
    keys = ("stall_p50", "stall_p99", "stall_max")
    rows = [
        [
            CANDIDATES[name].label,
            *(show(Spread.of(of(records, key, name, size, "stall").values()), 1) for key in keys),
            failed(records, name, size, "stall") or "none",
        ]
        for size in sizes[-1:]
        for name in names
    ]
    return table(["stall of the event loop, ms", "median", "p99", "longest", "failed"], rows)


def import_table(records: Sequence[Record]) -> str:
    """What importing costs."""
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
    """What parsing costs."""
    labels = {
        "json": "`json.loads` alone, floats",
        "json-decimal": "`json.loads` alone, exact decimals",
        "cattrs": "plain cattrs on exact decimals, same classes",
        "ours": "threecommas-async, same classes",
    }
    names = {"body": "the seed's body", "page": "a page of 100 trades"}
    rows: list[list[str]] = []
    for what, how in dict.fromkeys((record["what"], record["how"]) for record in records):
        found = values(records, "cpu_us", what=what, how=how)
        plain = values(records, "cpu_us", what=what, how="cattrs")
        cells = [show(Spread.of(found.values()), 1), show(ratio(found, plain), 2)]
        rows.append([f"{names[what]}: {labels[how]}", *cells])
    return table(["parsing", "CPU µs", "to plain cattrs"], rows)


def pacing_table(records: Sequence[Record]) -> str:
    """When the last close was answered, and how often the server refused."""
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
    return table(["seconds to the last close", *heads(sizes), "runs refused (429)"], rows)


def reader_table(records: Sequence[Record]) -> str:
    """What closes wait for beside a saturating reader."""
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
    """Every goal, what came out, and whether it was met."""
    rows = [
        [goal.what, goal.target, show(goal.measured, goal.digits), goal.verdict]
        for goal in goals(results)
    ]
    return table(["goal", "at most", "measured", "met"], rows)


def conditions(results: Results) -> str:
    """Where, when and how it was measured."""
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
    """A table under a title, from what lies under a key of the results."""

    key: str
    title: str
    make: Callable[[list[Record]], str]
    chart: str = ""


def cpu_ratios(records: Sequence[Record]) -> str:
    """Ours to theirs in CPU time."""
    return ratio_table(records, "cpu_us", "our CPU time ÷ that of", ("ours", "ours-speed"))


def wall_ratios(records: Sequence[Record]) -> str:
    """Ours to theirs on the clock."""
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
    """All tables of what was measured."""
    parts = [conditions(results)]
    for section in SECTIONS:
        if records := results.get(section.key):
            parts += [f"### {section.title}", section.make(records)]
            if section.chart:
                parts.append(f"![{section.chart}](charts/{section.chart}.svg)")
    parts += ["### The goals", goal_table(results)]
    return "\n\n".join(parts)


def rewrite(path: Path, results: Results) -> None:
    """Put the tables between the markers of a Markdown file."""
    page = path.read_text(encoding="utf-8")
    before, after = page.index(BEGIN) + len(BEGIN), page.index(END)
    path.write_text(f"{page[:before]}\n\n{markdown(results)}\n\n{page[after:]}", encoding="utf-8")
