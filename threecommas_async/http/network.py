"""TCP and TLS on the running event loop, for both kinds of connection."""

from __future__ import annotations

import asyncio
import selectors
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

from aiohappyeyeballs import start_connection  # pyright: ignore[reportUnknownVariableType] # tuples

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator

__all__ = ["Arrivals", "SocketProtocol", "attach", "connecting", "open_socket", "wake"]

# Seconds that an address gets to answer before the next is tried beside it.
_HEAD_START = 0.25
# Looks at one socket past the event loop; Windows has no poll.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class SocketProtocol(asyncio.Protocol):
    """What is known of a connection: its transport, and whether it is over."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.over = True  # until it has begun
        self.error: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a connection that was made."""
        self.transport = cast("asyncio.Transport", transport)
        self.over = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is over, and why."""
        self.over = True
        self.error = exc


@asynccontextmanager
async def connecting(
    timeout: float | None, *, failed: type[Exception], timed_out: type[Exception]
) -> AsyncGenerator[None]:
    """Bound the time, and turn whatever keeps a connection from being made into "not sent".

    Args:
        timeout: seconds; None without a limit.
        failed: raised when no connection can be made.
        timed_out: raised when the time is up.
    """
    try:
        async with asyncio.timeout(timeout):
            yield
    except TimeoutError as error:
        raise timed_out(str(error)) from error
    # A host name or port that cannot exist is a ValueError (UnicodeError is one) or an
    # OverflowError; ssl.SSLError is an OSError; uvloop raises some as RuntimeError.
    except (OSError, ValueError, OverflowError, RuntimeError) as error:
        raise failed(str(error)) from error


async def open_socket(host: str, port: int) -> socket.socket:
    """Connect, trying the host's addresses side by side.

    `loop.create_connection` can do so too, but loses a socket when it is cancelled in the moment in
    which the socket is connected.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await start_connection(found, happy_eyeballs_delay=_HEAD_START)


async def attach(
    protocol: SocketProtocol,
    connected: socket.socket,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
) -> None:
    """Begin to read from a connected socket, encrypted from the first byte on or not at all."""
    try:
        await asyncio.get_running_loop().create_connection(
            lambda: protocol, sock=connected, ssl=tls, server_hostname=server_hostname
        )
    except BaseException:
        # Cancelled when TLS was agreed on already: to close it in good order would take time.
        if not protocol.over:
            protocol.transport.abort()
        connected.close()  # where nobody has taken it over yet
        raise


class Arrivals:
    """Looks for what has arrived at a socket but was not read by the event loop yet."""

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._selector = _Selector()
        self._selector.register(transport.get_extra_info("socket"), selectors.EVENT_READ)

    def __bool__(self) -> bool:
        return bool(self._selector.select(0))


def wake(waiter: asyncio.Future[None] | None) -> None:
    """Let a task that waits go on."""
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
