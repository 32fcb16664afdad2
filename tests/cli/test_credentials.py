"""Sources of the key: environment and --env-file. It must never be printed."""

import os
from pathlib import Path

import pytest

from tests.cli.conftest import RunCommand
from threecommas_async.sandbox import Sandbox


@pytest.fixture
def keys(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the settings of the sandbox, and remove them from the environment."""
    for name in ("API_KEY", "API_SECRET", "BASE_URL"):
        monkeypatch.delenv(f"THREECOMMAS_{name}")
    return {
        "THREECOMMAS_API_KEY": sandbox.api_key,
        "THREECOMMAS_API_SECRET": sandbox.secret,
        "THREECOMMAS_BASE_URL": sandbox.base_url,
    }


@pytest.mark.parametrize("line", ["{}={}", "export {}={}", "{}='{}'", '  export {}="{}"  # mine'])
async def test_env_file_may_use_shell_syntax(
    cli: RunCommand, keys: dict[str, str], tmp_path: Path, line: str
) -> None:
    file = tmp_path / "keys"
    lines = ["# keys", "", *(line.format(name, value) for name, value in keys.items())]
    file.write_text("\n".join(lines))

    result = await cli("validate", "--env-file", file)

    assert (result.status, result.out) == (0, "The key is valid.\n")


async def test_env_file_replaces_the_environment(
    cli: RunCommand, keys: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREECOMMAS_PRIVATE_KEY", "of another account")
    file = tmp_path / "keys"
    file.write_text("\n".join(f"{name}={value}" for name, value in keys.items()))

    result = await cli("validate", "--env-file", file)

    assert result.status == 0
    assert os.environ["THREECOMMAS_PRIVATE_KEY"] == "of another account"
    assert "THREECOMMAS_API_KEY" not in os.environ


async def test_missing_env_file_is_a_usage_error(cli: RunCommand, tmp_path: Path) -> None:
    result = await cli("validate", "--env-file", tmp_path / "none")

    assert result.status == 2
    assert "none: No such file or directory" in result.err


async def test_malformed_env_file_is_not_quoted_in_the_error(
    cli: RunCommand, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text("THREECOMMAS_API_SECRET='s3cr3t")

    result = await cli("validate", "--env-file", file)

    assert result.status == 2
    assert "not lines of NAME=value" in result.err
    assert "s3cr3t" not in result.err


async def test_missing_key_error_names_the_variables_to_set(cli: RunCommand) -> None:
    result = await cli("validate")

    assert result.status == 3
    assert result.out == ""
    assert "THREECOMMAS_API_KEY is not set" in result.err
    assert "--env-file" in result.err
    assert result.err.count("\n") == 1


async def test_key_is_not_sent_over_plain_http(
    cli: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREECOMMAS_API_KEY", "key")
    monkeypatch.setenv("THREECOMMAS_API_SECRET", "secret")
    monkeypatch.setenv("THREECOMMAS_BASE_URL", "http://api.example.com")

    result = await cli("validate")

    assert result.status == 3
    assert "https" in result.err


@pytest.mark.parametrize("wrong", ["", "wrong"], ids=["right secret", "wrong secret"])
@pytest.mark.parametrize("json", [(), ("--json",)], ids=["text", "json"])
async def test_no_command_prints_key_or_secret(
    cli: RunCommand,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    json: tuple[str, ...],
    wrong: str,
) -> None:
    secret = wrong or sandbox.secret
    monkeypatch.setenv("THREECOMMAS_API_SECRET", secret)
    for command in (
        ("validate",),
        ("trades", "list"),
        ("trades", "show", sandbox.trade_ids[0]),
        ("trades", "show", 7),
        ("trades", "close", *sandbox.trade_ids, 7, "--yes"),
        ("trades", "cancel", *sandbox.pending_ids, 7, "--yes"),
        ("trades", "close-all", "--yes"),
        ("trades", "watch", *sandbox.trade_ids, 7, "--timeout", 0.5),
        ("deals", "list"),
        ("deals", "close-all", "--bot-id", sandbox.bot_id, "--yes"),
    ):
        result = await cli(*command, *json)
        for hidden in (sandbox.api_key, sandbox.secret):
            assert hidden not in result.out + result.err
