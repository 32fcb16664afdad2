"""The extra `speed` in a client. What its connections get right is in `test_fast.py`."""

import asyncio
import importlib
import importlib.util
import json
import sys
import traceback
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from tests.http.wire import Connection, Handler, Received, WireServer, answer
from tests.support import KEY, SECRET, trade_json
from threecommas_async import (
    AsyncClient,
    NotFoundError,
    OutcomeUnknownError,
    RequestNotSentError,
    RetryPolicy,
    ThreeCommasError,
)
from threecommas_async.endpoint import Endpoint, Safety
from threecommas_async.resources.smart_trades import CANCEL, CLOSE_BY_MARKET, GET
from threecommas_async.speed import FastTransport

TESTS = Path(__file__).parents[1]
TRADE = json.dumps(trade_json(7, "panic_sell_pending")).encode()
ONCE = RetryPolicy(attempts=1)


@asynccontextmanager
async def client_of(base_url: str, timeout: float = 5.0) -> AsyncGenerator[AsyncClient]:
    async with AsyncClient(
        KEY,
        secret=SECRET,
        base_url=base_url,
        retry=ONCE,
        timeout=timeout,
        transport=FastTransport(),
    ) as client:
        yield client


async def accepted(_: Received, __: Connection) -> bytes:
    return answer(201, TRADE)


async def test_a_close_goes_out_signed_with_our_headers_and_no_others() -> None:
    async with WireServer(accepted) as server, client_of(server.base_url) as client:
        assert (await client.smart_trades.close_by_market(7)).status.code == "panic_sell_pending"
    sent = server.received[0]
    assert (sent.method, sent.target, sent.body) == (
        "POST",
        "/public/api/v2/smart_trades/7/close_by_market",
        b"",
    )
    assert sorted(sent.headers) == [
        "accept",
        "accept-encoding",
        "apikey",
        "connection",
        "content-length",
        "host",
        "signature",
        "user-agent",
    ]
    assert sent.headers["user-agent"].startswith("threecommas-async/")
    assert sent.headers["accept"] == "application/json"


async def test_a_body_and_a_query_arrive_as_they_were_signed() -> None:
    async with WireServer(accepted) as server, client_of(server.base_url) as client:
        everything = Endpoint("GET", "/ver1/things", dict[str, object], Safety.SAFE)
        note = Endpoint("POST", "/ver1/notes", dict[str, object], Safety.UNSAFE)
        await client.request(everything, query={"a": "ä ?&/"})
        await client.request(note, json={"note": "ä"})
    query, body = server.received
    assert query.target == "/public/api/ver1/things?a=%C3%A4%20%3F%26%2F"
    assert (body.headers["content-type"], body.headers["content-length"]) == (
        "application/json",
        str(len(body.body)),
    )
    assert body.body.decode() == '{"note":"ä"}'


@pytest.mark.parametrize("endpoint", [GET, CANCEL], ids=["a read", "a cancel"])
async def test_what_broke_with_a_kept_connection_is_not_sent_again_unasked(
    endpoint: Endpoint[object],
) -> None:
    async def handler(_: Received, connection: Connection) -> bytes | None:
        if len(server.received) == 1:
            return answer(200, TRADE)
        connection.reset()
        return None

    async with WireServer(handler) as server, client_of(server.base_url) as client:
        await client.smart_trades.get(7)
        with pytest.raises(OutcomeUnknownError):
            await client.request(endpoint, path={"trade_id": 7})
        assert server.connections == 1
        assert len(server.received) == 2


async def test_a_redirect_is_not_followed() -> None:
    async def handler(_: Received, __: Connection) -> bytes:
        return b"HTTP/1.1 307 X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"

    async with WireServer(handler) as server, client_of(server.base_url) as client:
        with pytest.raises(ThreeCommasError):
            await client.smart_trades.get(7)
        assert len(server.received) == 1


async def test_an_error_of_the_api_is_the_same_error() -> None:
    async def handler(_: Received, __: Connection) -> bytes:
        return answer(404, b'{"error":"not_found","error_description":"Smart Trade not found"}')

    async with WireServer(handler) as server, client_of(server.base_url) as client:
        with pytest.raises(NotFoundError, match="Smart Trade not found"):
            await client.smart_trades.get(7)


