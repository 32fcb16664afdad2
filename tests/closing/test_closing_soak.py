"""A small soak run closes everything and writes its page. The full run is `make soak`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("over", [[], ["--speed"]], ids=["own connections", "extra speed"])
def test_small_soak_closes_all_trades_and_writes_its_tables(
    over: list[str], tmp_path: Path
) -> None:
    page = tmp_path / "soak.md"
    page.write_text((ROOT / "docs" / "soak.md").read_text(encoding="utf-8"), encoding="utf-8")
    options = ["--trades", "40", "--faults", "0.3", *over, "--markdown", str(page)]
    run = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "benchmarks.soak", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    written = page.read_text(encoding="utf-8")
    assert run.stdout.strip() in written
    results = dict(re.findall(r"^\| ([^|]+) \| ([\d,]+) \|$", written, re.MULTILINE))
    assert results["trades"] == "40"
    assert int(results["faults injected"]) > 0
    assert results["outcomes that contradict the ledger"] == "0"
    assert results["closes POSTed again after they had been carried out"] == "0"
    assert results["trades not closed in the end"] == "0"
