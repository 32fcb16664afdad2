"""An in-memory 3Commas for tests of the client in virtual time: no sockets, no real waiting.

`Api` keeps trades, carries out closes, and keeps the ledger that a report is checked against.
Faults are scripted per trade: a list with one fault for each close POSTed.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import looptime

from threecommas_async import (
    AsyncClient,
    CloseReport,
    CloseState,
    RetryPolicy,
    SlidingWindowLimiter,
    SmartTrade,
)
from threecommas_async.rate_limit.limiter import RateLimiter

T = TypeVar("T")

SEED_TRADE = Path(__file__).with_name("data") / "smart_trade.json"
_SEED_TEXT = SEED_TRADE.read_text(encoding="utf-8")
KEY = "test-key-0123456789"
SECRET = "test-secret-abcdefghij"
BASE_URL = "https://api.3commas.io/public/api"

IDLE_TURNS = 0
"""How often the virtual clock checks for outside events before it jumps.

There are none: these tests have no sockets, and threads are awaited. looptime's default of 42 takes
nine tenths of the time of a test that only waits.
"""

Report = CloseReport[SmartTrade]
Fault = Callable[["Api", int], Awaitable[httpx.Response]]


def in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """Like `asyncio.run`, on a virtual clock that jumps to the next timer."""

    def new_loop() -> asyncio.AbstractEventLoop:
        return looptime.new_event_loop(start=0, noop_cycles=IDLE_TURNS, _enabled=True)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main)


def trade_json(trade_id: int, status: str, **data: object) -> dict[str, Any]:
    """Return the seed trade with another id and status, matching flags, and `data` merged in."""
    trade: dict[str, Any] = json.loads(_SEED_TEXT)
    trade["id"] = trade_id
    trade["status"] = {"type": status, "basic_type": status, "title": status.title()}
    trade["data"]["panic_sell_available"] = status in {"waiting_targets", "pending_reduce_funds"}
    trade["data"]["cancel_available"] = status in {"waiting_targets", "waiting_position"}
    trade["is_position_not_filled"] = status in {"created", "waiting_position"}
    trade["data"].update(data)
    return trade


def error(status: int, code: str = "record_invalid", text: str = "Invalid") -> httpx.Response:
    return httpx.Response(status, json={"error": code, "error_description": text})


API_404 = httpx.Response(404, json={"error": "not_found"})


class Api:
    """Handler for `httpx.MockTransport`: answers, counts, and records the closes carried out."""

    def __init__(self, trade_ids: Iterable[int] = (), *, latency: float = 0.0) -> None:
        self.status: dict[int, str] = dict.fromkeys(trade_ids, "waiting_targets")
        self.data: dict[int, dict[str, object]] = defaultdict(dict)
        self.faults: dict[int, list[Fault]] = defaultdict(list)
        self.cancel_faults: dict[int, list[Fault]] = defaultdict(list)
        self.latency: Callable[[], float] = lambda: latency
        self.close_delay = 2.0
        self.failing: dict[int, str] = {}
        self.on_read: Callable[[int], Awaitable[httpx.Response | None]] | None = None
        self.on_list: Callable[[httpx.Request], httpx.Response | None] | None = None
        self.requests: list[tuple[float, str, str]] = []
        self.listed: list[dict[str, str]] = []
        self.posts: Counter[int] = Counter()
        self.accepted: dict[int, float] = {}
        self.posted_after_acceptance: list[int] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append((asyncio.get_running_loop().time(), request.method, request.url.path))
        await asyncio.sleep(self.latency())
        parts = request.url.path.removeprefix("/public/api").strip("/").split("/")
        match request.method, parts:
            case "POST", ["v2", "smart_trades", trade_id, "close_by_market"]:
                return await self._close(int(trade_id))
            case "GET", ["v2", "smart_trades"]:
                return self._list(request)
            case "GET", ["v2", "smart_trades", trade_id]:
                return await self._read(int(trade_id))
            case "DELETE", ["v2", "smart_trades", trade_id]:
                return await self._cancel(int(trade_id))
            case "GET", ["ver1", "validate"]:
                return httpx.Response(200, json={"valid": True})
            case other:
                raise AssertionError(other)

    def apply(self, trade_id: int) -> httpx.Response:
        """Carry out a close as the real API does: once."""
        if trade_id not in self.status:
            return error(404, "Not found", "Smart Trade not found")
        if self.current_status(trade_id) != "waiting_targets":
            return error(422, text="Smart trade cannot be closed")
        self.status[trade_id] = "panic_sell_pending"
        self.accepted[trade_id] = asyncio.get_running_loop().time()
        return httpx.Response(201, json=self.trade(trade_id))

    def current_status(self, trade_id: int) -> str:
        """Return the current status: a close takes effect `close_delay` seconds after its 201."""
        accepted = self.accepted.get(trade_id)
        now = asyncio.get_running_loop().time()
        if accepted is not None and now >= accepted + self.close_delay:
            self.status[trade_id] = "failed" if trade_id in self.failing else "panic_sold"
        return self.status[trade_id]

    def trade(self, trade_id: int) -> dict[str, Any]:
        trade = trade_json(trade_id, self.current_status(trade_id), **self.data[trade_id])
        if self.status[trade_id] == "failed":
            trade["status"]["error"] = self.failing.get(trade_id, "no reason")
        return trade

    def stale(self, trade_id: int) -> dict[str, Any]:
        """Return the trade as a lagging read shows it: still open."""
        return trade_json(trade_id, "waiting_targets", **self.data[trade_id])

    def count(self, method: str, ending: str = "") -> int:
        return sum(1 for _, m, path in self.requests if m == method and path.endswith(ending))

    async def _close(self, trade_id: int) -> httpx.Response:
        self.posts[trade_id] += 1
        if trade_id in self.accepted:
            self.posted_after_acceptance.append(trade_id)
        if self.faults[trade_id]:
            return await self.faults[trade_id].pop(0)(self, trade_id)
        return self.apply(trade_id)

    async def _cancel(self, trade_id: int) -> httpx.Response:
        if self.cancel_faults[trade_id]:
            return await self.cancel_faults[trade_id].pop(0)(self, trade_id)
        self.status[trade_id] = "cancellation_pending"
        return httpx.Response(200, json=self.trade(trade_id))

    async def _read(self, trade_id: int) -> httpx.Response:
        if self.on_read and (answer := await self.on_read(trade_id)):
            return answer
        if trade_id not in self.status:
            return error(400, "Not found", "Smart Trade not found")
        return httpx.Response(200, json=self.trade(trade_id))

    def _list(self, request: httpx.Request) -> httpx.Response:
        if self.on_list and (answer := self.on_list(request)):
            return answer
        query = request.url.params
        self.listed.append(dict(query))
        page, size = int(query.get("page", 1)), int(query.get("per_page", 10))
        ids = sorted(self.status)
        if query.get("order_by") == "updated_at":
            ids.sort(key=lambda trade_id: self.accepted.get(trade_id, -1.0), reverse=True)
        if query.get("status") == "active":
            over = {"panic_sold", "failed", "cancelled"}
            ids = [trade_id for trade_id in ids if self.current_status(trade_id) not in over]
        if "pair" not in query and "account_id" not in query:
            ids, page = ids[(page - 1) * size : page * size], 1  # building other rows takes time
        trades = [self.trade(trade_id) for trade_id in ids]
        for name in ("pair", "account_id"):
            if name in query:
                trades = [trade for trade in trades if str(_filtered(trade, name)) == query[name]]
        return httpx.Response(200, json=trades[(page - 1) * size : page * size])


def _filtered(trade: dict[str, Any], name: str) -> object:
    return trade["account"]["id"] if name == "account_id" else trade[name]


# --- faults before the close is carried out, and after it


async def refused_connection(api: Api, trade_id: int) -> httpx.Response:
    raise httpx.ConnectError("connection refused")


async def reset_before(api: Api, trade_id: int) -> httpx.Response:
    raise httpx.ReadError("connection reset")


async def unavailable_before(api: Api, trade_id: int) -> httpx.Response:
    return httpx.Response(503, text="<html>down</html>")


async def silence_before(api: Api, trade_id: int) -> httpx.Response:
    await asyncio.sleep(30)
    raise httpx.ReadTimeout("")


async def silence_after(api: Api, trade_id: int) -> httpx.Response:
    api.apply(trade_id)
    await asyncio.sleep(30)
    raise httpx.ReadTimeout("")


async def reset_after(api: Api, trade_id: int) -> httpx.Response:
    api.apply(trade_id)
    raise httpx.RemoteProtocolError("Server disconnected without sending a response.")


async def bad_gateway_after(api: Api, trade_id: int) -> httpx.Response:
    api.apply(trade_id)
    return httpx.Response(502, html="<html><h1>Bad Gateway</h1></html>")


async def gateway_timeout_after(api: Api, trade_id: int) -> httpx.Response:
    api.apply(trade_id)
    return httpx.Response(504)


async def garbage_after(api: Api, trade_id: int) -> httpx.Response:
    api.apply(trade_id)
    return httpx.Response(201, text="<<<")


async def wrong_type_after(api: Api, trade_id: int) -> httpx.Response:
    api.apply(trade_id)
    return httpx.Response(201, json=["ok"])


BEFORE = (refused_connection, reset_before, unavailable_before, silence_before)
AFTER = (
    silence_after,
    reset_after,
    bad_gateway_after,
    gateway_timeout_after,
    garbage_after,
    wrong_type_after,
)


def answering(response: Callable[[], httpx.Response]) -> Fault:
    """Return a fault that answers with this response and carries nothing out."""

    async def fault(api: Api, trade_id: int) -> httpx.Response:
        return response()

    return fault


def client_of(
    api: Callable[[httpx.Request], Awaitable[httpx.Response]],
    *,
    limiter: RateLimiter | None = None,
    max_connections: int = 20,
    retry: RetryPolicy | None = None,
    **settings: Any,
) -> AsyncClient:
    """Return a client that talks to an `Api`, with a limit too high to matter by default."""
    return AsyncClient(
        KEY,
        secret=SECRET,
        transport=httpx.MockTransport(api),  # type: ignore[arg-type] # it also takes coroutines
        rate_limiter=limiter or SlidingWindowLimiter(limit=1_000_000),
        max_connections=max_connections,
        retry=retry or RetryPolicy(),
        **settings,
    )


async def close_many(api: Api, ids: list[int] | range | None = None, **options: Any) -> Report:
    async with client_of(api) as client:
        return await client.smart_trades.close_many(
            list(api.status) if ids is None else ids, **options
        )


async def close_all(api: Api, **options: Any) -> Report:
    async with client_of(api) as client:
        return await client.smart_trades.close_all(**options)


def states(report: Report) -> dict[int, CloseState]:
    return {outcome.trade_id: outcome.state for outcome in report}


def assert_report_is_true(api: Api, report: Report) -> None:
    """Assert that no outcome contradicts what the server carried out."""
    for outcome in report:
        done = outcome.trade_id in api.accepted
        if outcome.state in {CloseState.ACCEPTED, CloseState.CLOSED}:
            assert done, outcome
        if outcome.state in {CloseState.NOT_SENT, CloseState.REJECTED, CloseState.NOT_FOUND}:
            assert not done, outcome
    assert api.posted_after_acceptance == []
