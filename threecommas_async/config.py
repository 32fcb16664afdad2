"""Settings of a client: which values are valid, and how they are read from the environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, TypedDict, cast
from urllib.parse import urlsplit

from .errors import ConfigurationError
from .text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DEFAULT_BASE_URL",
    "MAX_SECONDS",
    "EnvironmentSettings",
    "check_base_url",
    "check_count",
    "check_mode",
    "check_seconds",
    "is_loopback",
    "read_env",
]

DEFAULT_BASE_URL: Final = "https://api.3commas.io/public/api"
MAX_SECONDS: Final = 1e12
"""Seconds from which a duration is refused: no timer can handle it."""
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class EnvironmentSettings(TypedDict, total=False):
    """The settings that `read_env` finds, as keyword arguments of `AsyncClient`."""

    api_key: str
    secret: str
    private_key: str
    base_url: str
    mode: str


_VARIABLES: Final[Mapping[str, str]] = {
    "api_key": "THREECOMMAS_API_KEY",
    "secret": "THREECOMMAS_API_SECRET",
    "private_key": "THREECOMMAS_PRIVATE_KEY",
    "base_url": "THREECOMMAS_BASE_URL",
    "mode": "THREECOMMAS_MODE",
}


def read_env(environ: Mapping[str, str] | None = None) -> EnvironmentSettings:
    """Read the settings whose variables are set and not empty.

    Raises:
        ConfigurationError: there is no API key.
    """
    found = _settings_in(os.environ if environ is None else environ)
    del environ
    if "api_key" in found:
        return found
    del found  # crash reporters show the locals of this frame, and these are secrets
    msg = f"{_VARIABLES['api_key']} is not set"
    raise ConfigurationError(msg)


def _settings_in(environ: Mapping[str, str]) -> EnvironmentSettings:
    values = {name: environ.get(variable, "").strip() for name, variable in _VARIABLES.items()}
    return cast("EnvironmentSettings", {name: value for name, value in values.items() if value})


def check_base_url(url: object) -> str:
    """Return a base URL without trailing slashes.

    Plain http is for loopback only: it would show the key to anyone on the network path.

    Raises:
        ConfigurationError: the URL cannot be used.
    """
    if not isinstance(url, str):
        msg = f"base_url must be a str, not {type(url).__name__}"
        raise ConfigurationError(msg)
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        parts, valid = None, False
    if not valid or parts is None or not parts.hostname or not url.isprintable() or " " in url:
        msg = "base_url must be an https:// URL with a host"
        raise ConfigurationError(msg)
    if parts.username or parts.password or "?" in url or "#" in url:
        msg = "base_url must have neither user, password, query nor fragment"
        raise ConfigurationError(msg)
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        msg = f"base_url must be https:// for {parts.hostname}: plain http shows the key"
        raise ConfigurationError(msg)
    return url.rstrip("/")


def check_seconds(value: object, name: str) -> float:
    """Return a positive number of seconds.

    Raises:
        ConfigurationError: the value is something else.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not 0 < value < MAX_SECONDS
    ):
        msg = f"{name} must be a positive number of seconds, not {one_line(repr(value), 50)}"
        raise ConfigurationError(msg)
    return float(value)


def check_count(value: object, name: str) -> int:
    """Return a whole number of at least 1.

    Raises:
        ConfigurationError: the value is something else.
    """
    if type(value) is not int or value < 1:
        msg = f"{name} must be a whole number from 1 up, not {one_line(repr(value), 50)}"
        raise ConfigurationError(msg)
    return value


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, without resolving its name."""
    if host in _LOOPBACK:
        return True
    # Any address in 127.0.0.0/8 is loopback (RFC 1122).
    octets = host.split(".")
    in_range = all(part.isdigit() and int(part) < 256 for part in octets)  # noqa: PLR2004
    return len(octets) == 4 and octets[0] == "127" and in_range  # noqa: PLR2004


def check_mode(mode: object) -> dict[str, str]:
    """Return the header that forces a mode; no header for None.

    Raises:
        ConfigurationError: the mode is neither "real" nor "paper".
    """
    if mode is None:
        return {}
    if not isinstance(mode, str) or mode not in {"real", "paper"}:
        msg = f'mode must be "real" or "paper", not {one_line(repr(mode), 50)}'
        raise ConfigurationError(msg)
    return {"Forced-Mode": mode}
