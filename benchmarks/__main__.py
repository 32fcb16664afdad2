"""Measure everything side by side: ``python -m benchmarks`` from the root of the repository.

Loads go to a server on 127.0.0.1 that the program starts and stops; every run is bounded in number
and time. With ``--smoke`` everything runs once and tiny, to see that it works.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import environment, figures, report
from benchmarks.candidates import CANDIDATES, Candidate, Mode
from benchmarks.imports import measure_imports
from benchmarks.measure import Record, interleaved, running_server
from benchmarks.policies import LIMIT, POLICIES

README = Path(__file__).with_name("README.md")
SECTIONS = ("closes", "stall", "imports", "parsing", "pacing", "reader")


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What the user asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="everything once and tiny")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        choices=[*SECTIONS, *CANDIDATES],
        help=f"a part ({', '.join(SECTIONS)}) or a candidate ({', '.join(CANDIDATES)}); repeatable",
    )
    parser.add_argument("--repeat", type=int, default=5, metavar="K", help="runs of each (5)")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[100, 1_000, 10_000], help="numbers of closes"
    )
    parser.add_argument(
        "--latency", type=float, default=0.0, metavar="MS", help="of each answer (0)"
    )
    parser.add_argument(
        "--python-alternatives", metavar="PATH", help="instead of an environment of our own making"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results")
    parser.add_argument("--load", type=Path, metavar="FILE", help="do not measure, read results")
    parser.add_argument(
        "--markdown",
        type=Path,
        nargs="?",
        const=README,
        metavar="FILE",
        help="rewrite the tables of benchmarks/README.md, and the pictures in charts/ beside it",
    )
    return parser.parse_args(given)


def command(options: argparse.Namespace) -> str:
    """The command without paths of this machine."""
    words = ["python", "-m", "benchmarks"]
    words += ["--smoke"] if options.smoke else []
    words += [word for name in options.only for word in ("--only", name)]
    words += ["--repeat", str(options.repeat), "--sizes", *map(str, options.sizes)]
    words += ["--latency", f"{options.latency:g}"] if options.latency else []
    return shlex.join(words)


def chosen(options: argparse.Namespace, pythons: dict[str, str]) -> list[Candidate]:
    """The candidates asked for whose libraries are there."""
    names = [name for name in options.only if name in CANDIDATES] or list(CANDIDATES)
    candidates = [CANDIDATES[name] for name in names]
    found = {
        home: environment.importable(python, {candidate.needs for candidate in candidates})
        for home, python in pythons.items()
    }
    missing = [c.name for c in candidates if c.needs not in found[c.home]]
    if missing:
        tell(f"left out, not installed: {', '.join(missing)}")
    return [candidate for candidate in candidates if candidate.name not in missing]


def tell(what: str) -> None:
    """Show how far it is."""
    print(what, file=sys.stderr, flush=True)


def loads(
    options: argparse.Namespace, pythons: dict[str, str], parts: Sequence[str]
) -> list[Record]:
    """The closes through every candidate: what they cost, and how the event loop fares."""
    candidates = chosen(options, pythons)
    records: list[Record] = []
    stall_size = options.sizes[0] if options.smoke else 1_000
    with running_server(options.latency / 1e3) as server:
        modes: dict[str, tuple[Mode, list[int]]] = {
            "closes": ("cost", options.sizes),
            "stall": ("stall", [stall_size]),
        }
        for part, (mode, sizes) in modes.items():
            if part in parts:
                records += interleaved(
                    candidates,
                    pythons,
                    server,
                    sizes=sizes,
                    mode=mode,
                    repeats=options.repeat,
                    tell=tell,
                )
    return records


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all that was asked for."""
    here = sys.executable
    there = options.python_alternatives or (
        here if options.smoke else environment.alternatives_python()
    )
    pythons = {"package": here, "alternatives": there}
    only_candidates = any(name in CANDIDATES for name in options.only)
    parts = [name for name in options.only if name in SECTIONS]
    parts = parts or (["closes", "stall"] if only_candidates else list(SECTIONS))
    results: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": command(options),
        "machine": environment.machine(),
        "load": [environment.load()],
        "versions": {home: environment.versions(python) for home, python in pythons.items()},
    }
    if {"closes", "stall"} & set(parts):
        records = loads(options, pythons, parts)
        results["closes"] = [record for record in records if record["mode"] == "cost"]
        results["stall"] = [record for record in records if record["mode"] == "stall"]
    if "imports" in parts:
        tell("imports")
        lean = {"attrs", "cattrs"} <= environment.importable(there, {"attrs", "cattrs"})
        results["imports"] = measure_imports(
            there if lean else here, 1 if options.smoke else 3 * options.repeat
        )
    if "parsing" in parts:
        tell("parsing")
        calls = "100" if options.smoke else "2000"
        repeats = str(options.repeat)
        output = environment.run_python(here, "-m", "benchmarks.parsing", repeats, calls)
        results["parsing"] = json.loads(output)
    if {"pacing", "reader"} & set(parts):
        results.update(simulations(options, parts))
    results["load"].append(environment.load())
    return results


def simulations(options: argparse.Namespace, parts: Sequence[str]) -> dict[str, Any]:
    """The parts in virtual time; they need the package, and nothing of its network."""
    from benchmarks.pacing import SIZES, simulate
    from benchmarks.reader import simulate_reader

    found: dict[str, Any] = {}
    if "pacing" in parts:
        tell("pacing")
        sizes = (LIMIT, 250) if options.smoke else SIZES
        found["pacing"] = list(simulate(sizes, options.repeat, list(POLICIES)))
    if "reader" in parts:
        tell("reader")
        found["reader"] = simulate_reader((1,) if options.smoke else (1, 90, 250), options.repeat)
    return found


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print, write. The status is 1 if one of our own closes failed."""
    options = arguments(given)
    if options.smoke:
        options.repeat, options.sizes = 1, [20]
    results: dict[str, Any] = (
        json.loads(options.load.read_text()) if options.load else measure(options)
    )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    if options.markdown:
        report.rewrite(options.markdown, results)
        figures.draw(options.markdown.parent / "charts", results)
    print(report.markdown(results))
    ours = [r for r in results.get("closes", []) if r["candidate"] == "ours"]
    return 1 if any(record["failures"] for record in ours) else 0


if __name__ == "__main__":
    sys.exit(main())
