"""close_many: unknown closes are looked up with few reads, none of which blocks the others."""

import asyncio
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
    assert_report_is_true,
    client_of,
    close_many,
    error,
    gateway_timeout_after,
    reset_after,
    silence_after,
    states,
    trade_json,
)
from threecommas_async import (
    AuthenticationError,
    CloseState,
    OutcomeUnknownError,
    SlidingWindowLimiter,
)
from threecommas_async.http.pipeline import Pipeline

pytestmark = pytest.mark.looptime


# Twenty closes run at a time. When all twenty are lost, one or two pages find them.
FEW = 2 * 250 // 20


@pytest.mark.parametrize("fault", AFTER)
async def test_unanswered_closes_that_were_carried_out_are_found_with_few_reads(
    fault: Fault,
) -> None:
    ids = range(1, 251)
    api = Api(ids)
    for trade_id in ids:
        api.faults[trade_id] = [fault]
    report = await close_many(api)
    assert report.ok
    assert set(api.posts.values()) == {1}
    assert api.count("GET") <= FEW
    assert_report_is_true(api, report)


@pytest.mark.parametrize("fault", BEFORE)
async def test_closes_that_were_not_carried_out_are_posted_again(fault: Fault) -> None:
    ids = range(1, 251)
    api = Api(ids)
    for trade_id in ids:
        api.faults[trade_id] = [fault]
    report = await close_many(api)
    assert report.ok
    assert set(api.posts.values()) == {2}
    assert api.count("GET") <= FEW
    assert_report_is_true(api, report)


async def test_single_unknown_close_is_read_by_id() -> None:
    api = Api(range(1, 51))
    api.faults[20] = [reset_after]
    await close_many(api)
    assert [path for _, method, path in api.requests if method == "GET"] == [
        "/public/api/v2/smart_trades/20"
    ]


async def test_unparsable_row_in_a_page_does_not_hide_the_other_trades() -> None:
    def list_broken_row(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=[{"id": "broken"}])

    api = Api(range(1, 6))
    for trade_id in api.status:
        api.faults[trade_id] = [reset_after]
    api.on_list = list_broken_row
    report = await close_many(api)
    assert report.ok
    assert_report_is_true(api, report)


async def test_trades_missing_from_every_page_are_read_by_id() -> None:
    def list_nothing(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=[])

    api = Api(range(1, 6))
    for trade_id in api.status:
        api.faults[trade_id] = [reset_after]
    api.on_list = list_nothing
    assert (await close_many(api)).ok


async def test_lookup_in_a_long_listing_stops_after_ten_pages() -> None:
    pages = 0

    def list_without_end(request: httpx.Request) -> httpx.Response:
        nonlocal pages
        pages += 1
        first = 1_000_000 + 100 * int(request.url.params["page"])
        page = [trade_json(first + i, "waiting_targets") for i in range(100)]
        return httpx.Response(200, json=page)

    api = Api(range(1, 6))
    for trade_id in api.status:
        api.faults[trade_id] = [reset_after]
    api.on_list = list_without_end
    assert (await close_many(api)).ok
    assert pages == 10  # two listings of as many pages as there are trades to find


async def test_failed_read_leaves_only_its_own_trade_unknown() -> None:
    async def fail_for_two(trade_id: int) -> httpx.Response | None:
        return httpx.Response(500) if trade_id == 2 else None

    api = Api([1, 2])
    api.faults = {1: [reset_after], 2: [reset_after]}
    api.on_read = fail_for_two
    report = await close_many(api)
    assert states(report) == {1: CloseState.ACCEPTED, 2: CloseState.UNKNOWN}
    assert isinstance(report[2].error, OutcomeUnknownError)


async def test_internal_error_in_one_close_is_reported_unknown_and_spares_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real: Callable[..., Awaitable[Any]] = Pipeline.send

    async def fail_for_two(self: Pipeline, endpoint: Any, **call: Any) -> Any:
        if call["path"] == {"trade_id": 2}:
            raise KeyError("a defect")
        return await real(self, endpoint, **call)

    monkeypatch.setattr(Pipeline, "send", fail_for_two)
    report = await close_many(Api([1, 2, 3]))
    assert [outcome.ok for outcome in report] == [True, False, True]
    assert "unexpectedly" in caplog.text


# --- one read does not block the others


async def test_hanging_read_does_not_block_the_other_lookups() -> None:
    async def on_read(trade_id: int) -> httpx.Response | None:
        if trade_id == 1:
            await asyncio.sleep(1e6)
        return None

    def on_list(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text="not a list")

    api = Api([1, 2, 3, 4])
    for trade_id in api.status:
        api.faults[trade_id] = [gateway_timeout_after]
    api.on_read, api.on_list = on_read, on_list
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1, 2, 3, 4], deadline=20)
    assert report.counts == {CloseState.UNKNOWN: 1, CloseState.ACCEPTED: 3}


