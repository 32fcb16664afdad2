"""close_by_market: closed exactly once, with a true answer."""

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


async def test_accepted_close_takes_one_request_and_returns_the_trade() -> None:
    api = Api([7])
    assert await close(api) == "panic_sell_pending"
    assert len(api.requests) == 1


@pytest.mark.parametrize("trade_id", [True, "7", 7.0, 0, -7, 2**63, None, "1/../2"])
async def test_invalid_trade_id_is_refused_before_anything_is_sent(trade_id: Any) -> None:
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
async def test_unanswered_close_that_was_carried_out_is_found_by_a_read_and_not_repeated(
    fault: Fault,
) -> None:
    api = Api([7])
    api.faults[7] = [fault]
    assert await close(api) in {"panic_sell_pending", "panic_sold"}
    assert api.posts[7] == 1
    assert api.count("GET", "/7") == 1


@pytest.mark.parametrize("fault", BEFORE)
async def test_close_that_was_not_carried_out_is_posted_again(fault: Fault) -> None:
    api = Api([7])
    api.faults[7] = [fault]
    assert await close(api) == "panic_sell_pending"
    assert api.posts[7] == 2
    assert api.posted_after_acceptance == []


async def test_a_read_precedes_every_repeated_close() -> None:
    api = Api([7])
    api.faults[7] = [reset_before, unavailable_before, silence_before]
    await close(api)
    assert [method for _, method, _ in api.requests] == ["POST", "GET"] * 3 + ["POST"]


async def test_close_that_always_shows_open_raises_outcome_unknown_after_the_last_attempt() -> None:
    api = Api([7])
    api.faults[7] = [unavailable_before] * 9
    with pytest.raises(OutcomeUnknownError, match="read the trade before") as caught:
        await close(api)
    assert isinstance(caught.value.__cause__, ServerError)
    assert api.posts[7] == 5


async def test_close_without_a_successful_read_raises_outcome_unknown_and_is_not_repeated() -> None:
    async def fail_read(_: int) -> httpx.Response:
        return httpx.Response(500)

    api = Api([7])
    api.faults[7] = [reset_before]
    api.on_read = fail_read
    with pytest.raises(OutcomeUnknownError) as caught:
        await close(api)
    assert api.posts[7] == 1
    assert any("reading it to find out failed" in note for note in caught.value.__notes__)


async def test_unparsable_2xx_is_never_repeated_even_if_reads_show_the_trade_open() -> None:
    api = Api([7])
    api.faults[7] = [answering(lambda: httpx.Response(200, html="<html>captive portal</html>"))]
    with pytest.raises(OutcomeUnknownError):
        await close(api)
    assert api.posts[7] == 1
    assert api.count("GET", "/7") == 5


async def test_close_still_pending_at_the_first_read_is_found_by_a_later_read() -> None:
    reads = 0

    async def ambiguous_twice(_: int) -> httpx.Response | None:
        nonlocal reads
        reads += 1
        if reads < 3:
            return httpx.Response(200, json=api.trade(7) | {"status": {"basic_type": "mystery"}})
        return None

    api = Api([7])
    api.data[7] = {"panic_sell_available": False}
    api.faults[7] = [reset_after]
    api.on_read = ambiguous_twice
    assert await close(api) in {"panic_sell_pending", "panic_sold"}
    assert (api.posts[7], reads) == (1, 3)


async def test_unanswered_close_of_a_trade_not_closable_is_not_repeated() -> None:
    api = Api([7])
    api.data[7] = {"panic_sell_available": False}
    api.faults[7] = [reset_before]
    with pytest.raises(OutcomeUnknownError):
        await close(api)
    assert api.posts[7] == 1


@pytest.mark.parametrize("closed_at", [None, "2026-01-05T10:00:00.000Z"])
async def test_only_the_status_decides_whether_a_trade_is_closed(closed_at: str | None) -> None:
    api = Api([7])
    api.data[7] = {"finished": True, "closed_at": closed_at}  # both seen on open trades
    api.faults[7] = [reset_before]
    await close(api)
    assert api.posts[7] == 2


async def test_refused_close_raises_after_a_read_shows_the_trade_open() -> None:
    api = Api([7])
    api.faults[7] = [answering(lambda: error(422, text="below minimum"))]
    with pytest.raises(UnprocessableEntityError, match="below minimum"):
        await close(api)
    assert (api.posts[7], api.count("GET", "/7")) == (1, 1)


async def test_refusal_is_raised_even_if_the_trade_cannot_be_read() -> None:
    async def not_found(_: int) -> httpx.Response:
        return httpx.Response(404, json={"error": "not_found"})

    async def down(_: int) -> httpx.Response:
        return httpx.Response(500)

    api = Api([7])
    api.faults[7] = [answering(lambda: error(422))] * 2
    api.on_read = down
    with pytest.raises(UnprocessableEntityError):
        await close(api)
    api.on_read = not_found
    with pytest.raises(NotFoundError):
        await close(api)


async def test_closing_a_trade_already_closing_returns_the_trade() -> None:
    api = Api([7])
    await close(api)
    assert await close(api) == "panic_sell_pending"
    await asyncio.sleep(5)
    assert await close(api) == "panic_sold"


