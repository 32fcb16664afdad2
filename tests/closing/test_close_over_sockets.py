"""The client over real sockets: what a bot sends on the wire."""

import asyncio
import hashlib
import hmac
import json
import random
from collections.abc import Callable

import httpx
import pytest

from tests.http.wire import Connection, Received, WireServer, answer
from tests.support import KEY, SECRET, trade_json
from threecommas_async import (
    AsyncClient,
    CloseState,
    OutcomeUnknownError,
    RetryPolicy,
    SlidingWindowLimiter,
)
from threecommas_async.rate_limit.limiter import RateLimiter
from threecommas_async.speed import FastTransport

FAST = RetryPolicy(backoff=0.02, max_backoff=0.05)
Connections = Callable[[], httpx.AsyncBaseTransport | None]
over_both = pytest.mark.parametrize(
    "connections",
    [pytest.param(lambda: None, id="own"), pytest.param(FastTransport, id="speed")],
)
PANIC = json.dumps(trade_json(0, "panic_sell_pending"))


def trade_id_of(request: Received) -> int:
    return int(request.target.removesuffix("/close_by_market").rsplit("/", 1)[1])


def accepted(trade_id: int) -> bytes:
    return answer(201, PANIC.replace('"id": 0', f'"id": {trade_id}', 1).encode())


def signed_right(request: Received) -> bool:
    expected = hmac.new(SECRET.encode(), request.target.encode(), hashlib.sha256).hexdigest()
    return request.headers["apikey"] == KEY and request.headers["signature"] == expected


def client_of(
    server: WireServer,
    limiter: RateLimiter | None = None,
    timeout: float = 30.0,
    transport: httpx.AsyncBaseTransport | None = None,
    **settings: int,
) -> AsyncClient:
    return AsyncClient(
        KEY,
        secret=SECRET,
        base_url=server.base_url,
        rate_limiter=limiter,
        retry=FAST,
        timeout=timeout,
        transport=transport,
        **settings,  # type: ignore[arg-type]
    )


@pytest.mark.slow
@over_both
async def test_5000_gathered_closes_send_5000_posts_over_20_connections(
    connections: Connections,
) -> None:
    async def handler(request: Received, _: Connection) -> bytes:
        assert signed_right(request)
        return accepted(trade_id_of(request))

    ids = range(1, 5001)
    async with (
        WireServer(handler) as server,
        client_of(server, max_connections=20, transport=connections()) as client,
    ):
        trades = await asyncio.gather(*(client.smart_trades.close_by_market(i) for i in ids))
    assert [trade.id for trade in trades] == list(ids)
    assert sorted(trade_id_of(request) for request in server.received) == list(ids)
    assert server.peak_connections == server.connections <= 20


@pytest.mark.slow
async def test_90_closes_beside_busy_readers_never_exceed_the_rate_limit() -> None:
    limit, window = 20, 0.75

    async def handler(request: Received, _: Connection) -> bytes:
        await asyncio.sleep(random.uniform(0.001, 0.02))
        if request.method == "POST":
            return accepted(trade_id_of(request))
        return answer(200, json.dumps(trade_json(1, "waiting_targets")).encode())

    limiter = SlidingWindowLimiter(limit=limit, window=window)
    async with WireServer(handler) as server, client_of(server, limiter) as client:

        async def reader() -> None:
            while True:
                await client.smart_trades.get(1)

        readers = [asyncio.create_task(reader()) for _ in range(5)]
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(client.smart_trades.close_by_market(i) for i in range(1, 91)))
        took = asyncio.get_running_loop().time() - began
        for task in readers:
            task.cancel()
        await asyncio.wait(readers)
    arrivals = [request.at for request in server.received]
    most = max(sum(1 for at in arrivals if first <= at < first + window) for first in arrivals)
    assert most <= limit
    # No upper bound on the time: the limit itself dictates at least four windows for 90 closes.
    assert took >= 4 * window
    posts = [request for request in server.received if request.method == "POST"]
    between = [
        r for r in server.received if posts[0].at < r.at < posts[-1].at and r.method == "GET"
    ]
    assert len(between) <= limit  # only reads queued before the closes


