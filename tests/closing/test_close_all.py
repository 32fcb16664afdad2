"""close_all, and wait_until_closed."""

import asyncio

import httpx
import pytest

from tests.support import (
    Api,
    answering,
    client_of,
    close_all,
    error,
    trade_json,
    unavailable_before,
)
from threecommas_async import (
    AuthenticationError,
    CloseState,
    InvalidRequestError,
    RequestNotSentError,
    RetryPolicy,
    ServerError,
    UnprocessableEntityError,
)

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_close_all_reads_every_page_of_the_listing() -> None:
    api = Api(range(1, 251))
    report = await close_all(api)
    assert len(report) == 250
    assert report.ok
    assert api.accepted.keys() == set(range(1, 251))
    assert all(query["per_page"] == "100" for query in api.listed)


async def test_close_all_skips_trades_that_cannot_be_closed() -> None:
    api = Api(range(1, 6))
    api.status |= {2: "waiting_position", 3: "panic_sold", 4: "panic_sell_pending"}
    report = await close_all(api)
    assert [outcome.trade_id for outcome in report] == [1, 5]
    assert api.posts.keys() == {1, 5}


async def test_close_all_repeats_the_listing_until_it_shows_nothing_closable() -> None:
    api = Api([1, 2])
    real_close = api.apply

    def close_and_open_another(trade_id: int) -> httpx.Response:
        if trade_id == 2:
            api.status[3] = "waiting_targets"  # a bot opens one in the meantime
        return real_close(trade_id)

    api.apply = close_and_open_another  # type: ignore[method-assign]
    report = await close_all(api)
    assert sorted(outcome.trade_id for outcome in report) == [1, 2, 3]
    assert report.ok
    # Three listings, each with a page of trades and the empty page that ends it.
    assert api.count("GET", "/v2/smart_trades") == 6


async def test_close_all_sends_the_filters_and_closes_only_trades_that_pass_them() -> None:
    api = Api([1, 2])
    report = await close_all(api, pair="USDT_1INCH", account_id=32402783)
    assert len(report) == 2
    assert api.listed[0]["pair"] == "USDT_1INCH"
    assert api.listed[0]["account_id"] == "32402783"
    assert api.listed[0]["status"] == "active"
    assert len(await close_all(Api([1, 2]), pair="USDT_BTC")) == 0


async def test_close_all_dry_run_closes_nothing_and_lists_what_would_be_closed() -> None:
    api = Api([1, 2, 3])
    api.status[2] = "waiting_position"
    report = await close_all(api, dry_run=True)
    assert [(o.trade_id, o.state) for o in report] == [
        (1, CloseState.NOT_SENT),
        (3, CloseState.NOT_SENT),
    ]
    assert report[1].trade is not None
    assert "dry run" in str(report[1].error)
    assert api.count("POST") == 0
    plan = await close_all(api, dry_run=True, pending="cancel")
    assert len(plan) == 3


async def test_close_all_with_pending_cancel_cancels_pending_trades() -> None:
    api = Api([1, 2, 3])
    api.status |= {2: "waiting_position", 3: "created"}
    report = await close_all(api, pending="cancel")
    assert [(o.trade_id, o.state) for o in report] == [
        (1, CloseState.ACCEPTED),
        (2, CloseState.ACCEPTED),
        (3, CloseState.NOT_SENT),
    ]
    assert "cannot be closed now" in str(report[3].error)
    assert (api.status[2], api.status[3]) == ("cancellation_pending", "created")
    assert (api.count("DELETE"), set(api.posts)) == (1, {1})


async def test_entry_filled_while_its_cancel_is_refused_is_closed() -> None:
    async def entered(api: Api, trade_id: int) -> httpx.Response:
        api.status[trade_id] = "waiting_targets"
        return error(422, text="already entered")

    api = Api([1, 2])
    api.status[2] = "waiting_position"
    api.cancel_faults[2] = [entered]
    report = await close_all(api, pending="cancel")
    assert report.ok
    assert api.accepted.keys() == {1, 2}


async def test_close_all_refuses_an_invalid_pending_option() -> None:
    api = Api([1])
    with pytest.raises(InvalidRequestError, match='"leave" or "cancel"'):
        await close_all(api, pending="close")
    assert api.requests == []


async def test_close_all_does_not_retry_a_refused_close_in_every_round() -> None:
    api = Api([1, 2])
    api.faults[1] = [answering(lambda: error(422, text="below minimum"))] * 9
    report = await close_all(api)
    assert report[1].state is CloseState.REJECTED
    assert api.posts[1] == 1


