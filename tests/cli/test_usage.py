"""Usage, help, and being told what is missing."""

import asyncio
import importlib.util
import signal
import sys
from importlib.machinery import ModuleSpec

import pytest

import threecommas_async
from tests.cli.conftest import Run
from threecommas_async.cli import main
from threecommas_async.cli.app import start

CLOSING = (
    "trades close",
    "trades close-all",
    "trades cancel",
    "deals close",
    "deals close-all",
)
COMMANDS = (
    *("demo", "sandbox", "validate", "trades", "trades list", "trades show", "trades watch"),
    *("deals", "deals list"),
    *CLOSING,
)


async def test_help_names_the_commands_and_where_the_key_comes_from(cli: Run) -> None:
    ran = await cli("--help")

    assert ran.status == 0
    assert all(command in ran.out for command in ("demo", "sandbox", "validate", "trades", "deals"))
    assert "THREECOMMAS_API_KEY" in ran.out
    assert "never from an argument" in " ".join(ran.out.split())


async def test_no_command_at_all_is_a_question_for_help(cli: Run) -> None:
    ran = await cli()

    assert ran.status == 0
    assert "Usage: threecommas COMMAND" in ran.out


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_has_help_and_none_takes_a_key(cli: Run, command: str) -> None:
    ran = await cli(*command.split(), "--help")

    assert ran.status == 0
    assert ran.err == ""
    assert not [word for word in ("--api-key", "--secret", "--private-key") if word in ran.out]


@pytest.mark.parametrize("command", CLOSING)
async def test_whatever_closes_can_be_told_not_to_ask_and_not_to_do_it(
    cli: Run, command: str
) -> None:
    ran = await cli(*command.split(), "--help")

    assert all(option in ran.out for option in ("--yes", "--dry-run", "--json", "--deadline"))


async def test_the_help_says_that_closing_a_whole_bot_disables_it(cli: Run) -> None:
    ran = await cli("deals", "close-all", "--help")

    words = " ".join(ran.out.split())
    assert "With --bot-id and no other filter the whole bot is closed with one request" in words
    assert "WHICH ALSO DISABLES THE BOT" in words


async def test_the_version_is_that_of_the_package(cli: Run) -> None:
    ran = await cli("--version")

    assert (ran.status, ran.out.strip()) == (0, threecommas_async.__version__)


@pytest.mark.parametrize(
    "arguments",
    [
        ("close",),
        ("trades", "close"),
        ("trades", "close", "abc"),
        ("trades", "close", "0"),
        ("trades", "close", "1", "--deadline", "-1"),
        ("trades", "list", "--status", "open"),
        ("trades", "close-all", "1"),
        ("trades", "close-all", "--pending", "close"),
        ("trades", "cancel"),
        ("trades", "watch"),
        ("trades", "watch", "1", "--timeout", "-1"),
        ("deals", "close"),
        ("deals", "close-all", "--bot-id", "0"),
        ("deals", "list", "--scope", "all"),
        ("demo", "--faults", "1.1"),
        ("trades", "list", "--rate-limit", "0"),
        ("demo", "--trades", "0"),
        ("sandbox", "--port", "65536"),
        ("sandbox", "--time-scale", "0"),
        ("validate", "--secret", "s3cr3t"),
    ],
    ids=" ".join,
)
async def test_what_is_not_understood_is_one_line_on_standard_error(
    cli: Run, arguments: tuple[str, ...]
) -> None:
    ran = await cli(*arguments)

    assert ran.status == 2
    assert ran.out == ""
    assert ran.err.startswith("threecommas: ")
    assert ran.err.count("\n") == 1
    assert "s3cr3t" not in ran.err


async def test_a_program_is_told_of_wrong_usage_as_json(cli: Run) -> None:
    ran = await cli("trades", "show", "abc", "--json")

    assert ran.status == 2
    assert ran.data["error"]["type"] == "UsageError"


def test_the_program_runs_the_command_of_its_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["threecommas", "--version"])

    assert main() == 0
    assert capsys.readouterr().out.strip() == threecommas_async.__version__


@pytest.mark.parametrize(
    ("absent", "named"), [({"rich"}, "rich"), ({"cyclopts", "aiohttp"}, "cyclopts and aiohttp")]
)
def test_without_its_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    absent: set[str],
    named: str,
) -> None:
    find_spec = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name in absent else find_spec(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)

    assert main() == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"threecommas: {named} not installed")
    assert "pip install 'threecommas-async[cli]'" in captured.err


def test_ctrl_c_has_the_exit_status_that_shells_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("threecommas_async.cli.app.run", interrupted)

    assert start(["validate"]) == 130


def test_termination_has_the_exit_status_that_shells_expect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def terminated(_: object) -> int:
        signal.raise_signal(signal.SIGTERM)
        await asyncio.Event().wait()
        return 0

    monkeypatch.setattr("threecommas_async.cli.app.run", terminated)

    assert start(["validate"]) == 143
