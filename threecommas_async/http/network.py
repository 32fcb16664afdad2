"""TCP and TLS on the running event loop, for the default connections and the fast ones."""

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

__all__ = ["Arrivals", "SocketProtocol", "attach", "connect_errors", "open_socket", "wake"]

# Seconds after which the next address is tried as well (RFC 8305 recommends 0.25).
_HAPPY_EYEBALLS_DELAY = 0.25
# Looks at one socket without the event loop; Windows has no poll.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class SocketProtocol(asyncio.Protocol):
    """The transport of a connection, and whether it has ended."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.ended: bool = True  # until `connection_made`
        self.error: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self.transport = cast("asyncio.Transport", transport)
        self.ended = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Store that the connection has ended, and the error if there was one."""
        self.ended = True
        self.error = exc


@asynccontextmanager
async def connect_errors(
    timeout: float | None, *, failed: type[Exception], timed_out: type[Exception]
) -> AsyncGenerator[None]:
    """Limit the time, and raise every failure to connect as one kind: nothing was sent.

    Args:
        timeout: seconds; None without a limit.
        failed: raised when no connection can be made.
        timed_out: raised when the time has passed.
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
    """Connect to the first of the host's addresses that answers (happy eyeballs).

    asyncio's own `create_connection` leaks the socket if it is cancelled in the moment in which the
    socket is connected.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await start_connection(found, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY)


async def attach(
    protocol: SocketProtocol,
    connected: socket.socket,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
) -> None:
    """Start reading from a connected socket, with TLS from the first byte on if it is given."""
    try:
        await asyncio.get_running_loop().create_connection(
            lambda: protocol, sock=connected, ssl=tls, server_hostname=server_hostname
        )
    except BaseException:
        # Cancelled after the TLS handshake: a graceful close would take time.
        if not protocol.ended:
            protocol.transport.abort()
        connected.close()  # the transport may not own it yet
        raise


class Arrivals:
    """True while bytes have arrived at a socket that the event loop has not read yet."""

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._selector = _Selector()
        self._selector.register(transport.get_extra_info("socket"), selectors.EVENT_READ)

    def __bool__(self) -> bool:
        return bool(self._selector.select(0))


def wake(waiter: asyncio.Future[None] | None) -> None:
    """Let a waiting task continue."""
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
