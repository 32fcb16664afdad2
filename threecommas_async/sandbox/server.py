"""The embedded 3Commas: an HTTP server on a local socket."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from aiohttp import web

from .clock import Clock
from .delivery import deliver
from .exchange import Exchange, Population
from .faults import FaultInjector, Faults
from .gateway import Access, Gateway, IncomingRequest
from .ledger import Ledger
from .limits import RateLimit
from .listener import Listener
from .rng import seeded_rng
from .routes import PREFIX, Permission
from .signature import hmac_verifier, rsa_verifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Self

ALL_PERMISSIONS: Final[tuple[Permission, ...]] = (
    "SMART_TRADES_READ",
    "SMART_TRADES_WRITE",
    "BOTS_READ",
    "BOTS_WRITE",
    "ACCOUNTS_READ",
    "ACCOUNTS_WRITE",
)
_DOCUMENTED_LIMIT: Final = RateLimit()


class Sandbox:
    """An embedded 3Commas for tests: signatures, limits, trades, faults, and a ledger.

    Use it as an async context manager, or call `start` and `stop`. The same seed gives the same
    keys, trades, prices and faults.

    Args:
        trades: Number of open smart trades, ready to be closed.
        pending: Number of smart trades whose entry is not filled; they can only be cancelled.
        failing: Number of the open trades that end in `failed` when they are closed.
        deals: Number of open deals of the DCA bot.
        seed: Seed of all random decisions.
        faults: Faults to inject, with their rates; none by default.
        rate_limit: The limits to enforce, by default those documented; None for no limits.
        time_scale: How many times as fast as real time the sandbox's clock runs.
        close_delay: Minimum and maximum duration of a close, in seconds on the sandbox's clock.
        latency: Minimum and maximum round-trip time in real seconds; each direction takes half.
        host: Address to listen on.
        port: Port to listen on; 0 picks a free one, which a restart keeps.
        api_key: The accepted API key; derived from the seed by default.
        secret: The secret of that key; derived from the seed by default.
        public_key: PEM of an RSA key; if given, RSA signatures are checked instead of HMAC ones.
        permissions: Permissions of the key.
        clock: The real clock, in seconds.

    Raises:
        ValueError: a setting is out of range, or both `secret` and `public_key` are given.
    """

    def __init__(  # noqa: PLR0913
        self,
        *,
        trades: int = 250,
        pending: int = 0,
        failing: int = 0,
        deals: int = 0,
        seed: int = 7,
        faults: Faults | None = None,
        rate_limit: RateLimit | None = _DOCUMENTED_LIMIT,
        time_scale: float = 1.0,
        close_delay: tuple[float, float] = (0.5, 3.0),
        latency: tuple[float, float] = (0.0, 0.0),
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str | None = None,
        secret: str | None = None,
        public_key: str | bytes | None = None,
        permissions: Iterable[Permission] = ALL_PERMISSIONS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if secret is not None and public_key is not None:
            raise ValueError("give either secret or public_key")
        random = seeded_rng(seed, "keys")
        default_key, default_secret = random.randbytes(32).hex(), random.randbytes(64).hex()
        self._api_key = default_key if api_key is None else api_key
        self._secret = default_secret if secret is None else secret
        verify = hmac_verifier(self._secret) if public_key is None else rsa_verifier(public_key)
        self._clock = Clock(clock, time_scale)
        population = Population(
            trades=trades, pending=pending, failing=failing, deals=deals, close_delay=close_delay
        )
        self._exchange = Exchange(self._clock, population, seed)
        self._ledger = Ledger(self._exchange.positions, self._clock)
        self._faults = faults or Faults()
        self._gateway = Gateway(
            exchange=self._exchange,
            ledger=self._ledger,
            access=Access(api_key=self._api_key, verify=verify, permissions=frozenset(permissions)),
            rate_limit=rate_limit,
            injector=FaultInjector(self._faults, seed),
        )
        self._latency = latency
        self._latencies = seeded_rng(seed, "latency")
        self._host = host
        self._listener = Listener(self._serve, self._ledger, host, port)

    def __repr__(self) -> str:
        # Without the keys: these are made up, but code that shows keys would be copied.
        state = f"port {self._listener.port}" if self._listener.port else "not started"
        return f"<Sandbox: {state}, {len(self._exchange.trades)} trades>"

    @property
    def base_url(self) -> str:
        """The base URL.

        Raises:
            RuntimeError: the port is not known before the first start.
        """
        if not self._listener.port:
            raise RuntimeError("the sandbox has no address before it is started")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._listener.port}{PREFIX}"

    @property
    def api_key(self) -> str:
        """The key to send as `Apikey`."""
        return self._api_key

    @property
    def secret(self) -> str:
        """The secret to sign with; unused with `public_key`."""
        return self._secret

    @property
    def trade_ids(self) -> tuple[int, ...]:
        """Ids of the smart trades that were open at the start."""
        return self._ids(entered=True)

    @property
    def pending_ids(self) -> tuple[int, ...]:
        """Ids of the smart trades whose entry is not filled."""
        return self._ids(entered=False)

    @property
    def deal_ids(self) -> tuple[int, ...]:
        """Ids of the deals that were open at the start."""
        return tuple(self._exchange.deals)

    @property
    def bot_id(self) -> int:
        """Id of the bot that all deals belong to."""
        return self._exchange.bot.id

    @property
    def ledger(self) -> Ledger:
        """Record of all requests and of all closes carried out."""
        return self._ledger

    @property
    def now(self) -> float:
        """Current time in seconds on the sandbox's clock, as in the ledger."""
        return self._clock.now()

    async def start(self) -> None:
        """Start listening; after a stop, on the same port as before.

        Raises:
            RuntimeError: already started.
        """
        await self._listener.start()

    async def stop(self) -> None:
        """Reset all connections and stop listening; trades and ledger are kept."""
        await self._listener.stop()

    async def restart(self, *, downtime: float = 0.0) -> None:
        """Stop, and start again after `downtime` real seconds.

        Port, trades, limits and ledger are kept.
        """
        await self.stop()
        await asyncio.sleep(downtime)
        await self.start()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def _ids(self, *, entered: bool) -> tuple[int, ...]:
        return tuple(id_ for id_, t in self._exchange.trades.items() if t.entered is entered)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await request.read()
        except ConnectionError:  # the client disconnected before the request was complete
            return web.Response()
        incoming = IncomingRequest(
            method=request.method,
            target=request.raw_path.encode("utf-8", "surrogateescape"),
            body=body,
            api_key=request.headers.get("Apikey", ""),
            signature=request.headers.get("Signature", ""),
            content_type=request.headers.get("Content-Type", ""),
        )
        one_way = self._latencies.uniform(*self._latency) / 2
        await asyncio.sleep(one_way)
        decision = self._gateway.decide(incoming)
        await asyncio.sleep(one_way)
        return await deliver(request, decision, self._faults)
