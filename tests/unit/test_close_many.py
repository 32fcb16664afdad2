"""Closing many: one true outcome for every id, whatever happens."""

import asyncio
import gc
import random
import re
from collections.abc import Awaitable, Callable
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
    trade_json,
    unavailable_before,
)
from threecommas_async import (
    AsyncClient,
    AuthenticationError,
    CloseFailedError,
    CloseOutcome,
    CloseReport,
    CloseState,
    InvalidRequestError,
    IPBannedError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    PlanLimitError,
    RateLimitError,
    RequestNotSentError,
    RetryPolicy,
    SlidingWindowLimiter,
    SmartTrade,
    ThreeCommasError,
    UnprocessableEntityError,
)
from threecommas_async.pipeline import Pipeline

pytestmark = pytest.mark.looptime

Report = CloseReport[SmartTrade]


def now() -> float:
    return asyncio.get_running_loop().time()


async def close_many(api: Api, ids: list[int] | range | None = None, **options: Any) -> Report:
    async with client_of(api) as client:
        return await client.smart_trades.close_many(
            list(api.status) if ids is None else ids, **options
        )


def states(report: Report) -> dict[int, CloseState]:
    return {outcome.trade_id: outcome.state for outcome in report}


def holds_against(api: Api, report: Report) -> None:
    """No outcome may contradict what the server really carried out."""
    for outcome in report:
        done = outcome.trade_id in api.accepted
        if outcome.state in {CloseState.ACCEPTED, CloseState.CLOSED}:
            assert done, outcome
        if outcome.state in {CloseState.NOT_SENT, CloseState.REJECTED, CloseState.NOT_FOUND}:
            assert not done, outcome
    assert api.posted_after_acceptance == []


# --- the report


async def test_every_id_has_one_outcome_in_input_order_and_duplicates_are_closed_once() -> None:
    api = Api([1, 2, 3])
    report = await close_many(api, [3, 1, 3, 2, 1])
    assert [outcome.trade_id for outcome in report] == [3, 1, 2]
    assert report.ok
    assert api.posts == {1: 1, 2: 1, 3: 1}


async def test_no_ids_make_an_empty_report() -> None:
    api = Api([])
    report = await close_many(api)
    assert (len(report), report.ok, api.requests) == (0, True, [])


@pytest.mark.parametrize("kind", [str, bytes, int, type(None)])
async def test_what_is_no_collection_of_ids_is_refused(kind: Callable[[], Any]) -> None:
    async with client_of(Api([1])) as client:
        with pytest.raises(InvalidRequestError, match="nothing was sent"):
            client.smart_trades.close_many(kind())


async def test_one_bad_trade_does_not_keep_the_others_from_closing() -> None:
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
    holds_against(api, report)


async def test_the_leftovers_feed_the_next_call() -> None:
    api = Api(range(1, 11))
    for trade_id in range(1, 4):
        api.faults[trade_id] = [unavailable_before] * 5
    first = await close_many(api)
    assert first.leftovers == (1, 2, 3)
    second = await close_many(api, list(first.leftovers))
    assert second.ok
    holds_against(api, second)


async def test_outcomes_are_handed_out_as_they_become_known() -> None:
    api = Api([1, 2, 3])
    waits = iter([0.0, 30.0, 10.0])
    api.latency = lambda: next(waits)
    heard: list[tuple[float, int]] = []

    def hear(outcome: CloseOutcome[SmartTrade]) -> None:
        heard.append((now(), outcome.trade_id))

    await close_many(api, on_outcome=hear)
    assert heard == [(0.0, 1), (10.0, 3), (30.0, 2)]


async def test_what_on_outcome_raises_is_logged_and_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: CloseOutcome[SmartTrade]) -> None:
        raise ValueError("my callback")

    report = await close_many(Api([1, 2]), on_outcome=broken)
    assert report.ok
    assert "my callback" in caplog.text


# --- the handle


async def test_iterating_gives_each_outcome_once_as_it_becomes_known() -> None:
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