async def reset(_: Received, connection: Connection) -> None:
    connection.reset()


async def test_connection_reset_after_a_carried_out_close_is_resolved_by_a_read() -> None:
    async def handler(request: Received, connection: Connection) -> bytes | None:
        if request.method == "POST":
            connection.reset()
            return None
        return answer(200, json.dumps(trade_json(7, "panic_sell_pending")).encode())

    async with WireServer(handler) as server, client_of(server) as client:
        trade = await client.smart_trades.close_by_market(7)
    assert trade.status.code == "panic_sell_pending"
    assert [request.method for request in server.received] == ["POST", "GET"]


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 201 Created\r\nContent-Length: 5000\r\n\r\n{",
        b"HTTP/1.1 201 Crea",
        b"",
        b"220 smtp ready\r\n\r\n",
    ],
    ids=["body", "head", "nothing", "another protocol"],
)
async def test_truncated_answer_is_resolved_by_a_read(cut: bytes) -> None:
    async def handler(request: Received, connection: Connection) -> bytes | None:
        if request.method == "POST":
            connection.send(cut)
            connection.close()
            return None
        return answer(200, json.dumps(trade_json(7, "panic_sell_pending")).encode())

    async with WireServer(handler) as server, client_of(server) as client:
        assert (await client.smart_trades.close_by_market(7)).id == 7
    assert [request.method for request in server.received] == ["POST", "GET"]


async def test_silent_server_is_abandoned_after_the_read_timeout_and_then_read() -> None:
    async def handler(request: Received, _: Connection) -> bytes | None:
        if request.method == "POST":
            return None
        return answer(200, json.dumps(trade_json(7, "panic_sell_pending")).encode())

    async with WireServer(handler) as server, client_of(server) as client:
        assert (await client.smart_trades.close_by_market(7, timeout=0.05)).id == 7
    assert [request.method for request in server.received] == ["POST", "GET"]


async def test_stale_connection_between_two_closes_causes_no_repeated_close() -> None:
    async def handler(request: Received, connection: Connection) -> bytes | None:
        if request.method == "GET":
            return answer(200, json.dumps(trade_json(8, "panic_sell_pending")).encode())
        connection.send(accepted(trade_id_of(request)))
        await connection.writer.drain()
        connection.close()
        return None

    async with WireServer(handler) as server, client_of(server, max_connections=1) as client:
        await client.smart_trades.close_by_market(7)
        await asyncio.sleep(0.02)
        await client.smart_trades.close_by_market(8)
    assert [r.target for r in server.received if r.method == "POST"] == [
        "/public/api/v2/smart_trades/7/close_by_market",
        "/public/api/v2/smart_trades/8/close_by_market",
    ]


async def test_close_many_without_a_listening_server_reports_not_sent() -> None:
    async with WireServer(reset) as server:
        base_url = server.base_url
    client = AsyncClient(KEY, secret=SECRET, base_url=base_url, retry=FAST)
    report = await client.smart_trades.close_many([7, 8])
    assert report.counts == {CloseState.NOT_SENT: 2}
    await client.aclose()


@over_both
async def test_cancelling_closes_at_random_moments_leaks_neither_slots_nor_connections(
    connections: Connections,
) -> None:
    chooser = random.Random(3)

    async def handler(request: Received, _: Connection) -> bytes:
        await asyncio.sleep(chooser.uniform(0, 0.01))
        return accepted(trade_id_of(request))

    async with (
        WireServer(handler) as server,
        client_of(server, max_connections=4, transport=connections()) as client,
    ):

        async def cancel_soon(trade_id: int) -> None:
            task = asyncio.create_task(client.smart_trades.close_by_market(trade_id))
            await asyncio.sleep(chooser.uniform(0, 0.03))
            task.cancel()
            await asyncio.wait({task})

        await asyncio.gather(*map(cancel_soon, range(1, 301)))
        async with asyncio.timeout(5):
            while server.open_connections > 4:
                await asyncio.sleep(0.01)  # the server takes a moment to notice
        server.peak_connections = 0
        trades = await asyncio.gather(
            *(client.smart_trades.close_by_market(i) for i in range(1, 51))
        )
        assert len(trades) == 50
        assert server.peak_connections <= 8  # up to 4 whose end it has not noticed