async def test_refusal_of_a_repeated_close_is_checked_against_a_read() -> None:
    async def lose_and_apply_later(api: Api, trade_id: int) -> httpx.Response:
        """The first close is carried out between the read and the second close."""
        loop = asyncio.get_running_loop()
        loop.call_later(0.6, api.apply, trade_id)
        raise httpx.ReadError("reset")

    async def apply_after_a_second(api: Api, trade_id: int) -> httpx.Response:
        await asyncio.sleep(1)
        return api.apply(trade_id)

    api = Api([7])
    api.faults[7] = [lose_and_apply_later, apply_after_a_second]
    random.seed(0)
    assert await close(api) in {"panic_sell_pending", "panic_sold"}


async def test_close_of_a_missing_trade_raises_not_found_after_one_request() -> None:
    api = Api([7])
    with pytest.raises(NotFoundError, match="Smart Trade not found"):
        await close(api, 8)
    assert len(api.requests) == 1


async def test_trade_gone_after_an_unanswered_close_raises_not_found() -> None:
    async def delete_and_lose_answer(api: Api, trade_id: int) -> httpx.Response:
        del api.status[trade_id]
        raise httpx.ReadError("reset")

    api = Api([7])
    api.faults[7] = [delete_and_lose_answer]
    with pytest.raises(NotFoundError):
        await close(api)


async def test_failed_close_raises_close_failed_with_the_servers_reason() -> None:
    api = Api([7])
    api.failing[7] = "Insufficient balance"
    api.close_delay = 0.0
    with pytest.raises(CloseFailedError, match="Insufficient balance") as caught:
        await close(api)
    assert (caught.value.trade_id, caught.value.reason) == (7, "Insufficient balance")


async def test_deadline_before_the_next_free_slot_raises_not_sent_with_the_wait() -> None:
    api = Api([7, 8])
    async with client_of(api, limiter=SlidingWindowLimiter(1, 60.0)) as client:
        await client.smart_trades.close_by_market(8)
        with pytest.raises(RequestNotSentError, match="comes free in") as caught:
            await client.smart_trades.close_by_market(7, deadline=30)
    assert caught.value.available_in == 60.0
    assert (api.posts[7], now()) == (0, 0.0)


async def test_deadline_in_flight_raises_outcome_unknown() -> None:
    api = Api([7])
    api.faults[7] = [silence_after]
    with pytest.raises(OutcomeUnknownError, match="may have taken effect"):
        await close(api, deadline=5)
    assert now() == 5.0


async def test_deadline_during_the_read_raises_outcome_unknown() -> None:
    async def slow(_: int) -> None:
        await asyncio.sleep(60)

    api = Api([7])
    api.faults[7] = [reset_after]
    api.on_read = slow
    with pytest.raises(OutcomeUnknownError):
        await close(api, deadline=5)
    assert now() == 5.0
    assert api.posts[7] == 1


async def test_deadline_between_attempts_that_never_connected_raises_not_sent() -> None:
    async def unreachable(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async with client_of(unreachable, retry=RetryPolicy(attempts=99)) as client:
        with pytest.raises(RequestNotSentError):
            await client.smart_trades.close_by_market(7, deadline=5)
    assert now() == 5.0


@pytest.mark.slow
async def test_3000_gathered_closes_share_20_connections() -> None:
    ids = range(1, 3001)
    api = Api(ids, latency=0.05)
    in_flight = most = 0

    async def counting(request: httpx.Request) -> httpx.Response:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        try:
            return await api(request)
        finally:
            in_flight -= 1

    async with client_of(counting, max_connections=20) as client:
        trades = await asyncio.gather(*(client.smart_trades.close_by_market(i) for i in ids))
    assert [trade.id for trade in trades] == list(ids)
    assert (most, len(api.requests)) == (20, 3000)


async def test_200_gathered_closes_with_faults_are_each_carried_out_once() -> None:
    ids = range(1, 201)
    api = Api(ids)
    chooser = random.Random(7)
    for trade_id in ids:
        api.faults[trade_id] = chooser.sample((*BEFORE, *AFTER), k=chooser.randint(0, 2))
    async with client_of(api) as client:
        await asyncio.gather(*(client.smart_trades.close_by_market(i) for i in ids))
    assert api.accepted.keys() == set(ids)
    assert api.posted_after_acceptance == []


async def test_close_overtakes_reads_that_wait_for_a_connection() -> None:
    api = Api(range(1, 100), latency=1.0)
    async with client_of(api, max_connections=2) as client:
        reads = [asyncio.create_task(client.smart_trades.get(i)) for i in range(1, 20)]
        await asyncio.sleep(0.5)
        await client.smart_trades.close_by_market(50)
        assert now() == 2.0
        for read in reads:
            read.cancel()


@pytest.mark.parametrize("fault", [bad_gateway_after, garbage_after])
async def test_read_after_an_ambiguous_answer_is_delayed_by_a_quarter_second(fault: Fault) -> None:
    api = Api([7])
    api.faults[7] = [fault]
    await close(api)
    assert 0.25 <= now() <= 0.5