async def test_two_tasks_may_follow_the_same_batch() -> None:
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
    holds_against(api, batch.report)
    assert len(batch.report) == 100


async def test_the_report_can_be_read_at_any_moment() -> None:
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


async def test_a_batch_that_nobody_awaits_sends_nothing_and_says_so() -> None:
    api = Api([1, 2])
    async with client_of(api) as client:
        batch = client.smart_trades.close_many([1, 2])
        assert len(batch) == 2
        with pytest.warns(RuntimeWarning, match="never awaited: nothing was sent"):
            del batch
    gc.collect()
    assert api.requests == []


# --- cancellation and deadline


async def test_a_cancelled_batch_sends_nothing_more_and_still_tells_the_truth() -> None:
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


async def test_cancelling_while_a_close_is_in_question_leaves_it_unknown() -> None:
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


async def test_the_other_waiter_of_a_cancelled_batch_gets_the_report() -> None:
    api = Api(range(1, 11), latency=10.0)
    async with client_of(api, max_connections=5) as client:
        batch = client.smart_trades.close_many(list(api.status))
        one, two = asyncio.ensure_future(batch), asyncio.ensure_future(batch)
        await asyncio.sleep(1)
        one.cancel()
        report = await two
    assert one.cancelled()
    assert (report.counts[CloseState.UNKNOWN], report.counts[CloseState.NOT_SENT]) == (5, 5)


async def test_a_deadline_ends_in_a_report_soon_after_it() -> None:
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


async def test_no_time_at_all_sends_nothing() -> None:
    api = Api([1, 2])
    report = await close_many(api, deadline=0)
    assert set(states(report).values()) == {CloseState.NOT_SENT}
    async with client_of(api) as client:
        with pytest.raises(RequestNotSentError, match="deadline of 0 s"):
            await client.smart_trades.close_by_market(1, deadline=0)
    assert api.requests == []


async def test_what_is_in_flight_at_the_deadline_gets_a_moment_to_be_answered() -> None:
    api = Api([1, 2], latency=5.0)
    report = await close_many(api, deadline=4.5)
    assert report.ok
    assert now() == 5.0


async def test_an_ambiguous_answer_after_the_deadline_is_unknown_without_further_requests() -> None:
    api = Api([1], latency=5.0)
    api.faults[1] = [bad_gateway_after]
    report = await close_many(api, deadline=4.9)
    assert states(report) == {1: CloseState.UNKNOWN}
    assert len(api.requests) == 1


