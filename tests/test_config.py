"""Settings: valid values, and reading them from the environment."""

import os
import subprocess
import sys

import httpx
import pytest

from threecommas_async import AsyncClient, ConfigurationError
from threecommas_async.config import DEFAULT_BASE_URL, check_base_url, check_mode, read_env

VARIABLES = (
    "THREECOMMAS_API_KEY",
    "THREECOMMAS_API_SECRET",
    "THREECOMMAS_PRIVATE_KEY",
    "THREECOMMAS_BASE_URL",
    "THREECOMMAS_MODE",
)


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Remove all our settings from the environment."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    return monkeypatch


# --- base_url


def test_default_base_url_is_the_public_api() -> None:
    assert DEFAULT_BASE_URL == "https://api.3commas.io/public/api"
    assert check_base_url(DEFAULT_BASE_URL) == DEFAULT_BASE_URL


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("https://api.3commas.io/public/api/", "https://api.3commas.io/public/api"),
        ("https://proxy.example:8443//", "https://proxy.example:8443"),
        ("http://localhost:8080/public/api", "http://localhost:8080/public/api"),
        ("http://LOCALHOST", "http://LOCALHOST"),
        ("http://127.0.0.1/", "http://127.0.0.1"),
        ("http://127.8.9.10:80", "http://127.8.9.10:80"),
        ("http://[::1]:8080/public/api", "http://[::1]:8080/public/api"),
    ],
)
def test_https_anywhere_and_http_on_loopback_are_accepted(url: str, checked: str) -> None:
    assert check_base_url(url) == checked


@pytest.mark.parametrize(
    "url",
    [
        "http://api.3commas.io/public/api",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://128.0.0.1",
        "http://127.1",
        "http://127.0.0.0.1",
        "http://127.0.0.1.evil.example",
        "http://127.evil.example",
        "http://127.0.0.x",
        "http://localhost.evil.example",
        "http://evil.example/localhost",
        "http://[::2]",
    ],
)
def test_plain_http_to_another_host_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="plain http shows the key"):
        check_base_url(url)


@pytest.mark.parametrize(
    "url", ["", "api.3commas.io", "/public/api", "ftp://localhost", "https://", "https:///path"]
)
def test_base_url_that_is_not_an_https_url_with_a_host_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="must be an https:// URL with a host"):
        check_base_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://hidden@api.3commas.io",
        "https://:hidden@api.3commas.io",
        "https://user:hidden@api.3commas.io",
        "http://hidden@localhost",
        "https://api.3commas.io/?key=hidden",
        "https://api.3commas.io/#hidden",
    ],
)
def test_base_url_with_credentials_or_parameters_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="neither user, password, query") as caught:
        check_base_url(url)
    assert "hidden" not in str(caught.value)


# --- mode


@pytest.mark.parametrize(
    ("mode", "headers"),
    [(None, {}), ("real", {"Forced-Mode": "real"}), ("paper", {"Forced-Mode": "paper"})],
)
def test_mode_becomes_the_forced_mode_header(mode: str | None, headers: dict[str, str]) -> None:
    assert check_mode(mode) == headers


@pytest.mark.parametrize("mode", ["", "Paper", "demo", [], 5, b"real"])
def test_unknown_mode_is_refused(mode: object) -> None:
    with pytest.raises(ConfigurationError, match='must be "real" or "paper"'):
        check_mode(mode)


@pytest.mark.parametrize("mode", [None, "real", "paper"])
async def test_mode_is_sent_with_every_call(mode: str | None) -> None:
    sent: list[str | None] = []

    def server(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers.get("Forced-Mode"))
        return httpx.Response(200, json={"valid": True})

    client = AsyncClient("key", secret="secret", mode=mode, transport=httpx.MockTransport(server))
    async with client:
        await client.users.validate()
        await client.users.validate()
    assert sent == [mode, mode]


# --- the environment


def test_read_env_returns_variables_that_are_set_and_not_blank() -> None:
    assert read_env(
        {
            "THREECOMMAS_API_KEY": " the-key\n",
            "THREECOMMAS_API_SECRET": "",
            "THREECOMMAS_PRIVATE_KEY": "/keys/own.pem",
            "THREECOMMAS_BASE_URL": "  ",
            "THREECOMMAS_MODE": "paper",
            "THREECOMMAS_OTHER": "ignored",
        }
    ) == {"api_key": "the-key", "private_key": "/keys/own.pem", "mode": "paper"}


@pytest.mark.parametrize("environ", [{}, {"THREECOMMAS_API_KEY": "  "}])
def test_read_env_without_a_key_names_the_missing_variable(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"^THREECOMMAS_API_KEY is not set$"):
        read_env(environ)


def test_read_env_reads_the_process_environment_by_default(env: pytest.MonkeyPatch) -> None:
    env.setenv("THREECOMMAS_API_KEY", "the-key")
    assert read_env() == {"api_key": "the-key"}


async def test_from_env_reads_the_environment_at_each_call(env: pytest.MonkeyPatch) -> None:
    sent: list[httpx.Request] = []

    def server(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={"valid": True})

    for number in (1, 2):
        env.setenv("THREECOMMAS_API_KEY", f"key-{number}")
        env.setenv("THREECOMMAS_API_SECRET", f"secret-{number}")
        env.setenv("THREECOMMAS_BASE_URL", f"http://localhost:{number}/public/api")
        env.setenv("THREECOMMAS_MODE", "paper")
        async with AsyncClient.from_env(transport=httpx.MockTransport(server)) as client:
            await client.users.validate()
    assert [request.headers["Apikey"] for request in sent] == ["key-1", "key-2"]
    assert [request.url.port for request in sent] == [1, 2]
    assert [request.headers["Forced-Mode"] for request in sent] == ["paper", "paper"]
    assert sent[0].headers["Signature"] != sent[1].headers["Signature"]


def test_arguments_take_precedence_over_the_environment(env: pytest.MonkeyPatch) -> None:
    env.setenv("THREECOMMAS_API_KEY", "key")
    env.setenv("THREECOMMAS_PRIVATE_KEY", "/nowhere.pem")
    env.setenv("THREECOMMAS_BASE_URL", "http://not-on-loopback.example")
    client = AsyncClient.from_env(secret="secret", base_url="https://proxy.example/public/api")
    assert client.base_url == "https://proxy.example/public/api"


@pytest.mark.parametrize("variables", [(), ("THREECOMMAS_API_SECRET", "THREECOMMAS_PRIVATE_KEY")])
def test_from_env_needs_exactly_one_of_secret_and_private_key(
    env: pytest.MonkeyPatch, variables: tuple[str, ...]
) -> None:
    env.setenv("THREECOMMAS_API_KEY", "key")
    for variable in variables:
        env.setenv(variable, "value")
    with pytest.raises(ConfigurationError, match="exactly one of THREECOMMAS_API_SECRET and"):
        AsyncClient.from_env()


def test_importing_the_package_reads_no_variable() -> None:
    program = """
import os
class Spy(dict):
    def __getitem__(self, name):
        assert "THREECOMMAS" not in str(name), name
        return super().__getitem__(name)
    def get(self, name, default=None):
        assert "THREECOMMAS" not in str(name), name
        return super().get(name, default)
os.environ = Spy(os.environ)
import threecommas_async
try:
    threecommas_async.AsyncClient.from_env()
except AssertionError as error:
    print("asked for", error)
"""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program],
        env={**os.environ, "THREECOMMAS_API_KEY": "key"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "asked for THREECOMMAS_API_KEY\n"
