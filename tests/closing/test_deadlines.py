"""Deadlines: how long an attempt takes at most, and what is said when the time is over."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support import Api, client_of, error, gateway_timeout_after, states
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


# --- what is said


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


async def test_a_close_that_was_refused_is_not_called_unsent_at_the_deadline() -> None:
    async def refused(_: Api, __: int) -> httpx.Response:
        return error(422, text="Smart trade cannot be closed")

    api = Api([1])
    api.faults[1] = [refused]
    async with client_of(api, limiter=SlidingWindowLimiter(limit=1, reserve=0)) as client:
        report = await client.smart_trades.close_many([1], deadline=3)
    assert states(report) == {1: CloseState.REJECTED}
    assert isinstance(report[1].error, UnprocessableEntityError)


async def test_a_listing_that_comes_too_late_says_why_at_once() -> None:
    api = Api([1])
    limiter = SlidingWindowLimiter()
    await limiter.block(300)
    async with client_of(api, limiter=limiter) as client:
        with pytest.raises(RequestNotSentError, match=r"before the deadline of 3 s.*429 or 418"):
            await client.smart_trades.close_all(deadline=3)
    assert asyncio.get_running_loop().time() < 1


# --- the time of an attempt


class Drip(httpx.AsyncByteStream):
    """A body that comes piece by piece and never ends."""

    def __init__(self, piece: bytes, pause: float) -> None:
        self._piece = piece
        self._pause = pause

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(self._pause)
            yield self._piece


async def dripping_429(_: httpx.Request) -> httpx.Response:
    headers = {"Retry-After": "300"}
    return httpx.Response(429, headers=headers, stream=Drip(b"x", pause=0.2))


async def test_an_attempt_has_a_total_time_however_the_answer_drips() -> None:
    async def drips(api: Api, trade_id: int) -> httpx.Response:
        api.apply(trade_id)
        return httpx.Response(201, stream=Drip(b" ", pause=5))

    api = Api([1])
    api.faults[1] = [drips]
    async with client_of(api, attempt_timeout=20.0) as client:
        trade = await client.smart_trades.close_by_market(1)
    assert trade.status.code in {"panic_sell_pending", "panic_sold"}
    assert api.posts[1] == 1
    assert asyncio.get_running_loop().time() < 25


async def test_a_429_blocks_as_soon_as_its_head_is_there() -> None:
    limiter = SlidingWindowLimiter()
    async with client_of(dripping_429, limiter=limiter) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.smart_trades.close_by_market(1, deadline=1)
        assert limiter.blocked_for() > 290


async def test_a_429_whose_body_outlasts_the_attempt_is_a_429() -> None:
    async with client_of(dripping_429, attempt_timeout=2.0) as client:
        report = await client.smart_trades.close_many([1], deadline=20)
    assert states(report) == {1: CloseState.NOT_SENT}
    assert "429" in str(report[1].error)
