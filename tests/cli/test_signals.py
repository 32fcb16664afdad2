"""Commands in the background, where SIGINT is ignored, and SIGTERM."""

import json
import signal
import sys
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from tests.cli.process import run_python

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

IMPORTS = "import sys; from threecommas_async.cli import main; "
IGNORING_SIGINT = (
    f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {IMPORTS}sys.exit(main())"
)
PROGRAM = f"{IMPORTS}sys.exit(main())"


def status_of(url: str) -> int:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=20)
    with closing(connection):
        connection.request("GET", "/")
        return connection.getresponse().status


def test_background_sandbox_ignores_ctrl_c_and_says_how_to_end_it() -> None:
    with run_python(IGNORING_SIGINT, "sandbox", "--trades", "1", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        message = process.stderr.readline()
        settings = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
        process.send_signal(signal.SIGINT)
        status = status_of(settings["THREECOMMAS_BASE_URL"])
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()

    assert status == 404  # SIGINT has not ended it
    assert message.endswith(f"kill {process.pid} ends it.\n")
    assert "Served 1 requests" in err
    assert process.returncode == 0


@pytest.mark.parametrize("program", [PROGRAM, IGNORING_SIGINT])
def test_sigterm_during_a_close_prints_the_report_without_a_traceback(
    program: str,
) -> None:
    with run_python(program, "demo", "--trades", "150", "--json") as process:
        assert process.stderr is not None
        while "The market turns" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()

    report = json.loads(out)
    assert process.returncode == 143
    assert report["counts"]["not_sent"] >= 52
    assert len(report["outcomes"]) == 150
    assert report["ledger"]["agrees"] is True
    assert "Traceback" not in err