async def test_a_connection_refused_in_flight_at_the_deadline_is_not_tried_again() -> None:
    async def refusing(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(5)
        raise httpx.ConnectError("refused")

    async with client_of(refusing) as client:
        report = await client.smart_trades.close_many([1], deadline=4.9)
    assert states(report) == {1: CloseState.NOT_SENT}
    assert report[1].attempts == 1


# --- doubt


@pytest.mark.parametrize("fault", AFTER)
async def test_closes_carried_out_but_not_answered_are_found_by_few_reads(fault: Fault) -> None:
    ids = range(1, 251)
    api = Api(ids)
    for trade_id in ids:
        api.faults[trade_id] = [fault]
    report = await close_many(api)
    assert report.ok
    assert set(api.posts.values()) == {1}
    assert api.count("GET") <= 12
    holds_against(api, report)


@pytest.mark.parametrize("fault", BEFORE)
async def test_closes_not_carried_out_are_made_again(fault: Fault) -> None:
    ids = range(1, 251)
    api = Api(ids)
    for trade_id in ids:
        api.faults[trade_id] = [fault]
    report = await close_many(api)
    assert report.ok
    assert set(api.posts.values()) == {2}
    assert api.count("GET") <= 12
    holds_against(api, report)


async def test_one_in_question_is_read_by_itself() -> None:
    api = Api(range(1, 51))
    api.faults[20] = [reset_after]
    await close_many(api)
    assert [path for _, method, path in api.requests if method == "GET"] == [
        "/public/api/v2/smart_trades/20"
    ]


async def test_one_trade_that_cannot_be_parsed_in_a_page_does_not_hide_the_others() -> None:
    def spoiled(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=[{"id": "broken"}])

    api = Api(range(1, 6))
    for trade_id in api.status:
        api.faults[trade_id] = [reset_after]
    api.on_list = spoiled
    report = await close_many(api)
    assert report.ok
    holds_against(api, report)


async def test_trades_that_no_page_shows_are_read_by_themselves() -> None:
    def empty(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=[])

    api = Api(range(1, 6))
    for trade_id in api.status:
        api.faults[trade_id] = [reset_after]
    api.on_list = empty
    assert (await close_many(api)).ok


async def test_a_long_list_without_what_is_wanted_is_not_looked_through_to_its_end() -> None:
    pages = 0

    def endless(request: httpx.Request) -> httpx.Response:
        nonlocal pages
        pages += 1
        first = 1_000_000 + 100 * int(request.url.params["page"])
        page = [trade_json(first + i, "waiting_targets") for i in range(100)]
        return httpx.Response(200, json=page)

    api = Api(range(1, 6))
    for trade_id in api.status:
        api.faults[trade_id] = [reset_after]
    api.on_list = endless
    assert (await close_many(api)).ok
    assert pages == 10  # as many in each listing as there are trades to be found


async def test_reading_fails_for_those_it_fails_for() -> None:
    async def some(trade_id: int) -> httpx.Response | None:
        return httpx.Response(500) if trade_id == 2 else None

    api = Api([1, 2])
    api.faults = {1: [reset_after], 2: [reset_after]}
    api.on_read = some
    report = await close_many(api)
    assert states(report) == {1: CloseState.ACCEPTED, 2: CloseState.UNKNOWN}
    assert isinstance(report[2].error, OutcomeUnknownError)


async def test_a_defect_in_one_close_is_told_as_unknown_and_spares_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real: Callable[..., Awaitable[Any]] = Pipeline.send

    async def sometimes(self: Pipeline, endpoint: Any, **call: Any) -> Any:
        if call["path"] == {"trade_id": 2}:
            raise KeyError("a defect")
        return await real(self, endpoint, **call)

    monkeypatch.setattr(Pipeline, "send", sometimes)
    report = await close_many(Api([1, 2, 3]))
    assert [outcome.ok for outcome in report] == [True, False, True]
    assert "unforeseen" in caplog.text


# --- stopping together


def unauthorized() -> httpx.Response:
    return error(401, "signature_invalid", "Provided signature is invalid")


def no_permission() -> httpx.Response:
    return error(403, "Forbidden", "API key has no permission SMART_TRADES_WRITE")


def plan() -> httpx.Response:
    return httpx.Response(429, json={"error": "plan", "error_description": "Upgrade your plan"})


def banned() -> httpx.Response:
    return httpx.Response(418, headers={"Retry-After": "600"}, text="banned")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (unauthorized, AuthenticationError),
        (no_permission, PermissionDeniedError),
        (plan, PlanLimitError),
        (banned, IPBannedError),
    ],
)
async def test_what_concerns_the_key_or_the_address_stops_the_whole_batch(
    answer: Callable[[], httpx.Response], reason: type[ThreeCommasError]
) -> None:
    ids = range(1, 101)
    api = Api(ids, latency=1.0)
    for trade_id in range(31, 101):
        api.faults[trade_id] = [answering(answer)] * 9
    report = await close_many(api)
    assert report.counts[CloseState.ACCEPTED] == 30
    assert report.counts[CloseState.NOT_SENT] == 70
    assert len(api.requests) <= 60
    assert all(isinstance(report[i].error, reason) for i in range(31, 101))
    holds_against(api, report)


