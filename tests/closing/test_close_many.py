"""close_many: one true outcome for every id, whatever happens."""

import asyncio
import gc
import random
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.support import (
    AFTER,
    BEFORE,
    Api,
    answering,
    assert_report_is_true,
    bad_gateway_after,
    client_of,
    close_many,
    error,
    reset_after,
    silence_after,
    states,
    unavailable_before,
)
from threecommas_async import (
    AsyncClient,
    CloseOutcome,
    CloseState,
    InvalidRequestError,
    NotFoundError,
    RequestNotSentError,
    RetryPolicy,
    SmartTrade,
    UnprocessableEntityError,
)

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


# --- the report


async def test_close_many_reports_one_outcome_per_id_in_input_order() -> None:
    api = Api([1, 2, 3])
    report = await close_many(api, [3, 1, 3, 2, 1])
    assert [outcome.trade_id for outcome in report] == [3, 1, 2]
    assert report.ok
    assert api.posts == {1: 1, 2: 1, 3: 1}


async def test_close_many_of_no_ids_returns_an_empty_report() -> None:
    api = Api([])
    report = await close_many(api)
    assert (len(report), report.ok, api.requests) == (0, True, [])


@pytest.mark.parametrize("kind", [str, bytes, int, type(None)])
async def test_close_many_refuses_what_is_not_a_collection_of_ids(kind: Callable[[], Any]) -> None:
    async with client_of(Api([1])) as client:
        with pytest.raises(InvalidRequestError, match="nothing was sent"):
            client.smart_trades.close_many(kind())


async def test_one_failing_trade_does_not_keep_the_others_from_closing() -> None:
    api = Api(range(1, 6))
    api.status[2] = "panic_sold"
    api.status[3] = "waiting_position"
    api.faults[4] = [answering(lambda: error(422, text="below minimum"))]
    report = await close_many(api, [1, 2, 3, 4, 5, 99])
    assert states(report) == {
        1: CloseState.ACCEPTED,
        2: CloseState.ALREADY_CLOSED,
        3: CloseState.REJECTED,
        4: CloseState.REJECTED,
        5: CloseState.ACCEPTED,
        99: CloseState.NOT_FOUND,
    }
    assert report.leftovers == (3, 4, 99)
    assert isinstance(report[4].error, UnprocessableEntityError)
    assert isinstance(report[99].error, NotFoundError)
    with pytest.raises(ExceptionGroup, match="3 of 6") as caught:
        report.raise_for_failures()
    assert len(caught.value.exceptions) == 3
    assert_report_is_true(api, report)


async def test_leftovers_of_a_report_can_be_passed_to_the_next_call() -> None:
    api = Api(range(1, 11))
    for trade_id in range(1, 4):
        api.faults[trade_id] = [unavailable_before] * 5
    first = await close_many(api)
    assert first.leftovers == (1, 2, 3)
    second = await close_many(api, list(first.leftovers))
    assert second.ok
    assert_report_is_true(api, second)


async def test_on_outcome_is_called_as_each_outcome_becomes_known() -> None:
    api = Api([1, 2, 3])
    waits = iter([0.0, 30.0, 10.0])
    api.latency = lambda: next(waits)
    reported: list[tuple[float, int]] = []

    def record(outcome: CloseOutcome[SmartTrade]) -> None:
        reported.append((now(), outcome.trade_id))

    await close_many(api, on_outcome=record)
    assert reported == [(0.0, 1), (10.0, 3), (30.0, 2)]


async def test_exception_in_on_outcome_is_logged_and_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: CloseOutcome[SmartTrade]) -> None:
        raise ValueError("my callback")

    report = await close_many(Api([1, 2]), on_outcome=broken)
    assert report.ok
    assert "my callback" in caplog.text


# --- the handle


