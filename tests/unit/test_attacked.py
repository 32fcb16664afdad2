"""Closing against what an attacker and a newcomer have tried."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support import (
    Api,
    client_of,
    error,
    gateway_timeout_after,
    holds_against,
    silence_after,
    states,
    trade_json,
)
from threecommas_async import (
    CloseState,
    OutcomeUnknownError,
    RequestNotSentError,
    RetryPolicy,
    ServerError,
    SlidingWindowLimiter,
    UnprocessableEntityError,
)

pytestmark = pytest.mark.looptime


async def test_a_position_entered_while_its_cancel_was_on_its_way_is_closed() -> None:
    async def filled(api: Api, trade_id: int) -> httpx.Response:
        api.status[trade_id] = "waiting_targets"
        return httpx.Response(200, json=api.trade(trade_id))

    api = Api([1])
    api.status[1] = "waiting_position"
    api.cancel_faults[1] = [filled]
    async with client_of(api) as client:
        report = await client.smart_trades.close_all(pending="cancel")
    assert states(report) == {1: CloseState.ACCEPTED}
    assert api.accepted.keys() == {1}


async def test_a_position_that_shows_open_after_its_accepted_cancel_is_closed() -> None:
    async def filled(api: Api, trade_id: int) -> httpx.Response:
        answer = httpx.Response(200, json=trade_json(trade_id, "cancellation_pending"))
        api.status[trade_id] = "waiting_targets"
        return answer

    api = Api([1])
    api.status[1] = "waiting_position"
    api.cancel_faults[1] = [filled]
    async with client_of(api) as client:
        report = await client.smart_trades.close_all(pending="cancel")
    assert states(report) == {1: CloseState.ACCEPTED}
    assert api.accepted.keys() == {1}


async def test_no_open_trade_is_missed_because_others_leave_the_list_while_it_is_read() -> None:
    api = Api(range(1, 101), latency=1.0)
    api.close_delay = 5.5
    api.status[101] = "waiting_position"

    async def fill() -> None:
        await asyncio.sleep(3.5)
        api.status[101] = "waiting_targets"

    async with client_of(api) as client:
        filling = asyncio.create_task(fill())
        report = await client.smart_trades.close_all()
        await filling
    assert report.ok
    assert 101 in report
    assert api.accepted.keys() == set(range(1, 102))


async def test_a_list_that_never_settles_is_not_read_for_ever() -> None:
    api = Api([1])
    rows = iter(range(10_000, 10**9, 100))

    def on_list(request: httpx.Request) -> httpx.Response:
        if request.url.params["page"] != "1":
            return httpx.Response(200, json=[])
        first = next(rows)
        closing = [trade_json(first + i, "panic_sell_pending") for i in range(100)]
        return httpx.Response(200, json=closing)

    api.on_list = on_list
    async with client_of(api) as client:
        report = await client.smart_trades.close_all()
    assert len(report.skipped) == 500
    assert api.count("GET") == 10


async def test_a_whole_bot_left_in_question_is_not_settled_by_a_close_that_never_left() -> None:
    closed = 0
    posts = 0

    async def api(request: httpx.Request) -> httpx.Response:
        nonlocal closed, posts
        path = request.url.path
        row = {"id": 1, "bot_id": 9, "status": "bought"}
        if path.endswith("all_deals"):
            closed += 1
            await asyncio.sleep(40)
        if path.endswith("panic_sell"):
            posts += 1
            if posts == 1:
                await asyncio.sleep(4)
                raise httpx.ConnectError("refused")
            return httpx.Response(201, json={**row, "status": "panic_sell_pending"})
        if path.endswith("/show"):
            return httpx.Response(200, json={**row, "status": "panic_sold"})
        return httpx.Response(200, json=[row] if request.url.params.get("offset") == "0" else [])

    async with client_of(api, retry=RetryPolicy(attempts=1)) as client:
        one = asyncio.create_task(client.deals.close_by_market(1))
        await asyncio.sleep(0.1)
        everything = asyncio.create_task(client.deals.close_all(bot_id=9))
        await asyncio.sleep(2)
        everything.cancel()
        await asyncio.wait({one, everything})
        assert isinstance(one.exception(), RequestNotSentError)
        await client.deals.close_by_market(1)
    assert (closed, posts) == (1, 1)


async def test_what_was_left_in_question_is_read_before_fresh_closes_take_all_slots() -> None:
    api = Api(range(1, 61), latency=0.1)
    for trade_id in range(1, 16):
        api.faults[trade_id] = [silence_after]
    limiter = SlidingWindowLimiter(limit=50)
    async with client_of(api, limiter=limiter, attempt_timeout=5.0) as client:
        first = await client.smart_trades.close_many(range(1, 16), deadline=1)
        assert first.counts == {CloseState.UNKNOWN: 15}
        second = await client.smart_trades.close_many(range(1, 61), deadline=6)
    assert all(second[trade_id].ok for trade_id in range(1, 16))
    holds_against(api, first)
    assert max(api.posts.values()) == 1


async def test_what_is_in_question_does_not_hold_fresh_closes_up_for_long() -> None:
    async def hangs(_: int) -> httpx.Response:
        await asyncio.sleep(1e6)
        raise AssertionError

    api = Api([1, 2])
    api.faults[1] = [silence_after]
    async with client_of(api, limiter=SlidingWindowLimiter(limit=1, reserve=0)) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.smart_trades.close_by_market(1, deadline=1)
        api.on_read = hangs
        batch = asyncio.ensure_future(client.smart_trades.close_many([1, 2], deadline=5))
        report = await batch
    assert states(report) == {1: CloseState.UNKNOWN, 2: CloseState.NOT_SENT}


async def test_a_close_that_was_refused_is_not_called_unsent_at_the_deadline() -> None:
    async def refused(_: Api, __: int) -> httpx.Response:
        return error(422, text="Smart trade cannot be closed")

    api = Api([1])
    api.faults[1] = [refused]
    async with client_of(api, limiter=SlidingWindowLimiter(limit=1, reserve=0)) as client:
        report = await client.smart_trades.close_many([1], deadline=3)
    assert states(report) == {1: CloseState.REJECTED}
    assert isinstance(report[1].error, UnprocessableEntityError)


async def test_an_unknown_outcome_at_the_deadline_says_what_the_last_answer_was() -> None:
    api = Api([1])
    api.faults[1] = [gateway_timeout_after]
    async with client_of(api, limiter=SlidingWindowLimiter(limit=1, reserve=0)) as client:
        report = await client.smart_trades.close_many([1], deadline=3)
    assert states(report) == {1: CloseState.UNKNOWN}
    assert "Last answer: POST" in str(report[1].error)
    assert "504" in str(report[1].error)
    assert isinstance(report[1].error, OutcomeUnknownError)
    assert isinstance(report[1].error.__cause__, ServerError)


async def test_a_listing_that_comes_too_late_says_why_at_once() -> None:
    api = Api([1])
    limiter = SlidingWindowLimiter()
    await limiter.block(300)
    async with client_of(api, limiter=limiter) as client:
        with pytest.raises(RequestNotSentError, match=r"before the deadline of 3 s.*429 or 418"):
            await client.smart_trades.close_all(deadline=3)
    assert asyncio.get_running_loop().time() < 1


async def test_a_listing_that_fails_for_another_reason_is_raised_as_it_is() -> None:
    api = Api([1])
    api.on_list = lambda _: error(422)
    async with client_of(api) as client:
        with pytest.raises(UnprocessableEntityError):
            await client.smart_trades.close_all(deadline=30)


async def test_a_429_blocks_as_soon_as_its_head_is_there() -> None:
    class Drip(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(0.2)
                yield b"x"

    async def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(429, headers={"Retry-After": "300"}, stream=Drip())

    limiter = SlidingWindowLimiter()
    async with client_of(handler, limiter=limiter) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.smart_trades.close_by_market(1, deadline=1)
        assert limiter.blocked_for() > 290


async def test_a_429_whose_body_outlasts_the_attempt_is_a_429() -> None:
    class Drip(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(0.2)
                yield b"x"

    async def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(429, headers={"Retry-After": "300"}, stream=Drip())

    async with client_of(handler, attempt_timeout=2.0) as client:
        report = await client.smart_trades.close_many([1], deadline=20)
    assert states(report) == {1: CloseState.NOT_SENT}
    assert "429" in str(report[1].error)


async def test_a_currency_is_not_taken_for_another_that_begins_like_it() -> None:
    def on_list(request: httpx.Request) -> httpx.Response:
        rows = [{**api.trade(1), "pair": "USDT_TUSD"}, {**api.trade(2), "pair": "USDT_T"}]
        return httpx.Response(200, json=rows if request.url.params["page"] == "1" else [])

    api = Api([1, 2])
    api.on_list = on_list
    async with client_of(api) as client:
        report = await client.smart_trades.close_all(base="T")
    assert states(report) == {1: CloseState.NOT_SENT, 2: CloseState.ACCEPTED}
    assert set(api.posts) == {2}


async def test_an_accepted_close_that_did_not_happen_is_read_before_it_is_made_again() -> None:
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