async def test_a_plan_refusal_stops_a_batch_of_100_after_at_most_25_requests() -> None:
    api = Api(range(1, 101), latency=0.05)
    for trade_id in api.status:
        api.faults[trade_id] = [answering(plan)]
    report = await close_many(api)
    assert len(api.requests) <= 25
    assert report.counts[CloseState.NOT_SENT] == 100


async def test_a_ban_says_until_when() -> None:
    api = Api([1])
    api.faults[1] = [answering(banned)]
    ban = (await close_many(api))[1].error
    assert isinstance(ban, IPBannedError)
    assert ban.retry_at is not None
    assert re.search(r"until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", str(ban))


async def test_what_is_in_question_when_the_batch_stops_is_unknown_and_not_read() -> None:
    api = Api(range(1, 4), latency=1.0)
    api.faults[1] = [answering(unauthorized)]
    api.faults[2] = [garbage_after]
    api.faults[3] = [reset_before]
    report = await close_many(api)
    assert states(report) == {
        1: CloseState.NOT_SENT,
        2: CloseState.UNKNOWN,
        3: CloseState.UNKNOWN,
    }
    assert api.count("GET") == 0


def forbidden() -> httpx.Response:
    return error(403, "Forbidden", "")


async def test_a_bare_403_for_one_trade_is_that_trades_affair() -> None:
    api = Api(range(1, 51))
    api.faults[20] = [answering(forbidden)]
    report = await close_many(api)
    assert report.leftovers == (20,)
    assert report[20].state is CloseState.REJECTED


async def test_a_bare_403_for_trade_after_trade_is_the_keys_affair() -> None:
    api = Api(range(1, 201), latency=0.1)
    for trade_id in api.status:
        api.faults[trade_id] = [answering(forbidden)] * 9
    report = await close_many(api)
    assert len(api.requests) < 60
    assert not report.ok
    assert all(isinstance(outcome.error, PermissionDeniedError) for outcome in report)


async def test_a_rate_429_makes_everyone_wait_and_then_go_on() -> None:
    api = Api(range(1, 101), latency=0.1)
    refusal = answering(lambda: httpx.Response(429, headers={"Retry-After": "45"}))
    for trade_id in (41, 42, 43):
        api.faults[trade_id] = [refusal]
    report = await close_many(api)
    assert report.ok
    assert 45.0 <= now() < 47.0
    quiet = [at for at, _, _ in api.requests if 0.7 < at < 45.0]
    assert quiet == []


async def test_429s_without_end_leave_the_trade_not_sent() -> None:
    api = Api([1])
    api.faults[1] = [answering(lambda: httpx.Response(429, headers={"Retry-After": "5"}))] * 9
    report = await close_many(api)
    assert report[1].state is CloseState.NOT_SENT
    assert isinstance(report[1].error, RateLimitError)


# --- confirming


async def test_confirming_250_closes_costs_at_most_15_requests_more() -> None:
    api = Api(range(1, 251), latency=0.2)
    api.close_delay = 5.0
    limiter = SlidingWindowLimiter()
    async with client_of(api, limiter=limiter) as client:
        report = await client.smart_trades.close_many(list(api.status), confirm=True)
    assert set(states(report).values()) == {CloseState.CLOSED}
    assert len(api.requests) <= 265
    assert now() < 140


async def test_confirming_reports_failures_with_the_servers_text() -> None:
    api = Api(range(1, 11))
    api.failing = {3: "Insufficient balance"}
    heard: list[int] = []

    def hear(outcome: CloseOutcome[SmartTrade]) -> None:
        heard.append(outcome.trade_id)

    report = await close_many(api, confirm=True, on_outcome=hear)
    assert report.counts == {CloseState.CLOSED: 9, CloseState.FAILED: 1}
    failure = report[3].error
    assert isinstance(failure, CloseFailedError)
    assert failure.reason == "Insufficient balance"
    assert sorted(heard) == list(api.status)
    assert report[1].elapsed >= api.close_delay
    assert report[1].attempts == 1


