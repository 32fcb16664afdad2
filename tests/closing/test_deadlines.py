"""Deadlines and attempt timeouts, and the errors they raise."""

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


# --- errors at the deadline


async def test_read_without_a_second_slot_raises_an_error_with_the_first_failure() -> None:
    async def time_out(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("too slow")

    async with client_of(time_out, limiter=SlidingWindowLimiter(limit=1)) as client:
        with pytest.raises(RequestNotSentError, match=r"no slot.*The last attempt.*too slow"):
            await client.smart_trades.get(1, deadline=10)


async def test_deadline_error_names_the_failure_of_the_last_attempt() -> None:
    async def fail_to_connect(_: Api, __: int) -> httpx.Response:
        raise httpx.ConnectError("Connection refused")

    api = Api([1])
    api.faults[1] = [fail_to_connect] * 99
    async with client_of(api, retry=RetryPolicy(attempts=99)) as client:
        with pytest.raises(RequestNotSentError, match="Connection refused") as caught:
            await client.smart_trades.close_by_market(1, deadline=3)
        assert "Connection refused" in str(caught.value.__cause__)
        report = await client.smart_trades.close_many([1], deadline=3)
    assert "Connection refused" in str(report[1].error)
    assert "before the deadline of 3 s" in str(report[1].error)


async def test_unknown_outcome_at_the_deadline_names_the_last_answer() -> None:
    api = Api([1])
    api.faults[1] = [gateway_timeout_after]
    async with client_of(api, limiter=SlidingWindowLimiter(limit=1, reserve=0)) as client:
        report = await client.smart_trades.close_many([1], deadline=3)
    assert states(report) == {1: CloseState.UNKNOWN}
    assert "Last answer: POST" in str(report[1].error)
    assert "504" in str(report[1].error)
    assert isinstance(report[1].error, OutcomeUnknownError)
    assert isinstance(report[1].error.__cause__, ServerError)


async def test_refused_close_is_rejected_rather_than_not_sent_at_the_deadline() -> None:
    async def refused(_: Api, __: int) -> httpx.Response:
        return error(422, text="Smart trade cannot be closed")

    api = Api([1])
    api.faults[1] = [refused]
    async with client_of(api, limiter=SlidingWindowLimiter(limit=1, reserve=0)) as client:
        report = await client.smart_trades.close_many([1], deadline=3)
    assert states(report) == {1: CloseState.REJECTED}
    assert isinstance(report[1].error, UnprocessableEntityError)


async def test_close_all_deadline_within_a_block_raises_not_sent_at_once() -> None:
    api = Api([1])
    limiter = SlidingWindowLimiter()
    await limiter.block(300)
    async with client_of(api, limiter=limiter) as client:
        with pytest.raises(RequestNotSentError, match=r"before the deadline of 3 s.*429 or 418"):
            await client.smart_trades.close_all(deadline=3)
    assert asyncio.get_running_loop().time() < 1


# --- attempt timeout


class Drip(httpx.AsyncByteStream):
    """A body that arrives piece by piece and never ends."""

    def __init__(self, piece: bytes, pause: float) -> None:
        self._piece = piece
        self._pause = pause

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(self._pause)
            yield self._piece


async def slow_429(_: httpx.Request) -> httpx.Response:
    headers = {"Retry-After": "300"}
    return httpx.Response(429, headers=headers, stream=Drip(b"x", pause=0.2))


async def test_attempt_timeout_limits_an_answer_that_trickles_in() -> None:
    async def answer_slowly(api: Api, trade_id: int) -> httpx.Response:
        api.apply(trade_id)
        return httpx.Response(201, stream=Drip(b" ", pause=5))

    api = Api([1])
    api.faults[1] = [answer_slowly]
    async with client_of(api, attempt_timeout=20.0) as client:
        trade = await client.smart_trades.close_by_market(1)
    assert trade.status.code in {"panic_sell_pending", "panic_sold"}
    assert api.posts[1] == 1
    assert asyncio.get_running_loop().time() < 25


async def test_429_blocks_as_soon_as_its_head_arrives() -> None:
    limiter = SlidingWindowLimiter()
    async with client_of(slow_429, limiter=limiter) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.smart_trades.close_by_market(1, deadline=1)
        assert limiter.blocked_for() > 290


async def test_429_whose_body_outlasts_the_attempt_is_reported_as_429() -> None:
    async with client_of(slow_429, attempt_timeout=2.0) as client:
        report = await client.smart_trades.close_many([1], deadline=20)
    assert states(report) == {1: CloseState.NOT_SENT}
    assert "429" in str(report[1].error)


async def test_batch_during_a_block_that_outlasts_its_deadline_ends_at_once_and_says_why() -> None:
    limiter = SlidingWindowLimiter()
    api = Api([1, 2])
    async with client_of(api, limiter=limiter) as client:
        await limiter.block(3000)
        report = await client.smart_trades.close_many([1, 2], deadline=600)
    assert asyncio.get_running_loop().time() < 1
    for outcome in report:
        assert outcome.state is CloseState.NOT_SENT
        assert "429 or 418" in str(outcome.error)
        assert str(outcome.error).startswith(f"trade {outcome.trade_id}: not sent")
        assert isinstance(outcome.error, RequestNotSentError)
        assert outcome.error.available_in is not None


async def test_cancels_that_were_not_sent_are_not_called_closes() -> None:
    api = Api([1], latency=1.0)
    api.status[1] = "waiting_position"
    async with client_of(api) as client:
        report = await client.smart_trades.cancel_many([1], deadline=0.5)
    assert "safe to cancel again" in str(report[1].error)
