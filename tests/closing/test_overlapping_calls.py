"""Calls about the same trades that overlap: what one finds out is right for the other."""

import asyncio

import httpx
import pytest

from tests.support import Api, client_of, error, states, trade_json
from threecommas_async import CloseState, RetryPolicy, SlidingWindowLimiter

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_close_that_waits_for_a_cancel_closes_a_position_that_was_entered() -> None:
    async def fill_slowly(api: Api, trade_id: int) -> httpx.Response:
        await asyncio.sleep(2)
        api.status[trade_id] = "waiting_targets"
        return httpx.Response(200, json=trade_json(trade_id, "cancellation_pending"))

    api = Api([7])
    api.status[7] = "waiting_position"
    api.cancel_faults[7] = [fill_slowly]
    async with client_of(api) as client:
        cancelling = asyncio.ensure_future(client.smart_trades.cancel_many([7]))
        await asyncio.sleep(1)
        report = await client.smart_trades.close_many([7])
        await cancelling
    assert report.ok
    assert api.posts[7] == 1
    assert 7 in api.accepted


async def test_confirm_does_not_forget_a_later_accepted_close() -> None:
    """The first close is accepted and does nothing; the second is carried out, reads lag 4 s."""

    async def accept_only(api: Api, trade_id: int) -> httpx.Response:
        return httpx.Response(201, json=trade_json(trade_id, "panic_sell_pending"))

    async def show_late(trade_id: int) -> httpx.Response | None:
        accepted = api.accepted.get(trade_id)
        stale = accepted is None or now() < accepted + 4
        return httpx.Response(200, json=api.stale(trade_id)) if stale else None

    api = Api([1])
    api.faults[1] = [accept_only]
    api.on_read = show_late
    async with client_of(api) as client:
        confirming = asyncio.ensure_future(client.smart_trades.close_many([1], confirm=True))
        await asyncio.sleep(30.3)
        await client.smart_trades.close_by_market(1)
        await asyncio.sleep(2)
        await client.smart_trades.close_by_market(1)
        assert states(await confirming) == {1: CloseState.CLOSED}
    assert api.posts[1] == 2  # those of the first and the second call
    assert api.posted_after_acceptance == []


async def test_cancel_many_waits_out_a_429_and_goes_on() -> None:
    async def refuse(_: Api, __: int) -> httpx.Response:
        return error(429, "rate", "Rate limit exceeded.")

    api = Api([1])
    api.status[1] = "waiting_position"
    api.cancel_faults[1] = [refuse]
    limiter = SlidingWindowLimiter(penalty=60.0)
    async with client_of(api, limiter=limiter) as client:
        report = await client.smart_trades.cancel_many([1])
    assert states(report) == {1: CloseState.ACCEPTED}
    assert [method for _, method, _ in api.requests] == ["GET", "DELETE", "GET", "DELETE"]


async def test_cancel_many_gives_up_after_the_waits_of_the_policy() -> None:
    async def refuse(_: Api, __: int) -> httpx.Response:
        return error(429, "rate", "Rate limit exceeded.")

    api = Api([1])
    api.status[1] = "waiting_position"
    api.cancel_faults[1] = [refuse] * 9
    async with client_of(api, retry=RetryPolicy(rate_limit_waits=2)) as client:
        report = await client.smart_trades.cancel_many([1])
    assert states(report) == {1: CloseState.NOT_SENT}
    assert api.count("DELETE") == 3


async def test_no_page_is_read_in_the_moment_in_which_a_confirming_batch_is_left() -> None:
    api = Api([1, 2, 3])
    api.close_delay = 1e6
    async with client_of(api) as client:
        batch = client.smart_trades.close_many([1, 2, 3], confirm=True)
        iterators = [aiter(batch)]
        sent: list[int] = []

        def leave() -> None:
            iterators.clear()
            sent.append(len(api.requests))

        # Due in the same iteration of the loop as the pause before the first page, and after it.
        loop = asyncio.get_running_loop()
        loop.call_at(0.5, loop.call_at, 1.0, leave)
        closing = asyncio.ensure_future(batch)
        await asyncio.sleep(30)
        await asyncio.wait({closing})
    assert sent == [3]
    assert len(api.requests) == 3


async def test_wait_until_closed_reports_no_error_for_a_trade_that_is_closing() -> None:
    async def fail_later(_: int) -> httpx.Response | None:
        return httpx.Response(500) if now() > 1 else None

    api = Api([1])
    api.close_delay = 1e6
    api.apply(1)
    api.on_read = fail_later
    async with client_of(api, retry=RetryPolicy(attempts=1)) as client:
        report = await client.smart_trades.wait_until_closed([1], timeout=20)
    assert states(report) == {1: CloseState.ACCEPTED}
    assert report[1].error is None


async def test_trade_that_was_closing_and_opens_again_is_not_said_to_be_accepted() -> None:
    async def reject_while_closing(api: Api, trade_id: int) -> httpx.Response:
        api.status[trade_id] = "stop_loss_in_progress"
        return error(422, text="Smart trade cannot be closed")

    async def reopen_later(trade_id: int) -> httpx.Response | None:
        return httpx.Response(200, json=api.stale(trade_id)) if now() > 3 else None

    api = Api([1])
    api.faults[1] = [reject_while_closing]
    api.on_read = reopen_later
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1], confirm=True, deadline=120)
    assert states(report) == {1: CloseState.UNKNOWN}
    assert "is open again" in str(report[1].error)


async def test_other_closes_do_not_wait_for_one_that_is_being_closed_by_another_call() -> None:
    async def slow(api: Api, trade_id: int) -> httpx.Response:
        await asyncio.sleep(10)
        return api.apply(trade_id)

    api = Api(range(1, 11))
    api.faults[1] = [slow]
    async with client_of(api) as client:
        single = asyncio.create_task(client.smart_trades.close_by_market(1))
        await asyncio.sleep(0.1)
        report = await client.smart_trades.close_many(range(1, 11))
        await single
    assert report.ok
    posted_at = [at for at, method, path in api.requests if method == "POST" and "/1/" not in path]
    assert max(posted_at) < 0.5


async def test_report_after_a_stop_says_why_nothing_was_listed_any_more() -> None:
    async def refuse(_: Api, __: int) -> httpx.Response:
        return error(401, "signature_invalid")

    api = Api([1, 2])
    api.faults[1] = [refuse]
    api.faults[2] = [refuse]
    async with client_of(api) as client:
        report = await client.smart_trades.close_all()
    assert report.unlisted is not None
    assert "signature_invalid" in str(report.unlisted)


async def test_close_after_a_cancel_that_read_the_trade_closing_is_not_sent() -> None:
    async def carry_out_silently(api: Api, trade_id: int) -> httpx.Response:
        api.apply(trade_id)
        await asyncio.sleep(1e6)
        raise AssertionError

    api = Api([1])
    api.close_delay = 1e6
    api.faults[1] = [carry_out_silently]
    async with client_of(api) as client:
        closing = asyncio.create_task(client.smart_trades.close_by_market(1))
        await asyncio.sleep(0.5)
        closing.cancel()
        await asyncio.wait({closing})
        cancelled = await client.smart_trades.cancel_many([1])
        report = await client.smart_trades.close_many([1])
    assert cancelled.ok
    assert report.ok
    assert api.posts[1] == 1