async def test_confirming_relies_on_the_status_alone() -> None:
    api = Api([1, 2, 3])
    api.close_delay = 20.0
    for trade_id in api.status:
        api.data[trade_id] = {"finished": True, "closed_at": "2026-01-05T10:00:00Z"}
    report = await close_many(api, confirm=True)
    assert set(states(report).values()) == {CloseState.CLOSED}
    assert now() >= 20.0


async def test_confirming_also_waits_for_what_was_closing_already() -> None:
    api = Api([1])
    api.apply(1)
    report = await close_many(api, confirm=True)
    assert states(report) == {1: CloseState.CLOSED}


async def test_a_deadline_while_confirming_leaves_accepted_what_is_not_confirmed() -> None:
    api = Api([1, 2])
    api.close_delay = 1000.0
    report = await close_many(api, confirm=True, deadline=60.0)
    assert set(states(report).values()) == {CloseState.ACCEPTED}
    assert report.ok
    assert now() == 60.0


async def test_cancelling_while_confirming_keeps_what_is_known() -> None:
    api = Api([1, 2, 3])
    api.close_delay = 1000.0
    async with client_of(api) as client:
        batch = client.smart_trades.close_many([1, 2, 3], confirm=True)
        task = asyncio.ensure_future(batch)
        await asyncio.sleep(60)
        task.cancel()
        await asyncio.wait({task})
        assert asyncio.all_tasks() == {asyncio.current_task()}
    assert set(states(batch.report).values()) == {CloseState.ACCEPTED}


async def test_a_trade_that_stays_open_after_it_was_accepted_is_unknown_in_the_end() -> None:
    async def pretend(api: Api, trade_id: int) -> httpx.Response:
        return httpx.Response(201, json=trade_json(trade_id, "panic_sell_pending"))

    api = Api([1])
    api.faults[1] = [pretend]
    report = await close_many(api, confirm=True)
    assert states(report) == {1: CloseState.UNKNOWN}
    assert "stays open" in str(report[1].error)
    assert api.posts[1] == 1


async def test_a_trade_that_vanishes_while_it_is_confirmed_is_not_found() -> None:
    async def missing(_: int) -> httpx.Response:
        return error(400, "Not found")

    api = Api([1])
    api.on_read = missing
    report = await close_many(api, confirm=True)
    assert states(report) == {1: CloseState.NOT_FOUND}


async def test_confirming_outlasts_reads_that_fail() -> None:
    reads = 0

    async def flaky(_: int) -> httpx.Response | None:
        nonlocal reads
        reads += 1
        return httpx.Response(500) if reads < 9 else None

    api = Api([1])
    api.on_read = flaky
    assert states(await close_many(api, confirm=True)) == {1: CloseState.CLOSED}


async def test_confirming_stops_when_the_key_is_refused() -> None:
    async def refused(_: int) -> httpx.Response:
        return unauthorized()

    api = Api([1])
    api.on_read = refused
    assert states(await close_many(api, confirm=True)) == {1: CloseState.ACCEPTED}


# --- all of it at once


@pytest.mark.parametrize("seed", range(3))
async def test_a_hostile_server_gets_nothing_past_the_report(seed: int) -> None:
    ids = range(1, 301)
    api = Api(ids, latency=0.1)
    chooser = random.Random(seed)
    for trade_id in ids:
        if chooser.random() < 0.35:
            api.faults[trade_id] = chooser.choices((*BEFORE, *AFTER), k=chooser.randint(1, 2))
    async with client_of(api) as client:
        report = await client.smart_trades.close_many(ids, confirm=True)
    assert report.counts == {CloseState.CLOSED: 300}
    holds_against(api, report)


async def test_retries_follow_the_policy_of_the_client() -> None:
    api = Api([1])
    api.faults[1] = [silence_after] * 9
    async with client_of(api, retry=RetryPolicy(attempts=1, backoff=0)) as client:
        report = await client.smart_trades.close_many([1])
    assert report.ok
    assert isinstance(client, AsyncClient)