async def test_no_connection_means_that_nothing_was_sent() -> None:
    async with client_of("http://127.0.0.1:1/public/api") as client:
        with pytest.raises(RequestNotSentError, match="ConnectError"):
            await client.smart_trades.close_by_market(7)


async def silence(_: Received, __: Connection) -> bytes | None:
    await asyncio.sleep(60)
    return None


def shown_by(error: BaseException | None) -> str:
    """Return all that a crash reporter could show, but for the frames of the test itself."""
    shown = list[str]()
    while error is not None:
        frames = traceback.TracebackException.from_exception(error, capture_locals=True)
        library = [it for it in frames.stack if not Path(it.filename).is_relative_to(TESTS)]
        shown += [repr(error), str(error), *map(repr, (it.locals for it in library))]
        error = error.__cause__ or error.__context__
    return "\n".join(shown)


@pytest.mark.parametrize(
    "endpoint", [GET, CANCEL, CLOSE_BY_MARKET], ids=["a read", "a cancel", "a close"]
)
async def test_a_cancelled_call_shows_neither_key_nor_signature(endpoint: Endpoint[object]) -> None:
    async with WireServer(silence) as server, client_of(server.base_url) as client:
        call = asyncio.create_task(client.request(endpoint, path={"trade_id": 7}))
        while not server.received:
            await asyncio.sleep(0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await call
        shown = shown_by(caught.value)
        assert "Pipeline" in shown  # frames with locals are in it
        assert KEY not in shown
        assert server.received[0].headers["signature"] not in shown


async def garbage(_: Received, __: Connection) -> bytes:
    return b"SSH-2.0-OpenSSH\r\n"


async def reset(_: Received, connection: Connection) -> None:
    connection.reset()


@pytest.mark.parametrize("handler", [garbage, silence, reset])
async def test_no_error_of_the_transport_has_a_signature_in_its_frames(handler: Handler) -> None:
    async with WireServer(handler) as server:
        request = httpx.Request(
            "POST",
            f"{server.base_url}/x",
            headers={"Signature": "0123456789abcdef"},
            extensions={"timeout": {"read": 0.05}},
        )
        with pytest.raises(httpx.TransportError) as caught:
            await FastTransport().handle_async_request(request)
        shown = shown_by(caught.value)
        assert "_Connection" in shown
        assert "0123456789abcdef" not in shown


async def test_it_serves_any_httpx_client() -> None:
    async with (
        WireServer(accepted) as server,
        httpx.AsyncClient(transport=FastTransport()) as client,
    ):
        response = await client.post(f"{server.base_url}/x?y=1", json={"z": 1}, timeout=None)
    assert (response.status_code, response.json()["id"]) == (201, 7)
    assert server.received[0].target == "/public/api/x?y=1"


def test_without_httptools_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_: str) -> ModuleType | None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", nothing)
    monkeypatch.delitem(sys.modules, "threecommas_async.speed")
    with pytest.raises(ImportError, match=r"pip install 'threecommas-async\[speed\]'"):
        importlib.import_module("threecommas_async.speed")


async def test_borrowed_httpx_client_over_fast_connections_tells_sent_from_not_sent() -> None:
    go_on, hooked = asyncio.Event(), asyncio.Event()

    async def handler(request: Received, connection: Connection) -> bytes | None:
        if request.method == "GET":
            return answer(429)
        if request.target.endswith("/8/close_by_market"):
            connection.reset()
            return None
        return answer(201, TRADE)

    async def hold(request: httpx.Request) -> None:
        if request.url.path.endswith("/9/close_by_market"):
            hooked.set()
            await go_on.wait()

    def close(trade_id: int) -> Coroutine[object, object, object]:
        return client.request(CLOSE_BY_MARKET, path={"trade_id": trade_id})

    async with (
        WireServer(handler) as server,
        httpx.AsyncClient(transport=FastTransport(), event_hooks={"request": [hold]}) as http,
        AsyncClient(
            KEY, secret=SECRET, base_url=server.base_url, http_client=http, retry=ONCE
        ) as client,
    ):
        await close(7)
        with pytest.raises(OutcomeUnknownError):
            await close(8)
        held = asyncio.create_task(close(9))
        await hooked.wait()
        with pytest.raises(ThreeCommasError, match="429"):
            await client.smart_trades.get(7, deadline=1)
        go_on.set()
        with pytest.raises(RequestNotSentError):
            await held
        assert [request.method for request in server.received] == ["POST", "POST", "GET"]