async def test_iterating_close_many_yields_each_outcome_once_as_it_becomes_known() -> None:
    api = Api(range(1, 6))
    waits = iter([5.0, 4.0, 3.0, 2.0, 1.0])
    api.latency = lambda: next(waits)
    async with client_of(api) as client:
        batch = client.smart_trades.close_many(list(api.status))
        given = [(now(), outcome.trade_id) async for outcome in batch]
        assert given == [(1.0, 5), (2.0, 4), (3.0, 3), (4.0, 2), (5.0, 1)]
        assert [outcome.trade_id for outcome in await batch] == [1, 2, 3, 4, 5]
        again = [outcome.trade_id async for outcome in batch]
        assert sorted(again) == [1, 2, 3, 4, 5]
    assert len(api.requests) == 5


async def test_two_tasks_can_iterate_the_same_batch() -> None:
    api = Api(range(1, 6), latency=1.0)

    async def follow(batch: Any) -> list[int]:
        return sorted([outcome.trade_id async for outcome in batch])

    async with client_of(api) as client:
        batch = client.smart_trades.close_many(list(api.status))
        one, two, report = await asyncio.gather(follow(batch), follow(batch), batch)
    assert one == two == [1, 2, 3, 4, 5]
    assert report.ok
    assert len(api.requests) == 5


async def test_leaving_the_loop_early_stops_the_batch() -> None:
    api = Api(range(1, 101), latency=1.0)
    async with client_of(api, max_connections=5) as client:
        batch = client.smart_trades.close_many(list(api.status))
        outcomes = batch.__aiter__()
        async for _ in outcomes:
            break
        await outcomes.aclose()  # what leaving the scope does
        sent = len(api.requests)
        assert sent <= 10
        await asyncio.sleep(100)
        assert len(api.requests) == sent
    assert_report_is_true(api, batch.report)
    assert len(batch.report) == 100


async def test_report_of_a_running_batch_can_be_read_at_any_moment() -> None:
    api = Api(range(1, 5), latency=1.0)
    async with client_of(api, max_connections=1) as client:
        batch = client.smart_trades.close_many(list(api.status))
        assert set(states(batch.report).values()) == {CloseState.NOT_SENT}
        assert len(batch) == 4
        task = asyncio.ensure_future(batch)
        await asyncio.sleep(1.5)
        assert states(batch.report) == {
            1: CloseState.ACCEPTED,
            2: CloseState.UNKNOWN,
            3: CloseState.NOT_SENT,
            4: CloseState.NOT_SENT,
        }
        assert (await task).ok


async def test_batch_never_awaited_sends_nothing_and_warns() -> None:
    api = Api([1, 2])
    async with client_of(api) as client:
        batch = client.smart_trades.close_many([1, 2])
        assert len(batch) == 2
        with pytest.warns(RuntimeWarning, match="never awaited: nothing was sent"):
            del batch
    gc.collect()
    assert api.requests == []


# --- cancellation and deadline


