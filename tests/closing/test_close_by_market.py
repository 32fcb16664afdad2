"""Closing one trade: exactly once, and an answer that is true."""

import asyncio
import random
from typing import Any

import httpx
import pytest

from tests.support import (
    AFTER,
    BEFORE,
    Api,
    Fault,
    answering,
    bad_gateway_after,
    client_of,
    error,
    garbage_after,
    reset_after,
    reset_before,
    silence_after,
    silence_before,
    unavailable_before,
)
from threecommas_async import (
    CloseFailedError,
    InvalidRequestError,
    NotFoundError,
    OutcomeUnknownError,
    RequestNotSentError,
    RetryPolicy,
    ServerError,
    SlidingWindowLimiter,
    UnprocessableEntityError,
)

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


async def close(api: Api, trade_id: int = 7, **options: Any) -> str:
    async with client_of(api) as client:
        trade = await client.smart_trades.close_by_market(trade_id, **options)
    assert trade.id == trade_id
    return trade.status.code


async def test_an_accepted_close_is_one_request_and_returns_the_trade() -> None:
    api = Api([7])
    assert await close(api) == "panic_sell_pending"
    assert len(api.requests) == 1


@pytest.mark.parametrize("trade_id", [True, "7", 7.0, 0, -7, 2**63, None, "1/../2"])
async def test_what_is_no_id_is_refused_before_anything_is_sent(trade_id: Any) -> None:
    api = Api([7, 1])
    async with client_of(api) as client:
        for call in (
            client.smart_trades.close_by_market,
            client.smart_trades.get,
            client.smart_trades.cancel,
        ):
            with pytest.raises(InvalidRequestError, match="nothing was sent"):
                await call(trade_id)
        with pytest.raises(InvalidRequestError, match="nothing was sent"):
            client.smart_trades.close_many([1, trade_id])
    assert api.requests == []


@pytest.mark.parametrize("fault", AFTER)
async def test_a_close_carried_out_but_not_answered_is_found_by_a_read_and_not_repeated(
    fault: Fault,
) -> None:
    api = Api([7])
    api.faults[7] = [fault]
    assert await close(api) in {"panic_sell_pending", "panic_sold"}
    assert api.posts[7] == 1
    assert api.count("GET", "/7") == 1


@pytest.mark.parametrize("fault", BEFORE)
async def test_a_close_that_was_not_carried_out_is_made_again(fault: Fault) -> None:
    api = Api([7])
    api.faults[7] = [fault]
    assert await close(api) == "panic_sell_pending"
    assert api.posts[7] == 2
    assert api.posted_after_acceptance == []


async def test_a_read_stands_between_two_closes_unless_the_first_provably_never_left() -> None:
    api = Api([7])
    api.faults[7] = [reset_before, unavailable_before, silence_before]
    await close(api)
    assert [method for _, method, _ in api.requests] == ["POST", "GET"] * 3 + ["POST"]


async def test_a_close_that_shows_as_open_and_closable_to_the_end_is_unknown() -> None:
    api = Api([7])
    api.faults[7] = [unavailable_before] * 9
    with pytest.raises(OutcomeUnknownError, match="read the trade before") as caught:
        await close(api)
    assert isinstance(caught.value.__cause__, ServerError)
    assert api.posts[7] == 5


async def test_a_close_that_cannot_be_read_after_is_unknown_and_not_repeated() -> None:
    async def unreadable(_: int) -> httpx.Response:
        return httpx.Response(500)

    api = Api([7])
    api.faults[7] = [reset_before]
    api.on_read = unreadable
    with pytest.raises(OutcomeUnknownError) as caught:
        await close(api)
    assert api.posts[7] == 1
    assert any("reading it to find out failed" in note for note in caught.value.__notes__)


async def test_a_2xx_that_cannot_be_understood_is_never_repeated_even_if_it_shows_open() -> None:
    api = Api([7])
    api.faults[7] = [answering(lambda: httpx.Response(200, html="<html>captive portal</html>"))]
    with pytest.raises(OutcomeUnknownError):
        await close(api)
    assert api.posts[7] == 1
    assert api.count("GET", "/7") == 5


async def test_a_close_still_on_its_way_when_first_read_is_found_by_a_later_read() -> None:
    reads = 0

    async def becoming(_: int) -> httpx.Response | None:
        nonlocal reads
        reads += 1
        if reads < 3:
            return httpx.Response(200, json=api.trade(7) | {"status": {"basic_type": "mystery"}})
        return None

    api = Api([7])
    api.data[7] = {"panic_sell_available": False}
    api.faults[7] = [reset_after]
    api.on_read = becoming
    assert await close(api) in {"panic_sell_pending", "panic_sold"}
    assert (api.posts[7], reads) == (1, 3)


async def test_a_trade_that_is_not_closable_is_not_posted_again_after_doubt() -> None:
    api = Api([7])
    api.data[7] = {"panic_sell_available": False}
    api.faults[7] = [reset_before]
    with pytest.raises(OutcomeUnknownError):
        await close(api)
    assert api.posts[7] == 1


@pytest.mark.parametrize("closed_at", [None, "2026-01-05T10:00:00.000Z"])
async def test_only_the_status_tells_that_a_trade_is_closed(closed_at: str | None) -> None:
    api = Api([7])
    api.data[7] = {"finished": True, "closed_at": closed_at}  # both seen on open trades
    api.faults[7] = [reset_before]
    await close(api)
    assert api.posts[7] == 2


async def test_a_refusal_is_raised_after_a_read_shows_the_trade_as_it_was() -> None:
    api = Api([7])
    api.faults[7] = [answering(lambda: error(422, text="below minimum"))]
    with pytest.raises(UnprocessableEntityError, match="below minimum"):
        await close(api)
    assert (api.posts[7], api.count("GET", "/7")) == (1, 1)