async def test_lookup_cancelled_for_one_close_continues_for_the_others() -> None:
    asking: dict[int, asyncio.Task[Any] | None] = {}

    async def reset(api: Api, trade_id: int) -> httpx.Response:
        asking[trade_id] = asyncio.current_task()
        return await reset_after(api, trade_id)

    async def slow(_: int) -> None:
        await asyncio.sleep(5)

    api = Api([1, 2])
    api.faults = {1: [reset], 2: [reset]}
    api.on_read = slow
    async with client_of(api) as client:
        closing = asyncio.ensure_future(client.smart_trades.close_many([1, 2]))
        await asyncio.sleep(3)  # both are being read
        one = asking[1]
        assert one
        one.cancel()
        report = await closing
    assert report[1].state is CloseState.UNKNOWN
    assert report[2].ok


async def test_hanging_page_is_given_up_after_ten_seconds_and_requested_again() -> None:
    asked: list[float] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            asked.append(asyncio.get_running_loop().time())
            if len(asked) == 1:
                await asyncio.sleep(1e6)  # bytes may trickle in all the while: no phase times out
        return await api(request)

    api = Api(range(1, 11))
    for trade_id in api.status:
        api.faults[trade_id] = [gateway_timeout_after]
    async with client_of(handler) as client:
        report = await client.smart_trades.close_many(range(1, 11))
    assert report.counts == {CloseState.CLOSED: 10}
    assert 10 <= asked[1] - asked[0] <= 11


@pytest.mark.slow
async def test_lookup_of_an_unknown_close_does_not_wait_behind_all_queued_closes() -> None:
    api = Api(range(1, 1001))
    api.faults[1] = [answering(lambda: httpx.Response(504))]
    async with client_of(api, limiter=SlidingWindowLimiter(limit=100)) as client:
        report = await client.smart_trades.close_many(range(1, 1001))
    assert report.ok
    read_at = next(at for at, method, _ in api.requests if method == "GET")
    assert read_at <= 61
    posted_at = [at for at, _, path in api.requests if path.endswith("/1/close_by_market")]
    assert posted_at[1] <= 121  # the free slots of that moment were taken together with the read


async def test_listing_lookups_do_not_wait_behind_all_queued_closes() -> None:
    api = Api(range(1, 101))
    for trade_id in range(1, 6):
        api.faults[trade_id] = [gateway_timeout_after]
    limiter = SlidingWindowLimiter(limit=20)
    async with client_of(api, limiter=limiter) as client:
        report = await client.smart_trades.close_many(range(1, 101))
    assert report.ok
    assert_report_is_true(api, report)
    assert next(at for at, method, _ in api.requests if method == "GET") < 61


async def test_page_requested_before_a_close_is_not_used_to_look_it_up() -> None:
    async def late(api: Api, trade_id: int) -> httpx.Response:
        await asyncio.sleep(2)
        return await gateway_timeout_after(api, trade_id)

    async def slow_pages(request: httpx.Request) -> httpx.Response:
        answer = await api(request)
        if request.url.path.endswith("smart_trades"):
            await asyncio.sleep(5)  # what it shows is from before
        return answer

    api = Api([1, 2, 3, 4])
    for trade_id in (1, 2, 3):
        api.faults[trade_id] = [answering(lambda: httpx.Response(504))]
    api.faults[4] = [late]
    async with client_of(slow_pages) as client:
        report = await client.smart_trades.close_many([1, 2, 3, 4])
    assert report.ok
    assert api.posts == {1: 2, 2: 2, 3: 2, 4: 1}
    assert_report_is_true(api, report)


async def test_closes_left_unknown_are_looked_up_before_new_closes_take_all_slots() -> None:
    api = Api(range(1, 61), latency=0.1)
    for trade_id in range(1, 16):
        api.faults[trade_id] = [silence_after]
    limiter = SlidingWindowLimiter(limit=50)
    async with client_of(api, limiter=limiter, attempt_timeout=5.0) as client:
        first = await client.smart_trades.close_many(range(1, 16), deadline=1)
        assert first.counts == {CloseState.UNKNOWN: 15}
        second = await client.smart_trades.close_many(range(1, 61), deadline=6)
    assert all(second[trade_id].ok for trade_id in range(1, 16))
    assert_report_is_true(api, first)
    assert max(api.posts.values()) == 1


async def test_hanging_lookup_of_an_earlier_close_does_not_block_new_closes_past_the_deadline() -> (
    None
):
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


async def test_lookups_stop_when_one_of_them_shows_that_the_key_is_refused() -> None:
    async def on_read(_: int) -> httpx.Response:
        await asyncio.sleep(0.1)
        return error(401, "signature_invalid")

    def on_list(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text="not a list")

    api = Api(range(1, 51))
    api.on_read, api.on_list = on_read, on_list
    async with client_of(api, max_connections=5) as client:
        report = await client.smart_trades.wait_until_closed(range(1, 51))
    assert all(isinstance(outcome.error, AuthenticationError) for outcome in report)
    assert api.count("GET") <= 6


async def test_closes_whose_lookup_raises_an_internal_error_are_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> object:
        raise RuntimeError("a defect of ours")

    api = Api([1, 2, 3, 4])
    for trade_id in api.status:
        api.faults[trade_id] = [answering(lambda: httpx.Response(504))]
    async with client_of(api) as client:
        monkeypatch.setattr("threecommas_async.closing.lookup._search_listings", broken)
        report = await client.smart_trades.close_many([1, 2, 3, 4])
    assert report.counts == {CloseState.UNKNOWN: 4}
    assert api.posts.total() == 4
