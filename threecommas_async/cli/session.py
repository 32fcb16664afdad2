"""The session of a command: credentials, client, output, and errors as messages."""

from __future__ import annotations

import os
import shlex
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from attrs import frozen

from .. import (
    AsyncClient,
    AuthenticationError,
    ConfigurationError,
    PermissionDeniedError,
    ThreeCommasError,
)
from ..config import DEFAULT_BASE_URL, read_env
from ..errors import InvalidRequestError
from .limiter import TrackingLimiter
from .output import ExitStatus, Output
from .rate_limit_store import persisted
from .traffic import TrafficMonitor

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Unpack

    from ..client import ClientSettings
    from .options import ConnectionOptions

__all__ = ["Session", "UsageError", "open_session", "run_with_session", "validate_key"]


class UsageError(Exception):
    """The arguments or the environment do not allow the command to run."""


@frozen
class Session:
    """Output, client and traffic monitor of a command."""

    output: Output
    client: AsyncClient
    traffic: TrafficMonitor


@asynccontextmanager
async def open_session(
    output: Output, limiter: TrackingLimiter, api_key: str, **settings: Unpack[ClientSettings]
) -> AsyncGenerator[Session]:
    """Open a client with a traffic monitor."""
    traffic = TrafficMonitor(limiter, _host(settings.get("base_url", DEFAULT_BASE_URL)))
    monitored: ClientSettings = {**settings, "rate_limiter": limiter, "hooks": [traffic]}
    async with AsyncClient(api_key, **monitored) as client:
        yield Session(output, client, traffic)


def _host(base_url: str) -> str:
    """Return host and port of a URL that has not been validated yet."""
    return base_url.partition("://")[2].partition("/")[0]


async def run_with_session(
    connection: ConnectionOptions, command: Callable[[Session], Awaitable[int]]
) -> int:
    """Run a command with a session, and print an error as one line instead of a traceback."""
    output = Output(as_json=connection.json)
    limiter = TrackingLimiter(connection.rate_limit)
    try:
        settings = read_env(_environment(connection.env_file))
        key_and_url = settings.get("api_key", ""), settings.get("base_url", DEFAULT_BASE_URL)
        async with (
            persisted(limiter, *key_and_url),
            open_session(output, limiter, **settings) as session,
        ):
            _announce_wait(session)
            return await command(session)
    except UsageError as error:
        output.fail(str(error))
        return ExitStatus.USAGE
    except ThreeCommasError as error:
        output.fail(_error_text(error), kind=type(error).__name__)
        return _exit_status(error)


def _announce_wait(session: Session) -> None:
    limiter = session.traffic.limiter
    if blocked := limiter.blocked_for():
        session.output.message(
            f"3Commas has refused this key for another {blocked:.0f} s; waiting."
        )
    elif (wait := limiter.seconds_until_sent(1 + limiter.reserve)) >= 1:
        session.output.message(
            f"Earlier commands have used up the rate limit for {wait:.0f} s more."
        )


def _environment(file: Path | None) -> Mapping[str, str]:
    """Return the variables of the file, which has shell syntax, or without one the environment."""
    if file is None:
        return os.environ
    try:
        words = shlex.split(file.read_text(encoding="utf-8"), comments=True)
    except (OSError, ValueError) as error:
        # Leave out the text of a ValueError: it could quote secrets from the file.
        reason = error.strerror if isinstance(error, OSError) else "not lines of NAME=value"
        raise UsageError(f"cannot read {file}: {reason}") from None
    pairs = (word.partition("=") for word in words)
    return {name: value for name, equals, value in pairs if equals}


def _error_text(error: ThreeCommasError) -> str:
    if isinstance(error, ConfigurationError):
        return (
            f"{error}. Set THREECOMMAS_API_KEY and THREECOMMAS_API_SECRET or "
            "THREECOMMAS_PRIVATE_KEY (and THREECOMMAS_BASE_URL, THREECOMMAS_MODE if wanted), "
            "in the environment or in a file given with --env-file"
        )
    return str(error)


def _exit_status(error: ThreeCommasError) -> ExitStatus:
    if isinstance(error, (ConfigurationError, AuthenticationError, PermissionDeniedError)):
        return ExitStatus.CREDENTIALS
    if isinstance(error, InvalidRequestError):
        return ExitStatus.USAGE
    return ExitStatus.NOT_ALL


async def validate_key(session: Session) -> int:
    """Check that 3Commas accepts the key."""
    answer = await session.client.users.validate()
    text = "The key is valid." if answer.valid else "3Commas does not accept the key."
    session.output.result({"valid": answer.valid}, text)
    return ExitStatus.OK if answer.valid else ExitStatus.CREDENTIALS
