"""The command in the background: what a shell lets it ignore, and how it is ended instead."""

import json
import signal
import sys
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from tests.cli.process import python

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

BEGIN = "import sys; from threecommas_async.cli import main; "
DEAF = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {BEGIN}sys.exit(main())"
PROGRAM = f"{BEGIN}sys.exit(main())"


def status_of(url: str) -> int:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=20)
    with closing(connection):
        connection.request("GET", "/")
        return connection.getresponse().status


def test_in_the_background_ctrl_c_is_not_meant_for_it_and_it_says_what_ends_it() -> None:
    with python(DEAF, "sandbox", "--trades", "1", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        told = process.stderr.readline()
        settings = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
        process.send_signal(signal.SIGINT)
        status = status_of(settings["THREECOMMAS_BASE_URL"])
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()

    assert status == 404  # it was still there to answer
    assert told.endswith(f"kill {process.pid} ends it.\n")
    assert "Served 1 requests" in err
    assert process.returncode == 0


@pytest.mark.parametrize("program", [PROGRAM, DEAF])
def test_terminated_in_the_middle_of_a_close_it_prints_a_report_and_nothing_else(
    program: str,
) -> None:
    with python(program, "demo", "--trades", "150", "--json") as process:
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
