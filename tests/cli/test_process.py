"""Commands in a subprocess: Ctrl-C, exit status, standard streams."""

import asyncio
import json
import signal
import sys

import pytest

from tests.cli.process import run_python

# Tests started by `nohup` or with `&` ignore SIGINT, and subprocesses inherit that: reset it.
PROGRAM = """
import signal, sys
from threecommas_async.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@pytest.mark.slow
async def test_ctrl_c_during_a_close_prints_the_report_without_a_traceback() -> None:
    with run_python(PROGRAM, "demo", "--trades", "150", "--json") as process:
        assert process.stderr is not None
        while "The market turns" not in process.stderr.readline():
            pass
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()

    report = json.loads(out)
    assert process.returncode == 130
    assert report["counts"]["not_sent"] >= 52
    assert len(report["outcomes"]) == 150
    assert report["ledger"]["agrees"] is True
    assert "Traceback" not in err


async def test_ctrl_c_ends_the_sandbox_with_status_0() -> None:
    with run_python(PROGRAM, "sandbox", "--trades", "1") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()

    assert all(line.startswith("export THREECOMMAS_") for line in lines)
    assert process.returncode == 0
    assert "Traceback" not in err
