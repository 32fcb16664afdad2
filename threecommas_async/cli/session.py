"""What every command that talks to 3Commas shares: the key, the client, readable errors."""

from __future__ import annotations

import os
import shlex
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from attrs import frozen
from cyclopts import Parameter
from cyclopts.validators import Number

from threecommas_async import (
    AsyncClient,
    AuthenticationError,
    ConfigurationError,
    PermissionDeniedError,
    ThreeCommasError,
)
from threecommas_async.config import read_env
from threecommas_async.errors import InvalidRequestError

from .pace import WatchedLimiter
from .screen import Exit, Screen

__all__ = ["Connection", "Flag", "Session", "UsageError", "with_client"]


Flag = Annotated[bool, Parameter(show_default=False)]


class UsageError(Exception):
    """The command cannot be carried out as it was given."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Connection:
    """How to reach 3Commas."""

    json: Flag = False
    """Print the result as JSON, and nothing else, to standard output."""
    env_file: Path | None = None
    """File with lines THREECOMMAS_API_KEY=... to take the key from."""
    rate_limit: Annotated[int, Parameter(validator=Number(gte=1))] = 100
    """Requests per minute that the subscription plan allows."""


@frozen
class Session:
    """What a command works with."""

    screen: Screen
    client: AsyncClient
    limiter: WatchedLimiter


async def with_client(connection: Connection, command: Callable[[Session], Awaitable[int]]) -> int:
    """Run a command with a client of the given settings; tell its errors in one line each."""
    screen = Screen(as_json=connection.json)
    limiter = WatchedLimiter(connection.rate_limit)
    try:
        settings = read_env(_environment(connection.env_file))
        async with AsyncClient(**settings, rate_limiter=limiter) as client:
            return await command(Session(screen, client, limiter))
    except UsageError as error:
        screen.fail(str(error))
        return Exit.USAGE
    except ThreeCommasError as error:
        screen.fail(_readable(error), kind=type(error).__name__)
        return _status(error)


def _environment(file: Path | None) -> Mapping[str, str]:
    """Return the environment, or what is set by the file, which is written as for a shell."""
    if file is None:
        return os.environ
    try:
        words = shlex.split(file.read_text(encoding="utf-8"), comments=True)
    except (OSError, ValueError) as error:
        # The error of a ValueError is left out: it could show what the file holds.
        reason = error.strerror if isinstance(error, OSError) else "not lines of NAME=value"
        raise UsageError(f"cannot read {file}: {reason}") from None
    pairs = (word.partition("=") for word in words)
    return {name: value for name, equals, value in pairs if equals}


def _readable(error: ThreeCommasError) -> str:
    if isinstance(error, ConfigurationError):
        return (
            f"{error}. Set THREECOMMAS_API_KEY and THREECOMMAS_API_SECRET or "
            "THREECOMMAS_PRIVATE_KEY (and THREECOMMAS_BASE_URL, THREECOMMAS_MODE if wanted), "
            "in the environment or in a file given with --env-file"
        )
    return str(error)


def _status(error: ThreeCommasError) -> Exit:
    if isinstance(error, (ConfigurationError, AuthenticationError, PermissionDeniedError)):
        return Exit.CREDENTIALS
    if isinstance(error, InvalidRequestError):
        return Exit.USAGE
    return Exit.NOT_ALL