async def test_close_all_retries_an_unknown_close_when_a_listing_shows_it_open() -> None:
    api = Api([1])
    api.faults[1] = [unavailable_before] * 7
    report = await close_all(api)
    assert report.ok
    assert api.posts[1] == 8


async def test_close_all_rounds_are_limited_by_the_attempts_of_the_retry_policy() -> None:
    api = Api([1])
    api.faults[1] = [unavailable_before] * 9
    async with client_of(api, retry=RetryPolicy(attempts=1)) as client:
        report = await client.smart_trades.close_all()
    assert report[1].state is CloseState.UNKNOWN
    assert api.posts[1] == 1


async def test_close_all_finds_trades_opened_during_its_last_round() -> None:
    api = Api([1])
    real_close = api.apply

    def close_and_open_another(trade_id: int) -> httpx.Response:
        if trade_id < 4:
            api.status[trade_id + 1] = "waiting_targets"
        return real_close(trade_id)

    api.apply = close_and_open_another  # type: ignore[method-assign]
    async with client_of(api, retry=RetryPolicy(attempts=1)) as client:
        report = await client.smart_trades.close_all()
    assert [outcome.trade_id for outcome in report] == [1, 2, 3, 4]
    assert report.ok


async def test_close_all_misses_no_open_trade_when_rows_leave_the_list_between_pages() -> None:
    api = Api(range(1, 101), latency=1.0)
    api.close_delay = 5.5
    api.status[101] = "waiting_position"

    async def fill() -> None:
        await asyncio.sleep(3.5)
        api.status[101] = "waiting_targets"

    async with client_of(api) as client:
        filling = asyncio.create_task(fill())
        report = await client.smart_trades.close_all()
        await filling
    assert report.ok
    assert 101 in report
    assert api.accepted.keys() == set(range(1, 102))


async def test_close_all_stops_reading_a_list_that_never_settles() -> None:
    api = Api([1])
    rows = iter(range(10_000, 10**9, 100))

    def on_list(request: httpx.Request) -> httpx.Response:
        if request.url.params["page"] != "1":
            return httpx.Response(200, json=[])
        first = next(rows)
        closing = [trade_json(first + i, "panic_sell_pending") for i in range(100)]
        return httpx.Response(200, json=closing)

    api.on_list = on_list
    async with client_of(api) as client:
        report = await client.smart_trades.close_all()
    assert len(report.skipped) == 500
    assert api.count("GET") == 10


async def test_close_all_dry_run_respects_the_deadline() -> None:
    api = Api([1], latency=5.0)
    with pytest.raises(RequestNotSentError, match="deadline of 1 s"):
        await close_all(api, dry_run=True, deadline=1)
    assert now() == 1.0


async def test_bad_options_are_refused_before_anything_is_sent() -> None:
    async def wrong(_: object) -> None: ...

    api = Api([1])
    with pytest.raises(InvalidRequestError, match="plain function"):
        await close_all(api, on_outcome=wrong)
    with pytest.raises(InvalidRequestError, match="unknown option"):
        await close_all(api, patience=3)
    async with client_of(api) as client:
        with pytest.raises(InvalidRequestError, match="timeout"):
            client.smart_trades.close_many([1], timeout=-1)
    assert api.requests == []


async def test_list_yields_each_trade_once_page_by_page() -> None:
    api = Api(range(1, 251))
    async with client_of(api) as client:
        listed = [trade.id async for trade in client.smart_trades.list(status="all")]
        assert listed == list(range(1, 251))
        assert [query["page"] for query in api.listed] == ["1", "2", "3", "4"]
        with pytest.raises(InvalidRequestError, match="from 1 to 100"):
            await client.smart_trades.list_page(per_page=101)


async def test_close_all_with_confirm_reports_every_trade_closed() -> None:
    api = Api(range(1, 31))
    report = await close_all(api, confirm=True)
    assert report.counts == {CloseState.CLOSED: 30}


async def test_close_all_raises_if_its_first_listing_fails() -> None:
    api = Api([1])
    api.on_list = lambda _: httpx.Response(500)
    with pytest.raises(ServerError):
        await close_all(api)
    assert api.count("POST") == 0


async def test_close_all_raises_a_refused_listing_unchanged() -> None:
    api = Api([1])
    api.on_list = lambda _: error(422)
    async with client_of(api) as client:
        with pytest.raises(UnprocessableEntityError):
            await client.smart_trades.close_all(deadline=30)