async def test_cancelled_batch_sends_nothing_more_and_reports_closes_in_flight_as_unknown() -> None:
    api = Api(range(1, 101), latency=1.0)
    async with client_of(api, max_connections=10) as client:
        batch = client.smart_trades.close_many(list(api.status))
        task = asyncio.ensure_future(batch)
        await asyncio.sleep(2.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        sent = len(api.requests)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.sleep(1000)
    assert others == set()
    assert len(api.requests) == sent == 30
    counts = batch.report.counts
    assert counts[CloseState.ACCEPTED] == 20
    assert counts[CloseState.UNKNOWN] == 10
    assert counts[CloseState.NOT_SENT] == 70
    assert batch.report.leftovers == tuple(range(21, 101))


async def test_close_cancelled_while_it_is_looked_up_stays_unknown() -> None:
    async def slow(_: int) -> None:
        await asyncio.sleep(60)

    api = Api([1])
    api.faults[1] = [reset_after]
    api.on_read = slow
    async with client_of(api) as client:
        batch = client.smart_trades.close_many([1])
        task = asyncio.ensure_future(batch)
        await asyncio.sleep(10)
        task.cancel()
        await asyncio.wait({task})
    assert states(batch.report) == {1: CloseState.UNKNOWN}


async def test_second_waiter_of_a_cancelled_batch_gets_the_report() -> None:
    api = Api(range(1, 11), latency=10.0)
    async with client_of(api, max_connections=5) as client:
        batch = client.smart_trades.close_many(list(api.status))
        one, two = asyncio.ensure_future(batch), asyncio.ensure_future(batch)
        await asyncio.sleep(1)
        one.cancel()
        report = await two
    assert one.cancelled()
    assert (report.counts[CloseState.UNKNOWN], report.counts[CloseState.NOT_SENT]) == (5, 5)


async def test_close_many_returns_a_report_within_a_second_of_its_deadline() -> None:
    api = Api(range(1, 101), latency=5.0)
    async with client_of(api, max_connections=10) as client:
        report = await client.smart_trades.close_many(list(api.status), deadline=12.0)
    assert 12.0 <= now() <= 13.0
    assert len(report) == 100
    assert report.counts[CloseState.ACCEPTED] == 20
    assert report.counts[CloseState.UNKNOWN] == 10
    not_sent = [o for o in report if o.state is CloseState.NOT_SENT]
    assert len(not_sent) == 70
    assert isinstance(not_sent[0].error, RequestNotSentError)
    assert "deadline of 12 s" in str(not_sent[0].error)
    assert len(api.requests) == 30


async def test_deadline_of_zero_sends_nothing() -> None:
    api = Api([1, 2])
    report = await close_many(api, deadline=0)
    assert set(states(report).values()) == {CloseState.NOT_SENT}
    async with client_of(api) as client:
        with pytest.raises(RequestNotSentError, match="deadline of 0 s"):
            await client.smart_trades.close_by_market(1, deadline=0)
    assert api.requests == []


async def test_close_in_flight_at_the_deadline_gets_a_moment_to_be_answered() -> None:
    api = Api([1, 2], latency=5.0)
    report = await close_many(api, deadline=4.5)
    assert report.ok
    assert now() == 5.0


async def test_ambiguous_answer_after_the_deadline_is_unknown_without_further_requests() -> None:
    api = Api([1], latency=5.0)
    api.faults[1] = [bad_gateway_after]
    report = await close_many(api, deadline=4.9)
    assert states(report) == {1: CloseState.UNKNOWN}
    assert len(api.requests) == 1


async def test_connect_error_after_the_deadline_is_not_retried() -> None:
    async def refuse_slowly(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(5)
        raise httpx.ConnectError("refused")

    async with client_of(refuse_slowly) as client:
        report = await client.smart_trades.close_many([1], deadline=4.9)
    assert states(report) == {1: CloseState.NOT_SENT}
    assert report[1].attempts == 1


# --- random faults


@pytest.mark.parametrize("seed", range(3))
async def test_close_many_under_random_faults_closes_all_and_reports_the_truth(seed: int) -> None:
    ids = range(1, 301)
    api = Api(ids, latency=0.1)
    chooser = random.Random(seed)
    for trade_id in ids:
        if chooser.random() < 0.35:
            api.faults[trade_id] = chooser.choices((*BEFORE, *AFTER), k=chooser.randint(1, 2))
    async with client_of(api) as client:
        report = await client.smart_trades.close_many(ids, confirm=True)
    assert report.counts == {CloseState.CLOSED: 300}
    assert_report_is_true(api, report)


async def test_close_many_follows_the_retry_policy_of_the_client() -> None:
    api = Api([1])
    api.faults[1] = [silence_after] * 9
    async with client_of(api, retry=RetryPolicy(attempts=1, backoff=0)) as client:
        report = await client.smart_trades.close_many([1])
    assert report.ok
    assert isinstance(client, AsyncClient)
