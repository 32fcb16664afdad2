"""The benchmarks run, count their closes, and write tables and charts; nothing is timed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import report
from benchmarks.candidates import CANDIDATES
from benchmarks.pacing import PENALTY, RateLimitedServer, close_everything, floor
from benchmarks.policies import LIMIT
from benchmarks.spread import Spread, ratio
from benchmarks.virtual_time import run_in_virtual_time

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "benchmarks" / "README.md"


@pytest.mark.slow
def test_smoke_run_measures_every_part_and_writes_the_report(tmp_path: Path) -> None:
    page, results_file = tmp_path / "README.md", tmp_path / "results.json"
    page.write_text(README.read_text(encoding="utf-8"), encoding="utf-8")
    run = subprocess.run(  # noqa: S603 - our own program
        [
            sys.executable,
            *("-m", "benchmarks", "--smoke"),
            *("--json", str(results_file), "--markdown", str(page)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    results = json.loads(results_file.read_text(encoding="utf-8"))
    ours = [record for record in results["closes"] if record["candidate"] == "ours"]
    assert [record["failures"] for record in ours] == [{}]
    assert ours[0]["posts"] == 2 * ours[0]["size"]  # the warm-up, and the closes
    assert ours[0]["connections"] <= 20
    assert {record["candidate"] for record in results["stall"]} >= {"ours", "ours-rsa", "idle"}
    assert all(not record["failures"] for record in results["stall"])
    assert all(results[part] for part in ("imports", "parsing", "pacing", "reader"))
    assert report.markdown(results) in page.read_text(encoding="utf-8")
    for name in ("growth", "stall", "pacing"):
        assert ET.parse(tmp_path / "charts" / f"{name}.svg").getroot().tag.endswith("svg")  # noqa: S314 - written above


def test_simulated_server_refuses_requests_above_the_limit_and_blocks_for_the_penalty() -> None:
    server = RateLimitedServer("rolling")

    assert [server.arrival(1.0) for _ in range(LIMIT)] == [None] * LIMIT
    assert server.arrival(60.9) == 60.9 + PENALTY
    assert server.arrival(61.5) == 60.9 + PENALTY
    assert server.arrival(60.9 + PENALTY) is None
    assert server.refused == 2


def test_fixed_window_of_the_simulated_server_resets_at_once() -> None:
    server = RateLimitedServer("fixed")

    for moment in range(LIMIT):
        assert server.arrival(moment * 0.5) is None
    assert server.arrival(60.0) is None
    assert server.refused == 0


def test_unpaced_closes_are_penalized_and_closes_of_the_client_are_not() -> None:
    unpaced = run_in_virtual_time(close_everything("gather", 101, "rolling", "steady", seed=1))
    ours = run_in_virtual_time(close_everything("ours", 101, "rolling", "steady", seed=1))

    assert unpaced.refused == 1
    assert unpaced.seconds > PENALTY
    assert ours.refused == 0
    assert floor(101) <= ours.seconds < floor(101) + 2


def test_virtual_time_raises_if_nothing_can_happen_any_more() -> None:
    async def wait_for_nothing() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="never happens"):
        run_in_virtual_time(wait_for_nothing())


def test_ratio_is_computed_within_each_repeat() -> None:
    assert ratio({0: 1.0, 1: 4.0, 2: 9.0}, {0: 2.0, 1: 4.0}) == Spread(0.75, 0.5, 1.0)
    assert ratio({}, {}) is None


def test_every_candidate_belongs_to_one_environment() -> None:
    assert {candidate.home for candidate in CANDIDATES.values()} == {"package", "alternatives"}
    assert all(name == candidate.name for name, candidate in CANDIDATES.items())