async def test_close_all_reports_a_failed_last_listing_as_unlisted() -> None:
    api = Api([1, 2])
    api.on_list = lambda _: httpx.Response(500) if api.accepted else None
    report = await close_all(api)
    assert not report.ok
    assert report.leftovers == ()
    assert isinstance(report.unlisted, ServerError)
    with pytest.raises(ExceptionGroup, match="not known whether others are open"):
        report.raise_for_failures()


async def test_close_all_deadline_covers_the_listings() -> None:
    api = Api(range(1, 11), latency=4.0)
    with pytest.raises(RequestNotSentError, match="deadline of 3 s"):
        await close_all(api, deadline=3.0)
    report = await close_all(api, deadline=13.0)  # a page, the empty page, the closes
    assert now() < 3.0 + 14.0
    assert len(report) == 10
    assert not report.ok


async def test_refused_key_stops_close_all() -> None:
    api = Api(range(1, 51), latency=0.1)
    for trade_id in api.status:
        api.faults[trade_id] = [answering(lambda: error(401, "signature_invalid"))] * 9
    report = await close_all(api)
    assert report.counts == {CloseState.NOT_SENT: 50}
    assert isinstance(report[50].error, AuthenticationError)
    assert len(api.requests) < 30


# --- wait_until_closed


async def test_wait_until_closed_ends_when_every_status_is_final() -> None:
    api = Api([1, 2, 3])
    api.failing[2] = "Insufficient balance"
    async with client_of(api) as client:
        await client.smart_trades.close_many([1, 2])
        report = await client.smart_trades.wait_until_closed([1, 2, 99])
    assert {o.trade_id: o.state for o in report} == {
        1: CloseState.CLOSED,
        2: CloseState.FAILED,
        99: CloseState.NOT_FOUND,
    }
    assert api.count("POST") == 2


async def test_wait_until_closed_timeout_reports_the_last_status_seen() -> None:
    api = Api([1, 2, 3])
    api.close_delay = 1000.0

    async def fail_for_three(trade_id: int) -> httpx.Response | None:
        return httpx.Response(500) if trade_id == 3 else None

    def list_two(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=[api.trade(1), trade_json(2, "panic_sell_pending")])

    api.on_read, api.on_list = fail_for_three, list_two
    async with client_of(api) as client:
        report = await client.smart_trades.wait_until_closed([1, 2, 3], timeout=60)
    assert now() == 60.0
    assert {o.trade_id: o.state for o in report} == {
        1: CloseState.NOT_SENT,
        2: CloseState.ACCEPTED,
        3: CloseState.UNKNOWN,
    }
    assert "still open" in str(report[1].error)
    assert isinstance(report[3].error, ServerError)


async def test_wait_until_closed_without_any_read_in_time_reports_unknown() -> None:
    async with client_of(Api([1], latency=60.0)) as client:
        report = await client.smart_trades.wait_until_closed([1], timeout=5)
    assert report[1].state is CloseState.UNKNOWN
    assert "could not be read in time" in str(report[1].error)


async def test_wait_until_closed_ends_when_the_key_is_refused() -> None:
    async def refuse(_: int) -> httpx.Response:
        return error(401, "signature_invalid")

    api = Api([1])
    api.on_read = refuse
    async with client_of(api) as client:
        report = await client.smart_trades.wait_until_closed([1])
    assert isinstance(report[1].error, AuthenticationError)


async def test_refused_key_is_not_tried_for_every_trade() -> None:
    def refuse_list(_: httpx.Request) -> httpx.Response:
        return error(401, "signature_invalid")

    async def refuse_read(_: int) -> httpx.Response:
        return error(401, "signature_invalid")

    api = Api(range(1, 51))
    api.on_list, api.on_read = refuse_list, refuse_read
    async with client_of(api) as client:
        report = await client.smart_trades.wait_until_closed(range(1, 51))
    assert all(isinstance(outcome.error, AuthenticationError) for outcome in report)
    assert len(api.requests) == 1


async def test_wait_until_closed_of_250_trades_reads_pages_instead_of_single_trades() -> None:
    api = Api(range(1, 251))
    async with client_of(api) as client:
        await client.smart_trades.close_many(list(api.status))
        before = len(api.requests)
        report = await client.smart_trades.wait_until_closed(list(api.status))
    assert report.ok
    assert len(api.requests) - before <= 9


async def test_close_many_refuses_a_coroutine_function_as_callback() -> None:
    async def wrong(_: object) -> None: ...

    async with client_of(Api([1])) as client:
        with pytest.raises(InvalidRequestError, match="plain function"):
            client.smart_trades.close_many([1], on_outcome=wrong)
