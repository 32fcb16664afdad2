"""Deadlines: how long an attempt takes at most, and what is said when the time is over."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support import Api, client_of
from threecommas_async import RequestNotSentError, RetryPolicy, SlidingWindowLimiter

pytestmark = pytest.mark.looptime


async def test_a_read_for_which_there_is_no_second_slot_says_what_the_first_ended_in() -> None:
    async def lost(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("too slow")

    async with client_of(lost, limiter=SlidingWindowLimiter(limit=1)) as client:
        with pytest.raises(RequestNotSentError, match=r"no slot.*The last attempt.*too slow"):
            await client.smart_trades.get(1, deadline=10)


async def test_a_deadline_says_what_the_last_attempt_ended_in() -> None:
    async def down(_: Api, __: int) -> httpx.Response:
        raise httpx.ConnectError("Connection refused")

    api = Api([1])
    api.faults[1] = [down] * 99
    async with client_of(api, retry=RetryPolicy(attempts=99)) as client:
        with pytest.raises(RequestNotSentError, match="Connection refused") as caught:
            await client.smart_trades.close_by_market(1, deadline=3)
        assert "Connection refused" in str(caught.value.__cause__)
        report = await client.smart_trades.close_many([1], deadline=3)
    assert "Connection refused" in str(report[1].error)
    assert "before the deadline of 3 s" in str(report[1].error)


async def test_an_attempt_has_a_total_time_however_the_answer_drips() -> None:
    class Drip(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(5)
                yield b" "

    async def drips(api: Api, trade_id: int) -> httpx.Response:
        api.apply(trade_id)
        return httpx.Response(201, stream=Drip())

    api = Api([1])
    api.faults[1] = [drips]
    async with client_of(api, attempt_timeout=20.0) as client:
        trade = await client.smart_trades.close_by_market(1)
    assert trade.status.code in {"panic_sell_pending", "panic_sold"}
    assert api.posts[1] == 1
    assert asyncio.get_running_loop().time() < 25