@pytest.mark.slow
async def test_300_closes_with_a_third_faulted_all_close_and_none_is_repeated() -> None:
    ids = range(1, 301)
    chooser = random.Random(11)
    done: set[int] = set()
    repeated: list[int] = []
    kinds = [
        "reset",
        "503",
        "silence",
        "html",
        "empty",
        "truncated",
        "garbage",
        "type",
        "reset after",
    ]
    faults = {
        i: chooser.choices(kinds, k=chooser.randint(1, 2)) for i in ids if chooser.random() < 0.35
    }

    def read(trade_id: int) -> dict[str, object]:
        return trade_json(trade_id, "panic_sold" if trade_id in done else "waiting_targets")

    async def close(trade_id: int, connection: Connection) -> bytes | None:
        fault = faults[trade_id].pop(0) if faults.get(trade_id) else ""
        if fault not in {"reset", "503"} and (fault != "silence" or trade_id % 2):
            if trade_id in done:
                repeated.append(trade_id)
            done.add(trade_id)
        match fault:
            case "reset" | "reset after":
                connection.reset()
                return None
            case "503" | "html":
                return answer(503 if fault == "503" else 502, b"<html>", "text/html")
            case "silence":
                return None
            case "empty":
                return answer(504)
            case "truncated":
                connection.send(accepted(trade_id)[:300])
                connection.close()
                return None
            case "garbage":
                return answer(201, b"}{")
            case "type":
                return answer(201, b'"ok"')
            case _:
                return accepted(trade_id)

    async def handler(request: Received, connection: Connection) -> bytes | None:
        if request.method == "POST":
            return await close(trade_id_of(request), connection)
        if "?" not in request.target:
            return answer(200, json.dumps(read(trade_id_of(request))).encode())
        query = dict(part.split("=") for part in request.target.split("?")[1].split("&"))
        page, size = int(query["page"]), int(query["per_page"])
        return answer(
            200, json.dumps([read(i) for i in ids[(page - 1) * size : page * size]]).encode()
        )

    async with WireServer(handler) as server, client_of(server, timeout=0.5) as client:
        report = await client.smart_trades.close_many(ids, confirm=True)
    assert report.counts == {CloseState.CLOSED: 300}
    assert done == set(ids)
    assert repeated == []
    assert len(server.received) < 300 + 2 * len(faults) + 60


async def test_cancelled_batch_of_100_sends_nothing_afterwards() -> None:
    async def handler(request: Received, _: Connection) -> bytes:
        await asyncio.sleep(0.02)
        return accepted(trade_id_of(request))

    async with WireServer(handler) as server, client_of(server, max_connections=5) as client:
        batch = client.smart_trades.close_many(range(1, 101))
        task = asyncio.ensure_future(batch)
        while len(server.received) < 6:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        sent = len(server.received)
        await asyncio.sleep(0.1)
        assert len(server.received) == sent
    assert 0 < sent < 100
    assert len(batch.report) == 100


async def test_close_many_of_100_with_a_deadline_of_300_ms_reports_100_outcomes() -> None:
    async def handler(request: Received, _: Connection) -> bytes:
        await asyncio.sleep(0.1)
        return accepted(trade_id_of(request))

    async with WireServer(handler) as server, client_of(server, max_connections=5) as client:
        began = asyncio.get_running_loop().time()
        report = await client.smart_trades.close_many(range(1, 101), deadline=0.3)
        took = asyncio.get_running_loop().time() - began
    assert len(report) == 100
    assert report.counts[CloseState.ACCEPTED] == len(server.received) <= 20
    assert 0.3 <= took <= 1.3


async def test_single_close_unanswered_at_its_deadline_raises_outcome_unknown() -> None:
    async def handler(request: Received, _: Connection) -> bytes:
        await asyncio.sleep(0.2)
        return accepted(trade_id_of(request))

    async with WireServer(handler) as server, client_of(server) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.smart_trades.close_by_market(7, deadline=0.05)
