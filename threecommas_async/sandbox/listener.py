"""The listening socket; counts connections and can reset all of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from .delivery import reset_transport

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from .ledger import Ledger

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Listener:
    """Listens on one address, passes requests to a handler, and stops without delay."""

    def __init__(self, handler: Handler, ledger: Ledger, host: str, port: int) -> None:
        self._handler = handler
        self._ledger = ledger
        self._host = host
        self.port: int = port
        """The port; 0 until the first start has chosen one."""
        self._server: _Server | None = None
        self._runner: web.ServerRunner | None = None
        self._handler_tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start listening; after a stop, on the same port as before.

        Raises:
            RuntimeError: already started.
        """
        if self._runner is not None:
            raise RuntimeError("the sandbox is running already")
        self._server = _Server(self._serve, self._ledger)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port)
        await site.start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Reset all connections and stop listening."""
        runner, server = self._runner, self._server
        if runner is None or server is None:
            return
        self._runner = self._server = None
        for task in self._handler_tasks:
            task.cancel()
        for transport in list(server.transports.values()):
            reset_transport(transport)
        await runner.cleanup()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        # Tracked here because aiohttp does not: a handler continues when its client disconnects,
        # as on a real server, and `stop` has to cancel it.
        task = request.task
        self._handler_tasks.add(task)
        try:
            return await self._handler(request)
        finally:
            self._handler_tasks.discard(task)


class _Server(web.Server):
    """The aiohttp server; records connections in the ledger."""

    def __init__(self, handler: Handler, ledger: Ledger) -> None:
        # Bodies are not decompressed: the signature covers the bytes on the wire.
        super().__init__(handler, access_log=None, auto_decompress=False)
        self._ledger = ledger
        self.transports: dict[web.RequestHandler, asyncio.Transport] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self.transports[handler] = transport
        self._ledger.connection_opened()

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        super().connection_lost(handler, exc)
        del self.transports[handler]
        self._ledger.connection_closed()
