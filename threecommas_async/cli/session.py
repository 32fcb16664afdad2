"""What every command that talks to 3Commas shares: the key, the client, readable errors."""

from __future__ import annotations

import os
import shlex
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen
from cyclopts import Parameter

from .. import (
    AsyncClient,
    AuthenticationError,
    ConfigurationError,
    PermissionDeniedError,
    ThreeCommasError,
)
from ..config import DEFAULT_BASE_URL, read_env
from ..errors import InvalidRequestError
from .memory import carried_over
from .options import Count, Flag
from .pace import Traffic, WatchedLimiter
from .screen import Exit, Screen

if TYPE_CHECKING:
    from typing import Unpack

    from ..client import ClientSettings

__all__ = ["Connection", "Session", "UsageError", "opened", "validated", "with_client"]


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
    rate_limit: Count = 100
    """Requests per minute that the plan allows; those of earlier commands count as well."""


@frozen
class Session:
    """What a command works with."""

    screen: Screen
    client: AsyncClient
    traffic: Traffic


@asynccontextmanager
async def opened(
    screen: Screen, limiter: WatchedLimiter, api_key: str, **settings: Unpack[ClientSettings]
) -> AsyncGenerator[Session]:
    """Open a client whose traffic can be watched."""
    traffic = Traffic(limiter, _host(settings.get("base_url", DEFAULT_BASE_URL)))
    watched: ClientSettings = {**settings, "rate_limiter": limiter, "hooks": [traffic]}
    async with AsyncClient(api_key, **watched) as client:
        yield Session(screen, client, traffic)


def _host(base_url: str) -> str:
    """Return host and port of what may yet turn out to be no URL."""
    return base_url.partition("://")[2].partition("/")[0]


async def with_client(connection: Connection, command: Callable[[Session], Awaitable[int]]) -> int:
    """Run a command with a client of the given settings; tell its errors in one line each."""
    screen = Screen(as_json=connection.json)
    limiter = WatchedLimiter(connection.rate_limit)
    try:
        settings = read_env(_environment(connection.env_file))
        account = settings.get("api_key", ""), settings.get("base_url", DEFAULT_BASE_URL)
        async with (
            carried_over(limiter, *account),
            opened(screen, limiter, **settings) as session,
        ):
            _warn_of_waiting(session)
            return await command(session)
    except UsageError as error:
        screen.fail(str(error))
        return Exit.USAGE
    except ThreeCommasError as error:
        screen.fail(_readable(error), kind=type(error).__name__)
        return _status(error)


def _warn_of_waiting(session: Session) -> None:
    limiter = session.traffic.limiter
    if blocked := limiter.blocked_for():
        session.screen.say(f"3Commas has refused this key for another {blocked:.0f} s; waiting.")
    elif (wait := limiter.seconds_until_sent(1 + limiter.reserve)) >= 1:
        session.screen.say(f"Earlier commands have used up the rate limit for {wait:.0f} s more.")


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


async def validated(session: Session) -> int:
    """Check the key."""
    answer = await session.client.users.validate()
    text = "The key is valid." if answer.valid else "3Commas does not accept the key."
    session.screen.result({"valid": answer.valid}, text)
    return Exit.OK if answer.valid else Exit.CREDENTIALS
