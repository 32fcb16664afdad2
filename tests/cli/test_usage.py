"""Help, usage errors, missing packages, exit statuses of signals."""

import asyncio
import importlib.util
import signal
import sys
from importlib.machinery import ModuleSpec

import pytest

import threecommas_async
from tests.cli.conftest import RunCommand
from threecommas_async.cli import main
from threecommas_async.cli.app import run_blocking

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


async def test_help_names_the_commands_and_the_source_of_the_key(cli: RunCommand) -> None:
    result = await cli("--help")

    assert result.status == 0
    assert all(
        command in result.out for command in ("demo", "sandbox", "validate", "trades", "deals")
    )
    assert "THREECOMMAS_API_KEY" in result.out
    assert "never from an argument" in " ".join(result.out.split())


async def test_no_arguments_print_the_help(cli: RunCommand) -> None:
    result = await cli()

    assert result.status == 0
    assert "Usage: threecommas COMMAND" in result.out


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_has_help_and_no_option_for_a_key(
    cli: RunCommand, command: str
) -> None:
    result = await cli(*command.split(), "--help")

    assert result.status == 0
    assert result.err == ""
    assert not [word for word in ("--api-key", "--secret", "--private-key") if word in result.out]


@pytest.mark.parametrize("command", CLOSING)
async def test_every_closing_command_has_yes_dry_run_json_and_deadline(
    cli: RunCommand, command: str
) -> None:
    result = await cli(*command.split(), "--help")

    assert all(option in result.out for option in ("--yes", "--dry-run", "--json", "--deadline"))


async def test_help_says_that_closing_a_whole_bot_disables_it(cli: RunCommand) -> None:
    result = await cli("deals", "close-all", "--help")

    words = " ".join(result.out.split())
    assert "With --bot-id and no other filter the whole bot is closed with one request" in words
    assert "WHICH ALSO DISABLES THE BOT" in words


async def test_version_is_that_of_the_package(cli: RunCommand) -> None:
    result = await cli("--version")

    assert (result.status, result.out.strip()) == (0, threecommas_async.__version__)


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
async def test_usage_error_is_one_line_on_standard_error(
    cli: RunCommand, arguments: tuple[str, ...]
) -> None:
    result = await cli(*arguments)

    assert result.status == 2
    assert result.out == ""
    assert result.err.startswith("threecommas: ")
    assert result.err.count("\n") == 1
    assert "s3cr3t" not in result.err


async def test_usage_error_is_printed_as_json(cli: RunCommand) -> None:
    result = await cli("trades", "show", "abc", "--json")

    assert result.status == 2
    assert result.data["error"]["type"] == "UsageError"


def test_main_runs_the_command_in_sys_argv(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["threecommas", "--version"])

    assert main() == 0
    assert capsys.readouterr().out.strip() == threecommas_async.__version__


@pytest.mark.parametrize(
    ("absent", "named"), [({"rich"}, "rich"), ({"cyclopts", "aiohttp"}, "cyclopts and aiohttp")]
)
def test_missing_extra_error_says_what_to_install(
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


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("threecommas_async.cli.app.run", interrupted)

    assert run_blocking(["validate"]) == 130


def test_sigterm_exits_with_143(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def terminated(_: object) -> int:
        signal.raise_signal(signal.SIGTERM)
        await asyncio.Event().wait()
        return 0

    monkeypatch.setattr("threecommas_async.cli.app.run", terminated)

    assert run_blocking(["validate"]) == 143
