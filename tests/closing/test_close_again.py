"""Several calls for one trade: closed once, and again only after a read shows it open."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.support import (
    Api,
    answering,
    client_of,
    error,
    reset_after,
    reset_before,
    silence_after,
    states,
    trade_json,
)
from threecommas_async import (
    AsyncClient,
    CloseState,
    OutcomeUnknownError,
    SlidingWindowLimiter,
    SmartTrade,
    UnprocessableEntityError,
)

pytestmark = pytest.mark.looptime


def lagging_reads(api: Api, seconds: float) -> Callable[[int], Awaitable[httpx.Response | None]]:
    """Return an `on_read` that shows a trade open for `seconds` after its close was carried out."""

    async def read(trade_id: int) -> httpx.Response | None:
        accepted = api.accepted.get(trade_id)
        if accepted is None or asyncio.get_running_loop().time() >= accepted + seconds:
            return None
        return httpx.Response(200, json=api.stale(trade_id))

    return read


# --- concurrent calls


async def test_concurrent_closes_of_one_trade_post_once_while_reads_lag() -> None:
    api = Api([1], latency=0.2)
    api.on_read = lagging_reads(api, 2.0)
    async with client_of(api) as client:
        trades = await asyncio.gather(*(client.smart_trades.close_by_market(1) for _ in range(5)))
    assert {trade.status.code for trade in trades} == {"panic_sell_pending"}
    assert len(api.requests) == 1


async def test_close_by_market_and_close_many_of_one_trade_at_once_send_one_close() -> None:
    api = Api([1, 2], latency=5.0)
    async with client_of(api) as client:
        one, two, report = await asyncio.gather(
            client.smart_trades.close_by_market(1),
            client.smart_trades.close_by_market(1),
            client.smart_trades.close_many([1, 2]),
        )
    assert one.id == two.id == 1
    assert report.ok
    assert api.posts == {1: 1, 2: 1}


async def test_second_concurrent_call_closes_the_trade_after_the_first_was_refused() -> None:
    api = Api([1], latency=5.0)
    api.faults[1] = [answering(lambda: error(422, text="not now"))]
    async with client_of(api) as client:
        results = await asyncio.gather(
            client.smart_trades.close_by_market(1),
            client.smart_trades.close_by_market(1),
            return_exceptions=True,
        )
    assert isinstance(results[0], UnprocessableEntityError)
    assert isinstance(results[1], SmartTrade)


async def test_refusal_of_the_first_concurrent_close_is_not_reported_by_the_second() -> None:
    async def refused(_: Api, __: int) -> httpx.Response:
        return error(422, text="below minimum")

    api = Api([1], latency=0.2)
    api.faults[1] = [refused]
    async with client_of(api) as client:
        results = await asyncio.gather(
            *(client.smart_trades.close_by_market(1) for _ in range(2)), return_exceptions=True
        )
    assert [type(result).__name__ for result in results] == [
        "UnprocessableEntityError",
        "SmartTrade",
    ]


async def test_cancelled_call_passes_its_turn_to_the_next_call() -> None:
    api = Api([1], latency=5.0)
    async with client_of(api) as client:
        calls = [asyncio.create_task(client.smart_trades.close_by_market(1)) for _ in range(3)]
        await asyncio.sleep(1)
        calls[1].cancel()
        await asyncio.wait(calls)
    assert calls[1].cancelled()
    assert calls[2].result().id == 1
    assert api.posts == {1: 1}


# The pending tasks are destroyed with the loop, and Python warns about each of them.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_closing_the_event_loop_during_a_close_releases_the_turn() -> None:
    api = Api([1])
    api.faults[1] = [silence_after]

    async def begin() -> None:
        task = asyncio.create_task(client.smart_trades.close_by_market(1))
        kept.append(task)
        await asyncio.sleep(0.01)

    kept: list[asyncio.Task[Any]] = []
    client: AsyncClient = client_of(api)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    loop.close()

    async def again() -> None:
        async with client:
            await asyncio.wait_for(client.smart_trades.close_by_market(1), timeout=5)

    asyncio.run(again())
    assert api.posts[1] == 1
    kept.clear()
    gc.collect()


# --- after an accepted close


async def test_close_right_after_an_accepted_close_is_not_repeated_while_reads_lag() -> None:
    api = Api([1])
    api.on_read = lagging_reads(api, 20.0)
    async with client_of(api) as client:
        await client.smart_trades.close_by_market(1)
        await asyncio.sleep(10)
        report = await client.smart_trades.close_many([1])
    assert states(report) == {1: CloseState.ALREADY_CLOSED}
    assert api.posts[1] == 1


async def test_accepted_close_is_not_repeated_while_reads_fail() -> None:
    async def down(_: int) -> httpx.Response:
        return httpx.Response(503)

    api = Api([1])
    api.on_read = down
    async with client_of(api) as client:
        await client.smart_trades.close_by_market(1)
        with pytest.raises(OutcomeUnknownError, match="accepted a moment ago"):
            await client.smart_trades.close_by_market(1)
        api.on_read = None
        await client.smart_trades.close_by_market(1)
    assert api.posts[1] == 1


async def test_close_long_after_an_accepted_close_is_posted_again() -> None:
    api = Api([1, 2])
    async with client_of(api) as client:
        await client.smart_trades.close_by_market(1)
        await asyncio.sleep(60)
        api.status[1] = "waiting_targets"  # reopened by hand
        del api.accepted[1]
        await client.smart_trades.close_by_market(2)
        await client.smart_trades.close_by_market(1)
    assert api.posts == {1: 2, 2: 1}


@pytest.mark.parametrize("lag", [9.0, 25.0])
async def test_confirm_ignores_reads_that_lag_behind_the_close(lag: float) -> None:
    api = Api([1, 2, 3, 4])

    def on_list(request: httpx.Request) -> httpx.Response | None:
        now = asyncio.get_running_loop().time()
        rows = [
            api.stale(i) if now < api.accepted.get(i, -1e9) + lag else api.trade(i)
            for i in api.status
        ]
        return httpx.Response(200, json=rows if request.url.params["page"] == "1" else [])

    api.on_list = on_list
    api.on_read = lagging_reads(api, lag)
    async with client_of(api) as client:
        report = await client.smart_trades.close_all(confirm=True, deadline=300)
    assert report.counts == {CloseState.CLOSED: 4}
    assert set(api.posts.values()) == {1}


async def test_accepted_close_is_remembered_on_the_next_event_loop() -> None:
    api = Api([1])
    client = client_of(api)

    def close_on_a_new_loop() -> None:
        asyncio.run(client.smart_trades.close_by_market(1))

    await asyncio.to_thread(close_on_a_new_loop)
    await asyncio.to_thread(close_on_a_new_loop)
    assert api.posts[1] == 1


async def test_read_delayed_past_the_lag_allowance_is_trusted() -> None:
    """The read waits a full window for its slot; by then reads are current: the trade is open."""
    api = Api([1, 2])
    limiter = SlidingWindowLimiter(limit=1, window=100.0, reserve=0)
    async with client_of(api, limiter=limiter) as client:
        await client.smart_trades.close_by_market(1)
        api.status[1] = "waiting_targets"  # reopened by hand
        del api.accepted[1]
        await client.smart_trades.close_by_market(1)
    assert api.posts[1] == 2


async def test_failed_read_long_after_an_accepted_close_raises_outcome_unknown() -> None:
    async def slow(_: int) -> httpx.Response:
        await asyncio.sleep(40)
        return httpx.Response(422, json={"error": "odd"})

    api = Api([1, 2])
    async with client_of(api) as client:
        await client.smart_trades.close_by_market(1)
        api.on_read = slow
        again = asyncio.create_task(client.smart_trades.close_by_market(1))
        await asyncio.sleep(35)
        await client.smart_trades.close_by_market(2)  # evicts expired entries of the registry
        with pytest.raises(OutcomeUnknownError):
            await again
    assert api.posts[1] == 1


async def test_accepted_close_without_effect_is_read_before_it_is_posted_again() -> None:
    async def without_effect(_: Api, trade_id: int) -> httpx.Response:
        return httpx.Response(201, json=trade_json(trade_id, "panic_sell_pending"))

    api = Api([1])
    api.faults[1] = [without_effect]
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1], confirm=True, deadline=300)
        assert states(report) == {1: CloseState.UNKNOWN}
        asked = len(api.requests)
        await client.smart_trades.close_by_market(1)
    assert [method for _, method, _ in api.requests[asked:]] == ["GET", "POST"]


# --- closes left unknown by an earlier call


async def test_close_left_unknown_by_an_earlier_call_is_read_before_it_is_posted_again() -> None:
    api = Api([1, 2])
    api.faults[1] = [reset_after]
    api.faults[2] = [reset_before]

    async def down(_: int) -> httpx.Response:
        return httpx.Response(500)

    async with client_of(api) as client:
        api.on_read = down
        first = await client.smart_trades.close_many([1, 2])
        assert first.counts == {CloseState.UNKNOWN: 2}
        api.on_read = None
        second = await client.smart_trades.close_many(first.leftovers)
        assert second.ok
        third = await client.smart_trades.close_by_market(1)
        assert third.id == 1
    assert api.posts == {1: 1, 2: 2}
    assert [m for _, m, p in api.requests if "smart_trades/2" in p][-2:] == ["GET", "POST"]


async def test_single_close_left_unknown_is_read_first_by_the_next_call() -> None:
    api = Api([1], latency=9.0)
    async with client_of(api) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.smart_trades.close_by_market(1, deadline=5)
        api.apply(1)  # it had been sent, and is carried out after all
        task = asyncio.create_task(client.smart_trades.close_by_market(1))
        assert (await task).status.code in {"panic_sell_pending", "panic_sold"}
    assert api.count("POST") == 1


async def test_close_cancelled_in_flight_is_read_first_by_the_next_call() -> None:
    api = Api([1], latency=9.0)
    async with client_of(api) as client:
        task = asyncio.create_task(client.smart_trades.close_by_market(1))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait({task})
        api.apply(1)
        await client.smart_trades.close_by_market(1)
    assert api.count("POST") == 1
