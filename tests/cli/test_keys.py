"""Where the key comes from, and where it never goes."""

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from threecommas_async.sandbox import Sandbox


@pytest.fixture
def keys(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The settings of the sandbox, taken out of the environment."""
    for name in ("API_KEY", "API_SECRET", "BASE_URL"):
        monkeypatch.delenv(f"THREECOMMAS_{name}")
    return {
        "THREECOMMAS_API_KEY": sandbox.api_key,
        "THREECOMMAS_API_SECRET": sandbox.secret,
        "THREECOMMAS_BASE_URL": sandbox.base_url,
    }


@pytest.mark.parametrize("line", ["{}={}", "export {}={}", "{}='{}'", '  export {}="{}"  # mine'])
async def test_a_file_may_be_written_as_for_a_shell(
    cli: Run, keys: dict[str, str], tmp_path: Path, line: str
) -> None:
    file = tmp_path / "keys"
    lines = ["# keys", "", *(line.format(name, value) for name, value in keys.items())]
    file.write_text("\n".join(lines))

    ran = await cli("validate", "--env-file", file)

    assert (ran.status, ran.out) == (0, "The key is valid.\n")


async def test_with_a_file_the_environment_has_no_say(
    cli: Run, keys: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREECOMMAS_PRIVATE_KEY", "of another account")
    file = tmp_path / "keys"
    file.write_text("\n".join(f"{name}={value}" for name, value in keys.items()))

    ran = await cli("validate", "--env-file", file)

    assert ran.status == 0
    assert os.environ["THREECOMMAS_PRIVATE_KEY"] == "of another account"
    assert "THREECOMMAS_API_KEY" not in os.environ


async def test_a_file_that_is_not_there_is_a_matter_of_usage(cli: Run, tmp_path: Path) -> None:
    ran = await cli("validate", "--env-file", tmp_path / "none")

    assert ran.status == 2
    assert "none: No such file or directory" in ran.err


async def test_a_file_that_cannot_be_understood_is_not_quoted(cli: Run, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("THREECOMMAS_API_SECRET='s3cr3t")

    ran = await cli("validate", "--env-file", file)

    assert ran.status == 2
    assert "not lines of NAME=value" in ran.err
    assert "s3cr3t" not in ran.err


async def test_without_a_key_it_says_which_variables_to_set(cli: Run) -> None:
    ran = await cli("validate")

    assert ran.status == 3
    assert ran.out == ""
    assert "THREECOMMAS_API_KEY is not set" in ran.err
    assert "--env-file" in ran.err
    assert ran.err.count("\n") == 1


async def test_a_key_is_not_sent_in_the_clear(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREECOMMAS_API_KEY", "key")
    monkeypatch.setenv("THREECOMMAS_API_SECRET", "secret")
    monkeypatch.setenv("THREECOMMAS_BASE_URL", "http://api.example.com")

    ran = await cli("validate")

    assert ran.status == 3
    assert "https" in ran.err


@pytest.mark.parametrize("wrong", ["", "wrong"], ids=["right secret", "wrong secret"])
@pytest.mark.parametrize("json", [(), ("--json",)], ids=["text", "json"])
async def test_no_command_shows_key_or_secret(
    cli: Run,
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
        ran = await cli(*command, *json)
        for hidden in (sandbox.api_key, sandbox.secret):
            assert hidden not in ran.out + ran.err