async def test_a_refusal_stands_even_if_the_trade_cannot_be_read() -> None:
    async def unreadable(_: int) -> httpx.Response:
        return httpx.Response(404, json={"error": "not_found"})

    async def down(_: int) -> httpx.Response:
        return httpx.Response(500)

    api = Api([7])
    api.faults[7] = [answering(lambda: error(422))] * 2
    api.on_read = down
    with pytest.raises(UnprocessableEntityError):
        await close(api)
    api.on_read = unreadable
    with pytest.raises(NotFoundError):
        await close(api)


async def test_closing_what_is_closing_already_returns_the_trade() -> None:
    api = Api([7])
    await close(api)
    assert await close(api) == "panic_sell_pending"
    await asyncio.sleep(5)
    assert await close(api) == "panic_sold"


async def test_a_refusal_of_a_second_close_is_held_against_a_read() -> None:
    async def late(api: Api, trade_id: int) -> httpx.Response:
        """The first close is carried out between the read and the second close."""
        loop = asyncio.get_running_loop()
        loop.call_later(0.6, api.apply, trade_id)
        raise httpx.ReadError("reset")

    async def after_all(api: Api, trade_id: int) -> httpx.Response:
        await asyncio.sleep(1)
        return api.apply(trade_id)

    api = Api([7])
    api.faults[7] = [late, after_all]
    random.seed(0)
    assert await close(api) in {"panic_sell_pending", "panic_sold"}


async def test_an_unknown_trade_is_not_found_with_one_request() -> None:
    api = Api([7])
    with pytest.raises(NotFoundError, match="Smart Trade not found"):
        await close(api, 8)
    assert len(api.requests) == 1


async def test_a_trade_gone_after_an_unanswered_close_is_not_found() -> None:
    async def vanish(api: Api, trade_id: int) -> httpx.Response:
        del api.status[trade_id]
        raise httpx.ReadError("reset")

    api = Api([7])
    api.faults[7] = [vanish]
    with pytest.raises(NotFoundError):
        await close(api)


async def test_a_trade_that_failed_to_close_is_told_with_the_servers_text() -> None:
    api = Api([7])
    api.failing[7] = "Insufficient balance"
    api.close_delay = 0.0
    with pytest.raises(CloseFailedError, match="Insufficient balance") as caught:
        await close(api)
    assert (caught.value.trade_id, caught.value.reason) == (7, "Insufficient balance")


async def test_a_deadline_without_a_slot_in_time_sends_nothing_and_says_when() -> None:
    api = Api([7, 8])
    async with client_of(api, limiter=SlidingWindowLimiter(1, 60.0)) as client:
        await client.smart_trades.close_by_market(8)
        with pytest.raises(RequestNotSentError, match="comes free in") as caught:
            await client.smart_trades.close_by_market(7, deadline=30)
    assert caught.value.available_in == 60.0
    assert (api.posts[7], now()) == (0, 0.0)


async def test_a_deadline_that_ends_in_flight_is_unknown() -> None:
    api = Api([7])
    api.faults[7] = [silence_after]
    with pytest.raises(OutcomeUnknownError, match="may have taken effect"):
        await close(api, deadline=5)
    assert now() == 5.0


async def test_a_deadline_that_ends_while_reading_is_unknown() -> None:
    async def slow(_: int) -> None:
        await asyncio.sleep(60)

    api = Api([7])
    api.faults[7] = [reset_after]
    api.on_read = slow
    with pytest.raises(OutcomeUnknownError):
        await close(api, deadline=5)
    assert now() == 5.0
    assert api.posts[7] == 1


async def test_a_deadline_that_ends_between_attempts_that_never_left_was_not_sent() -> None:
    async def unreachable(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async with client_of(unreachable, retry=RetryPolicy(attempts=99)) as client:
        with pytest.raises(RequestNotSentError):
            await client.smart_trades.close_by_market(7, deadline=5)
    assert now() == 5.0


@pytest.mark.slow
async def test_thousands_gathered_just_work() -> None:
    ids = range(1, 3001)
    api = Api(ids, latency=0.05)
    under_way = most = 0

    async def counting(request: httpx.Request) -> httpx.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await api(request)
        finally:
            under_way -= 1

    async with client_of(counting, max_connections=20) as client:
        trades = await asyncio.gather(*(client.smart_trades.close_by_market(i) for i in ids))
    assert [trade.id for trade in trades] == list(ids)
    assert (most, len(api.requests)) == (20, 3000)


async def test_gathered_closes_under_faults_are_each_carried_out_once() -> None:
    ids = range(1, 201)
    api = Api(ids)
    chooser = random.Random(7)
    for trade_id in ids:
        api.faults[trade_id] = chooser.sample((*BEFORE, *AFTER), k=chooser.randint(0, 2))
    async with client_of(api) as client:
        await asyncio.gather(*(client.smart_trades.close_by_market(i) for i in ids))
    assert api.accepted.keys() == set(ids)
    assert api.posted_after_acceptance == []


async def test_a_close_overtakes_the_reads_that_wait_for_a_connection() -> None:
    api = Api(range(1, 100), latency=1.0)
    async with client_of(api, max_connections=2) as client:
        reads = [asyncio.create_task(client.smart_trades.get(i)) for i in range(1, 20)]
        await asyncio.sleep(0.5)
        await client.smart_trades.close_by_market(50)
        assert now() == 2.0
        for read in reads:
            read.cancel()


@pytest.mark.parametrize("fault", [bad_gateway_after, garbage_after])
async def test_reading_is_not_tried_before_a_moment_has_passed(fault: Fault) -> None:
    api = Api([7])
    api.faults[7] = [fault]
    await close(api)
    assert 0.25 <= now() <= 0.5
