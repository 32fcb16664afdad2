"""The connections: one single-connection transport for each call under way.

A connection pool searches its queue on every request and release, so its cost grows with the
calls that wait in it; a pool of one that never queues costs a quarter. Who may be under way is
decided before a request is even built (`Gate`), so no pool here ever has a second caller, and no
call can fail for want of a connection (`PoolTimeout`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.request import getproxies, proxy_bypass

import httpx

from .config import is_loopback
from .waiting import Line

if TYPE_CHECKING:
    import ssl

    from .endpoint import Priority

__all__ = ["ConnectionSlots", "Gate", "environment_proxy"]


class Gate:
    """Lets a fixed number of calls through at a time; closes first, then first come."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._line: Line[None, None] = Line()

    async def enter(self, priority: Priority) -> None:
        """Wait until a place is free. Follow with `leave`, whatever happens."""
        if self._free:
            self._free -= 1
            return
        place = self._line.join(priority, None)
        try:
            await place.future
        except asyncio.CancelledError:
            self._line.leave(place)
            if place.future.done() and not place.future.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Give the place to the next in line."""
        place = self._line.first()
        if place is None:
            self._free += 1
        else:
            self._line.serve(place, None)


class ConnectionSlots(httpx.AsyncBaseTransport):
    """Routes each request to a transport of its own that keeps one connection alive.

    The last one used goes first, so that in quiet times the others expire. A connection over which
    anything went wrong is dropped with its transport.
    """

    def __init__(self, tls: ssl.SSLContext | bool, proxy: str | None = None) -> None:  # noqa: FBT001
        self._tls = tls
        self._proxy = proxy
        self._idle: list[httpx.AsyncHTTPTransport] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send over an idle connection, or a new one, and read the whole answer."""
        slot = self._idle.pop() if self._idle else self._open()
        try:
            response = await slot.handle_async_request(request)
            await response.aread()
        except BaseException:
            await slot.aclose()
            raise
        self._idle.append(slot)
        return response

    def _open(self) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(
            verify=self._tls,
            proxy=self._proxy,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
        )

    async def aclose(self) -> None:
        """Close the idle connections; one in use is closed by its caller's failure."""
        idle, self._idle = self._idle, []
        for slot in idle:
            await slot.aclose()


def environment_proxy(url: httpx.URL) -> str | None:
    """Return the proxy that the environment names for a URL, as httpx does for its own clients."""
    if is_loopback(url.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(url.host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
