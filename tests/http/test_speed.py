"""The extra `speed`: what is its own. All else passes over it too (`--transport aiohttp`)."""

import asyncio
import gzip
import importlib
import importlib.util
import json
import sys
import traceback
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from tests.http.wire import Connection, Received, WireServer, answer
from tests.support import KEY, SECRET, trade_json
from threecommas_async import (
    AsyncClient,
    NotFoundError,
    OutcomeUnknownError,
    RequestNotSentError,
    ResponseDecodeError,
    RetryPolicy,
    ThreeCommasError,
)
from threecommas_async.endpoint import Endpoint, Safety
from threecommas_async.resources.smart_trades import CANCEL, CLOSE_BY_MARKET, GET
from threecommas_async.speed import AiohttpTransport

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
        transport=AiohttpTransport(),
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


async def test_a_compressed_answer_is_read() -> None:
    async def handler(_: Received, __: Connection) -> bytes:
        packed = gzip.compress(TRADE)
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
        return head.encode() + packed

    async with WireServer(handler) as server, client_of(server.base_url) as client:
        assert (await client.smart_trades.get(7)).id == 7


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


async def cut_off(_: Received, connection: Connection) -> bytes | None:
    connection.send(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{")
    connection.close()
    return None


async def closed(_: Received, connection: Connection) -> bytes | None:
    connection.close()
    return None


async def garbage(_: Received, connection: Connection) -> bytes | None:
    connection.send(b"SSH-2.0-OpenSSH\r\n\r\n")
    connection.close()
    return None


@pytest.mark.parametrize(
    ("handler", "name"),
    [
        (silence, "ReadTimeout"),
        (closed, "RemoteProtocolError"),
        (garbage, "RemoteProtocolError"),
    ],
)
async def test_no_whole_answer_means_that_it_may_have_happened(handler: object, name: str) -> None:
    async with WireServer(handler) as server, client_of(server.base_url, timeout=0.2) as client:  # type: ignore[arg-type]
        close = Endpoint("POST", "/ver1/close", dict[str, object], Safety.UNSAFE)
        with pytest.raises(OutcomeUnknownError, match=name) as caught:
            await client.request(close)
        assert caught.value.may_have_taken_effect
        assert len(server.received) == 1


async def test_a_201_whose_body_is_cut_off_was_carried_out() -> None:
    async with WireServer(cut_off) as server, client_of(server.base_url) as client:
        close = Endpoint("POST", "/ver1/close", dict[str, object], Safety.UNSAFE)
        with pytest.raises(ResponseDecodeError, match="do not repeat it") as caught:
            await client.request(close)
        assert caught.value.may_have_taken_effect
        assert len(server.received) == 1


async def test_a_body_is_given_up_after_all_its_timeouts() -> None:
    async with WireServer(silence) as server, client_of(server.base_url, timeout=0.05) as client:
        note = Endpoint("POST", "/ver1/notes", dict[str, object], Safety.UNSAFE)
        with pytest.raises(OutcomeUnknownError, match="ReadTimeout"):
            await client.request(note, json={"note": "x"})


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


async def test_the_proxy_of_the_environment_is_asked_and_its_refusal_means_not_sent(
    proxy: pytest.MonkeyPatch,
) -> None:
    async def refuses(_: Received, __: Connection) -> bytes:
        return answer(403)

    async with WireServer(refuses) as server:
        proxy.setenv("https_proxy", server.base_url.removesuffix("/public/api"))
        async with client_of("https://api.3commas.io/public/api") as client:
            with pytest.raises(RequestNotSentError, match="ProxyError"):
                await client.smart_trades.close_by_market(7)
        assert [(r.method, r.target) for r in server.received] == [
            ("CONNECT", "api.3commas.io:443")
        ]


@pytest.mark.parametrize("status", [403, 407])
async def test_the_password_of_a_proxy_is_in_no_error(
    proxy: pytest.MonkeyPatch, status: int
) -> None:
    async def refuses(_: Received, __: Connection) -> bytes:
        return answer(status)

    async with WireServer(refuses) as server:
        place = server.base_url.removesuffix("/public/api").removeprefix("http://")
        for where in (place, "localhost:1", "localhost:port"):
            proxy.setenv("https_proxy", f"http://someone:p%40ssw0rd@{where}")
            async with client_of("https://api.3commas.io/public/api") as client:
                with pytest.raises(ThreeCommasError) as caught:
                    await client.smart_trades.close_by_market(7)
            shown = shown_by(caught.value)
            assert "p@ssw0rd" not in shown
            assert "p%40ssw0rd" not in shown


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


async def test_a_proxy_that_aiohttp_cannot_use_is_said_and_not_gone_around(
    proxy: pytest.MonkeyPatch,
) -> None:
    proxy.setenv("https_proxy", "socks5://127.0.0.1:1")
    async with client_of("https://api.3commas.io/public/api") as client:
        with pytest.raises(RequestNotSentError, match="cannot use this kind of proxy"):
            await client.smart_trades.close_by_market(7)


async def test_it_serves_any_httpx_client() -> None:
    async with (
        WireServer(accepted) as server,
        httpx.AsyncClient(transport=AiohttpTransport()) as client,
    ):
        response = await client.post(f"{server.base_url}/x?y=1", json={"z": 1}, timeout=None)
    assert (response.status_code, response.json()["id"]) == (201, 7)
    assert server.received[0].target == "/public/api/x?y=1"


def test_without_aiohttp_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_: str) -> ModuleType | None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", nothing)
    monkeypatch.delitem(sys.modules, "threecommas_async.speed")
    with pytest.raises(ImportError, match=r"pip install 'threecommas-async\[speed\]'"):
        importlib.import_module("threecommas_async.speed")
