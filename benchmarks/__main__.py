"""Run all benchmarks: ``python -m benchmarks`` from the root of the repository.

Requests go to a server on 127.0.0.1 that the program starts and stops; every run is limited in
number of requests and time. ``--smoke`` runs everything once with tiny sizes, as a test.
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


def parse_arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="run everything once with tiny sizes")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        choices=[*SECTIONS, *CANDIDATES],
        help=f"section ({', '.join(SECTIONS)}) or candidate ({', '.join(CANDIDATES)}); repeatable",
    )
    parser.add_argument(
        "--repeat", type=int, default=5, metavar="K", help="runs of each measurement (5)"
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[100, 1_000, 10_000], help="numbers of closes"
    )
    parser.add_argument(
        "--latency", type=float, default=0.0, metavar="MS", help="latency of each answer (0)"
    )
    parser.add_argument(
        "--python-alternatives",
        metavar="PATH",
        help="Python with the alternatives installed; by default .venv-bench is created",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results")
    parser.add_argument(
        "--load", type=Path, metavar="FILE", help="read results instead of measuring"
    )
    parser.add_argument(
        "--markdown",
        type=Path,
        nargs="?",
        const=README,
        metavar="FILE",
        help="rewrite the tables of benchmarks/README.md and the charts in charts/ next to it",
    )
    return parser.parse_args(given)


def command(options: argparse.Namespace) -> str:
    """Return the command line without paths of this machine."""
    words = ["python", "-m", "benchmarks"]
    words += ["--smoke"] if options.smoke else []
    words += [word for name in options.only for word in ("--only", name)]
    words += ["--repeat", str(options.repeat), "--sizes", *map(str, options.sizes)]
    words += ["--latency", f"{options.latency:g}"] if options.latency else []
    return shlex.join(words)


def selected_candidates(options: argparse.Namespace, pythons: dict[str, str]) -> list[Candidate]:
    """Return the requested candidates whose libraries are installed."""
    names = [name for name in options.only if name in CANDIDATES] or list(CANDIDATES)
    candidates = [CANDIDATES[name] for name in names]
    installed = {
        home: environment.importable(python, {candidate.needs for candidate in candidates})
        for home, python in pythons.items()
    }
    missing = [c.name for c in candidates if c.needs not in installed[c.home]]
    if missing:
        log_progress(f"skipped, not installed: {', '.join(missing)}")
    return [candidate for candidate in candidates if candidate.name not in missing]


def log_progress(message: str) -> None:
    """Print to standard error."""
    print(message, file=sys.stderr, flush=True)


def measure_closes(
    options: argparse.Namespace, pythons: dict[str, str], sections: Sequence[str]
) -> list[Record]:
    """Measure the cost of closes and the stall of the event loop with every candidate."""
    candidates = selected_candidates(options, pythons)
    records: list[Record] = []
    stall_size = options.sizes[0] if options.smoke else 1_000
    with running_server(options.latency / 1e3) as server:
        modes: dict[str, tuple[Mode, list[int]]] = {
            "closes": ("cost", options.sizes),
            "stall": ("stall", [stall_size]),
        }
        for section, (mode, sizes) in modes.items():
            if section in sections:
                records += interleaved(
                    candidates,
                    pythons,
                    server,
                    sizes=sizes,
                    mode=mode,
                    repeats=options.repeat,
                    log=log_progress,
                )
    return records


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the requested measurements."""
    package_python = sys.executable
    alternatives_python = options.python_alternatives or (
        package_python if options.smoke else environment.alternatives_python()
    )
    pythons = {"package": package_python, "alternatives": alternatives_python}
    only_candidates = any(name in CANDIDATES for name in options.only)
    sections = [name for name in options.only if name in SECTIONS]
    sections = sections or (["closes", "stall"] if only_candidates else list(SECTIONS))
    results: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": command(options),
        "machine": environment.machine(),
        "load": [environment.load()],
        "versions": {home: environment.versions(python) for home, python in pythons.items()},
    }
    if {"closes", "stall"} & set(sections):
        records = measure_closes(options, pythons, sections)
        results["closes"] = [record for record in records if record["mode"] == "cost"]
        results["stall"] = [record for record in records if record["mode"] == "stall"]
    if "imports" in sections:
        log_progress("imports")
        lean = {"attrs", "cattrs"} <= environment.importable(
            alternatives_python, {"attrs", "cattrs"}
        )
        results["imports"] = measure_imports(
            alternatives_python if lean else package_python,
            1 if options.smoke else 3 * options.repeat,
        )
    if "parsing" in sections:
        log_progress("parsing")
        calls = "100" if options.smoke else "2000"
        repeats = str(options.repeat)
        output = environment.run_python(package_python, "-m", "benchmarks.parsing", repeats, calls)
        results["parsing"] = json.loads(output)
    if {"pacing", "reader"} & set(sections):
        results.update(simulations(options, sections))
    results["load"].append(environment.load())
    return results


def simulations(options: argparse.Namespace, sections: Sequence[str]) -> dict[str, Any]:
    """Run the sections in virtual time, which need no server."""
    from benchmarks.pacing import SIZES, simulate
    from benchmarks.reader import simulate_reader

    results: dict[str, Any] = {}
    if "pacing" in sections:
        log_progress("pacing")
        sizes = (LIMIT, 250) if options.smoke else SIZES
        results["pacing"] = list(simulate(sizes, options.repeat, list(POLICIES)))
    if "reader" in sections:
        log_progress("reader")
        results["reader"] = simulate_reader((1,) if options.smoke else (1, 90, 250), options.repeat)
    return results


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print, write; return 1 if a close of this package failed."""
    options = parse_arguments(given)
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
