"""close_all as a handle: awaited, iterated, inspected, and left at any moment."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.support import (
    Api,
    assert_report_is_true,
    client_of,
    close_all,
    error,
    states,
    trade_json,
)
from threecommas_async import (
    CloseBatch,
    CloseFailedError,
    CloseOutcome,
    CloseState,
    InvalidRequestError,
    RetryPolicy,
    ServerError,
    SlidingWindowLimiter,
    SmartTrade,
)

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


def states_in_order(outcomes: list[CloseOutcome[SmartTrade]]) -> list[tuple[int, CloseState]]:
    return [(outcome.trade_id, outcome.state) for outcome in outcomes]


async def fail_to_connect(_: Api, __: int) -> httpx.Response:
    raise httpx.ConnectError("refused")


async def cancel_close_all_after(
    api: Api, seconds: float, **options: Any
) -> CloseBatch[SmartTrade]:
    """Await `close_all` for `seconds`, then cancel it and return its handle."""
    async with client_of(api, max_connections=2) as client:
        batch = client.smart_trades.close_all(**options)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds):
                await batch
        sent = len(api.requests)
        assert now() == seconds
        await asyncio.sleep(100)
        assert len(api.requests) == sent
    return batch


# --- the same kind of handle as `close_many` returns


async def test_close_all_sends_nothing_before_it_is_awaited_and_can_be_wrapped_in_a_task() -> None:
    api = Api([1, 2])
    async with client_of(api) as client:
        batch = client.smart_trades.close_all()
        assert isinstance(batch, CloseBatch)
        await asyncio.sleep(1)
        assert (api.requests, len(batch)) == ([], 0)
        report = await asyncio.ensure_future(batch)
    assert states(report) == dict.fromkeys([1, 2], CloseState.ACCEPTED)
    assert (batch.report, len(batch)) == (report, 2)


async def test_close_all_warns_if_it_is_never_awaited() -> None:
    async with client_of(Api()) as client:
        with pytest.warns(RuntimeWarning, match="close of everything was never awaited"):
            client.smart_trades.close_all()


async def test_close_all_refuses_bad_arguments_at_the_call() -> None:
    async def wrong(_: object) -> None: ...

    async with client_of(Api()) as client:
        with pytest.raises(InvalidRequestError, match="plain function"):
            client.smart_trades.close_all(on_outcome=wrong)
        with pytest.raises(InvalidRequestError, match="pair"):
            client.smart_trades.close_all(pair="")
        with pytest.raises(InvalidRequestError, match="plain function"):
            client.deals.close_all(on_outcome=wrong)
        with pytest.raises(InvalidRequestError, match="bot_id"):
            client.deals.close_all(bot_id=-1)


async def test_iterating_close_all_yields_each_outcome_as_it_becomes_known() -> None:
    api = Api([1, 2, 3], latency=1.0)
    given: list[tuple[int, float]] = []
    async with client_of(api, max_connections=1) as client:
        batch = client.smart_trades.close_all()
        async for outcome in batch:
            given.append((outcome.trade_id, now()))
            assert outcome.elapsed == now()
    assert given == [(1, 3.0), (2, 4.0), (3, 5.0)]  # after two pages
    assert batch.report.ok


async def test_iterating_a_dry_run_yields_what_it_found() -> None:
    async with client_of(Api([1, 2])) as client:
        plan = client.smart_trades.close_all(dry_run=True)
        given = [outcome async for outcome in plan]
    assert states_in_order(given) == [(1, CloseState.NOT_SENT), (2, CloseState.NOT_SENT)]
    assert (plan.report.leftovers, plan.report.unlisted) == ((1, 2), None)


async def test_iterating_close_all_raises_if_its_first_listing_fails() -> None:
    api = Api([1])
    api.on_list = lambda _: httpx.Response(500)
    async with client_of(api) as client:
        batch = client.smart_trades.close_all()
        with pytest.raises(ServerError):
            await anext(aiter(batch))
    assert isinstance(batch.report.unlisted, ServerError)
    assert not batch.report.ok


# --- the report at any moment


async def test_close_all_report_is_not_ok_before_its_last_listing() -> None:
    api = Api([1, 2], latency=1.0)
    seen: list[tuple[float, int, bool]] = []
    async with client_of(api) as client:
        batch = client.smart_trades.close_all()
        seen.append((now(), len(batch.report), batch.report.ok))
        closing = asyncio.ensure_future(batch)
        while not closing.done():
            await asyncio.sleep(1.25)
            seen.append((now(), len(batch.report), batch.report.ok))
    assert seen == [
        (0.0, 0, False),
        (1.25, 2, False),  # the first page is there, the last is not
        (2.5, 2, False),  # both are in flight
        (3.75, 2, False),  # accepted, and being listed again
        (5.0, 2, False),  # the last page of that listing arrives now
        (6.25, 2, True),
    ]


async def test_close_all_cancelled_while_listing_reports_the_trades_listed_so_far() -> None:
    api = Api(range(1, 151), latency=1.0)
    batch = await cancel_close_all_after(api, 1.5)
    assert batch.report.counts == {CloseState.NOT_SENT: 100}
    assert batch.report[1].trade is not None
    assert batch.report.unlisted is not None
    assert api.count("POST") == 0


async def test_close_all_cancelled_while_closing_reports_closes_in_flight_as_unknown() -> None:
    api = Api(range(1, 7), latency=1.0)
    reported: list[CloseOutcome[SmartTrade]] = []
    batch = await cancel_close_all_after(api, 3.5, on_outcome=reported.append)
    assert batch.report.counts == {
        CloseState.ACCEPTED: 2,
        CloseState.UNKNOWN: 2,
        CloseState.NOT_SENT: 2,
    }
    assert {outcome.trade_id: outcome.state for outcome in reported} == states(batch.report)
    assert_report_is_true(api, batch.report)


async def test_close_all_cancelled_before_its_cancels_reports_them_as_not_sent() -> None:
    api = Api([1, 2], latency=1.0)
    api.status[2] = "waiting_position"
    batch = await cancel_close_all_after(api, 2.5, pending="cancel")
    assert states(batch.report) == {1: CloseState.UNKNOWN, 2: CloseState.NOT_SENT}
    assert batch.report[2].trade is not None
    assert "safe to close again" in str(batch.report[2].error)


async def test_close_all_cancelled_while_listing_again_keeps_its_closed_trades() -> None:
    api = Api([1, 2], latency=1.0)
    batch = await cancel_close_all_after(api, 3.5)
    assert states(batch.report) == dict.fromkeys([1, 2], CloseState.ACCEPTED)
    assert batch.report.unlisted is not None
    assert not batch.report.ok


async def test_close_all_cancelled_in_its_second_round_counts_the_attempts_of_both() -> None:
    api = Api([1], latency=1.0)
    async with client_of(api, retry=RetryPolicy(attempts=2, backoff=0.0)) as client:
        api.faults[1] = [fail_to_connect, fail_to_connect]
        batch = client.smart_trades.close_all()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(6.5):  # two listings of two pages, two POSTs, one more
                await batch
    assert states(batch.report) == {1: CloseState.UNKNOWN}
    assert batch.report[1].attempts == 3
    assert batch.report[1].elapsed == 6.5


async def test_report_of_a_finished_close_all_does_not_change() -> None:
    api = Api([1], latency=1.0)
    async with client_of(api) as client:
        batch = client.smart_trades.close_all()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await batch
        report = batch.report
        await client.smart_trades.close_many([1])
    assert batch.report is report
    assert states(report) == {1: CloseState.UNKNOWN}


# --- left early


async def test_leaving_the_loop_stops_close_all_at_once() -> None:
    api = Api(range(1, 31), latency=0.1)
    async with client_of(api) as client:
        batch = client.smart_trades.close_all()
        async for _ in batch:
            break
        sent, report = set(api.posts), batch.report
        await asyncio.sleep(10)
    assert set(api.posts) == sent
    assert len(report) == 30
    assert_report_is_true(api, report)
    assert batch.report.counts == report.counts
    assert report.unlisted is not None


async def test_closing_the_iterator_while_close_all_lists_sends_nothing_more() -> None:
    api = Api(range(1, 301), latency=1.0)
    async with client_of(api) as client:
        outcomes = aiter(client.smart_trades.close_all())
        first = asyncio.ensure_future(anext(outcomes))
        await asyncio.sleep(0.5)
        await outcomes.aclose()
        with pytest.raises(StopAsyncIteration):
            await first
        await asyncio.sleep(10)
    assert len(api.requests) == 1


# --- rounds


async def test_retried_trade_is_reported_once_with_its_final_outcome() -> None:
    api = Api([1, 2])
    api.faults[1] = [fail_to_connect] * 5
    reported: list[CloseOutcome[SmartTrade]] = []
    async with client_of(api) as client:
        batch = client.smart_trades.close_all(on_outcome=reported.append)
        given = [outcome async for outcome in batch]
    assert states_in_order(reported) == [(2, CloseState.ACCEPTED), (1, CloseState.ACCEPTED)]
    assert given == reported
    assert batch.report[1].attempts == 6


async def test_trade_retried_in_vain_is_reported_once_at_the_end() -> None:
    api = Api([1, 2])
    api.faults[1] = [fail_to_connect] * 9
    reported: list[CloseOutcome[SmartTrade]] = []
    async with client_of(api, retry=RetryPolicy(attempts=2)) as client:
        report = await client.smart_trades.close_all(on_outcome=reported.append)
    assert states_in_order(reported) == [(2, CloseState.ACCEPTED), (1, CloseState.NOT_SENT)]
    assert reported[-1] is report[1]
    assert api.posts[1] == 4


def list_with_status_after_first_post(api: Api, status: str, reason: str | None = None) -> None:
    """Make listings show each trade with this status once something was POSTed."""

    def on_list(request: httpx.Request) -> httpx.Response | None:
        if not api.posts:
            return None
        rows = [trade_json(trade_id, status) for trade_id in api.status]
        for row in rows:
            row["status"]["error"] = reason
        return httpx.Response(200, json=rows if request.url.params["page"] == "1" else [])

    api.on_list = on_list


async def test_close_that_the_last_listing_shows_failed_is_reported_failed() -> None:
    api = Api([1])
    list_with_status_after_first_post(api, "failed", "Insufficient balance")
    reported: list[CloseOutcome[SmartTrade]] = []
    report = await close_all(api, on_outcome=reported.append)
    assert states(report) == {1: CloseState.FAILED}
    failure = report[1].error
    assert isinstance(failure, CloseFailedError)
    assert failure.reason == "Insufficient balance"
    assert (report.ok, report.leftovers, report[1].attempts) == (False, (1,), 1)
    assert states_in_order(reported) == [(1, CloseState.ACCEPTED), (1, CloseState.FAILED)]


async def test_close_that_the_last_listing_shows_closing_is_not_left_unknown() -> None:
    async def close_and_lose_answer(api: Api, trade_id: int) -> httpx.Response:
        api.apply(trade_id)
        raise httpx.ReadError("reset")

    async def fail_read(_: int) -> httpx.Response:
        return httpx.Response(500)

    api = Api([1, 2])
    api.faults = {1: [close_and_lose_answer], 2: [fail_to_connect] * 5}
    api.on_read = fail_read
    list_with_status_after_first_post(api, "panic_sell_pending")
    report = await close_all(api)
    assert states(report) == {1: CloseState.ACCEPTED, 2: CloseState.ALREADY_CLOSED}
    assert report.ok
    assert report[1].error is None


async def test_unknown_status_code_in_the_last_listing_leaves_an_accepted_close_accepted() -> None:
    api = Api([1])
    list_with_status_after_first_post(api, "brand_new")
    assert states(await close_all(api)) == {1: CloseState.ACCEPTED}


async def test_refused_close_stays_rejected_when_the_last_listing_shows_the_trade_closing() -> None:
    async def refuse(_: Api, __: int) -> httpx.Response:
        return error(422, text="below minimum")

    api = Api([1])
    api.faults[1] = [refuse]
    list_with_status_after_first_post(api, "panic_sell_pending")
    assert states(await close_all(api)) == {1: CloseState.REJECTED}


async def test_refused_key_is_the_error_of_cancels_that_were_not_sent() -> None:
    async def refuse(_: Api, __: int) -> httpx.Response:
        return error(401, "signature_invalid")

    api = Api([1, 2])
    api.status[2] = "waiting_position"
    api.faults[1] = [refuse]
    report = await close_all(api, pending="cancel")
    assert states(report) == dict.fromkeys([1, 2], CloseState.NOT_SENT)
    assert report[2].error is report[1].error
    assert api.count("DELETE") == 0


# --- deadlines


async def test_deadline_during_close_all_reports_every_trade() -> None:
    api = Api(range(1, 6), latency=1.0)
    limiter = SlidingWindowLimiter(limit=4, window=60.0, reserve=0)
    async with client_of(api, limiter=limiter) as client:
        batch = client.smart_trades.close_all(deadline=30)
        given = [outcome async for outcome in batch]
    report = batch.report
    assert report.counts == {CloseState.ACCEPTED: 2, CloseState.NOT_SENT: 3}
    assert "before the deadline of 30 s" in str(report.unlisted)
    not_sent = [outcome.error for outcome in report if outcome.state is CloseState.NOT_SENT]
    assert all("deadline of 30 s" in str(error) for error in not_sent)
    assert {outcome.trade_id: outcome for outcome in given} == {o.trade_id: o for o in report}
    assert len(given) == 5


# --- all deals of a bot


async def test_close_all_of_a_bot_cancelled_before_its_request_was_sent_reports_not_sent() -> None:
    async def api(request: httpx.Request) -> httpx.Response:
        assert request.method == "GET"
        rows = [{"id": i, "bot_id": 9, "status": "bought"} for i in (1, 2)]
        return httpx.Response(200, json=rows if request.url.params["offset"] == "0" else [])

    limiter = SlidingWindowLimiter(limit=2, window=60.0, reserve=0)
    async with client_of(api, limiter=limiter) as client:
        batch = client.deals.close_all(bot_id=9)
        closing = asyncio.ensure_future(batch)
        await asyncio.sleep(5)
        closing.cancel()
        await asyncio.wait({closing})
    assert batch.report.counts == {CloseState.NOT_SENT: 2}


async def test_handle_is_true_before_anything_is_known() -> None:
    async with client_of(Api([1])) as client:
        batch = client.smart_trades.close_all()
        assert len(batch) == 0
        assert batch
        await batch
