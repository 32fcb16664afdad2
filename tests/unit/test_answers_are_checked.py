"""What a server answers counts only after it was held against what was asked."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.support import (
    Api,
    Fault,
    answering,
    client_of,
    error,
    gateway_timeout_after,
    holds_against,
    states,
    trade_json,
)
from threecommas_async import (
    AuthenticationError,
    CloseReport,
    CloseState,
    InvalidRequestError,
    NotFoundError,
    RequestNotSentError,
    ResponseDecodeError,
    ServerError,
    SlidingWindowLimiter,
    SmartTrade,
)

pytestmark = pytest.mark.looptime

GATEWAY_404 = httpx.Response(404, html="<html>nginx</html>")
API_404 = httpx.Response(404, json={"error": "not_found"})


def about(trade_id: int, status: str = "panic_sell_pending") -> Fault:
    """A fault that answers 201 with another trade, and carries nothing out."""
    return answering(lambda: httpx.Response(201, json=trade_json(trade_id, status)))


async def close_all(api: Api, **options: Any) -> CloseReport[SmartTrade]:
    async with client_of(api) as client:
        return await client.smart_trades.close_all(**options)


# --- ids


async def test_a_201_about_another_trade_does_not_count_for_this_one() -> None:
    api = Api([1, 2])
    api.faults[1] = [about(2)]
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1])
    assert states(report) == {1: CloseState.UNKNOWN}
    assert "about 2, not 1" in str(report[1].error)
    assert api.posts[1] == 1, "a 2xx that cannot be understood is never repeated unread"


async def test_a_read_of_another_trade_settles_nothing() -> None:
    async def mixed_up(_: int) -> httpx.Response:
        return httpx.Response(200, json=trade_json(99, "panic_sold"))

    api = Api([1])
    api.faults[1] = [answering(lambda: httpx.Response(504))]
    api.on_read = mixed_up
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1])
        with pytest.raises(ResponseDecodeError, match="about 99, not 1"):
            await client.smart_trades.get(1)
    assert states(report) == {1: CloseState.UNKNOWN}


# --- "not found"


async def test_one_404_after_a_close_that_may_have_been_carried_out_is_not_believed() -> None:
    reads = iter([API_404, None])

    async def on_read(_: int) -> httpx.Response | None:
        return next(reads)

    api = Api([1])
    api.faults[1] = [gateway_timeout_after]
    api.on_read = on_read
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1])
    assert report.ok
    assert api.posts[1] == 1
    holds_against(api, report)


async def test_a_404_of_the_api_that_comes_again_is_believed() -> None:
    async def on_read(_: int) -> httpx.Response:
        return API_404

    api = Api([1])
    api.faults[1] = [answering(lambda: httpx.Response(504))]
    api.on_read = on_read
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1])
    assert states(report) == {1: CloseState.NOT_FOUND}


async def test_a_gateways_404_says_nothing_about_a_trade() -> None:
    async def applied(api: Api, trade_id: int) -> httpx.Response:
        api.apply(trade_id)
        return GATEWAY_404

    async def on_read(trade_id: int) -> httpx.Response:
        return GATEWAY_404

    api = Api([1, 2])
    api.faults = {1: [applied], 2: [answering(lambda: GATEWAY_404)]}
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1, 2])
        assert report.counts == {CloseState.ACCEPTED: 2}
        assert api.posts == {1: 1, 2: 2}
        api.on_read = on_read
        with pytest.raises(NotFoundError) as caught:
            await client.smart_trades.get(1)
        assert not caught.value.from_api


async def test_a_gateways_404_leaves_a_close_unknown_when_no_read_tells() -> None:
    async def on_read(_: int) -> httpx.Response:
        return GATEWAY_404

    api = Api([1])
    api.faults[1] = [answering(lambda: GATEWAY_404)]
    api.on_read = on_read
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1])
    assert states(report) == {1: CloseState.UNKNOWN}


async def test_an_accepted_close_is_not_lost_to_one_404_while_it_is_confirmed() -> None:
    reads = iter([API_404, GATEWAY_404, GATEWAY_404])

    async def on_read(_: int) -> httpx.Response | None:
        return next(reads, None)

    api = Api([1])
    api.on_read = on_read
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1], confirm=True, deadline=600)
    assert states(report) == {1: CloseState.CLOSED}


async def test_a_trade_that_is_gone_for_good_while_it_is_confirmed_is_not_found() -> None:
    async def on_read(_: int) -> httpx.Response | None:
        return API_404

    api = Api([1])
    api.on_read = on_read
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1], confirm=True, deadline=600)
    assert states(report) == {1: CloseState.NOT_FOUND}


async def test_a_listed_trade_is_not_gone_because_one_close_says_so() -> None:
    api = Api([1, 2])
    api.faults[1] = [answering(lambda: API_404)]
    report = await close_all(api)
    assert states(report) == {1: CloseState.REJECTED, 2: CloseState.ACCEPTED}
    assert api.count("GET", "/1") == 1


# --- filters


def other_account(api: Api, *trade_ids: int) -> None:
    def on_list(request: httpx.Request) -> httpx.Response:
        rows = [api.trade(i) for i in api.status]
        for row in rows:
            if row["id"] in trade_ids:
                row["account"]["id"] = 777
        return httpx.Response(200, json=rows if request.url.params["page"] == "1" else [])

    api.on_list = on_list


async def test_what_the_server_lists_against_the_filters_is_not_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = Api([1, 2, 3])
    other_account(api, 2, 3)
    account_id = api.trade(1)["account"]["id"]
    report = await close_all(api, account_id=account_id)
    assert states(report) == {1: CloseState.ACCEPTED}
    assert set(api.posts) == {1}
    assert "2 of those that the server lists do not pass the filters" in caplog.text


@pytest.mark.parametrize("name", ["account_id", "pair", "type", "base", "quote"])
async def test_what_cannot_be_held_against_a_filter_is_named_and_not_closed(name: str) -> None:
    def on_list(request: httpx.Request) -> httpx.Response:
        row = api.trade(1)
        row["account"], row["pair"], row["data"]["type"] = None, None, None
        return httpx.Response(200, json=[row] if request.url.params["page"] == "1" else [])

    api = Api([1])
    api.on_list = on_list
    report = await close_all(api, **{name: 5 if name == "account_id" else "USDT"})
    assert states(report) == {1: CloseState.NOT_SENT}
    assert "does not tell whether it passes" in str(report[1].error)
    assert not report.ok
    assert report.leftovers == (1,)


@pytest.mark.parametrize(
    ("pair", "filters", "closed"),
    [
        ("USDT_BTC", {"pair": "USDT_BTC"}, True),
        ("USDT_BTC", {"pair": "usdt_btc"}, True),
        ("USDT_BTC", {"pair": "USDT_ETH"}, False),
        ("USDT_BTC", {"base": "BTC"}, True),
        ("USDT_BTC", {"quote": "USDT", "base": "BTC"}, True),
        ("USDT_BTC", {"quote": "BTC"}, False),
        ("USDT_BTC_USDT", {"base": "BTC"}, True),
        ("USDT_BTCUSDT_UMCBL", {"base": "BTC"}, True),
        ("USD_BTC-USD-SWAP", {"base": "BTC"}, True),
        ("BTC_BTCUSD_PERP", {"base": "BTC"}, True),
        ("USDT_BTCST", {"base": "BTC"}, False),
        ("USDT_BTCST_USDT", {"base": "BTC"}, False),
    ],
)
async def test_pairs_are_held_against_the_filters(
    pair: str,
    filters: dict[str, str],
    closed: bool,  # noqa: FBT001 - a column of the table
) -> None:
    def on_list(request: httpx.Request) -> httpx.Response:
        rows = [{**api.trade(1), "pair": pair}]
        return httpx.Response(200, json=rows if request.url.params["page"] == "1" else [])

    api = Api([1])
    api.on_list = on_list
    await close_all(api, **filters)
    assert (api.posts[1] == 1) is closed


async def test_deals_are_held_against_the_filters_too() -> None:
    log: list[str] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/public/api/ver1/")
        log.append(f"{request.method} {path}")
        row = {"id": 1, "bot_id": 8, "account_id": 5, "pair": "USDT_BTC", "status": "bought"}
        first = request.url.params.get("offset") == "0"
        return httpx.Response(200, json=[row] if first else [])

    async with client_of(handler) as client:
        report = await client.deals.close_all(bot_id=9)
    assert len(report) == 0
    assert "USDT_BTC on account 5 (1)" in str(report.unmatched)
    assert [line for line in log if line.startswith("POST")] == []


@pytest.mark.parametrize("dry_run", [True, False])
async def test_filters_that_match_nothing_while_trades_are_open_are_no_success(
    dry_run: bool,  # noqa: FBT001 - both ways
) -> None:
    api = Api([1, 2, 3])
    account = api.trade(1)["account"]["id"]
    report = await close_all(api, pair="USDT_BTCC", dry_run=dry_run)
    assert (len(report), report.ok) == (0, False)
    assert f"{api.trade(1)['pair']} on account {account} (3)" in str(report.unmatched)
    assert "pair='USDT_BTCC'" in str(report.unmatched)
    with pytest.raises(ExceptionGroup, match="no open trade passes the filters") as caught:
        report.raise_for_failures()
    assert isinstance(caught.value.exceptions[0], InvalidRequestError)
    assert api.count("POST") == 0


async def test_filters_that_match_nothing_while_nothing_is_open_are_a_success() -> None:
    report = await close_all(Api(), pair="USDT_BTC")
    assert (report.ok, report.unmatched) == (True, None)


async def test_what_is_open_is_named_only_so_far_as_a_person_reads() -> None:
    def on_list(request: httpx.Request) -> httpx.Response:
        rows = [{**api.trade(1), "id": i, "pair": f"USDT_C{i}"} for i in range(1, 31)]
        if "pair" in request.url.params or request.url.params["page"] != "1":
            rows = []
        return httpx.Response(200, json=rows)

    api = Api([1])
    api.on_list = on_list
    report = await close_all(api, pair="USDT_BTC")
    assert str(report.unmatched).count("on account") == 10
    assert str(report.unmatched).endswith("and 20 more")


async def test_a_deadline_that_passes_while_it_is_asked_what_is_open_is_no_defect() -> None:
    api = Api([1, 2, 3], latency=2.0)
    report = await close_all(api, pair="USDT_BTCC", deadline=3)
    assert (len(report), report.unmatched) == (0, None)


# --- statuses


async def test_whatever_is_left_alone_though_active_is_named() -> None:
    api = Api([1, 2, 3, 4, 5])
    api.status |= {2: "waiting_position", 3: "panic_sell_pending", 4: "brand_new"}
    api.status[5] = "stop_loss_in_progress"
    api.data[5] = {"panic_sell_available": True}
    report = await close_all(api)
    assert states(report)[1] is CloseState.ACCEPTED
    assert states(report)[4] is CloseState.NOT_SENT
    assert "it is unclear" in str(report[4].error)
    assert 5 in report, "a stop loss that has not sold leaves a position to be closed"
    assert {o.trade_id: o.state for o in report.skipped} == {
        2: CloseState.NOT_SENT,
        3: CloseState.ALREADY_CLOSED,
    }
    assert not report.ok


async def test_trades_left_pending_on_purpose_do_not_spoil_a_report() -> None:
    api = Api([1, 2])
    api.status[2] = "waiting_position"
    report = await close_all(api)
    assert (report.ok, report.leftovers) == (True, ())
    assert "entry is not filled" in str(report.skipped[0].error)


async def test_a_code_nobody_knows_after_an_unanswered_close_is_no_success() -> None:
    api = Api([1])

    async def odd(api: Api, trade_id: int) -> httpx.Response:
        api.status[trade_id] = "bought_safety_pending"
        return httpx.Response(504)

    api.faults[1] = [odd]
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1])
    assert states(report) == {1: CloseState.UNKNOWN}


# --- cancelling entries that are not filled


async def test_an_entry_that_says_it_is_filled_is_not_cancelled() -> None:
    def on_list(request: httpx.Request) -> httpx.Response:
        rows = [{**api.trade(1), "is_position_not_filled": False}]
        return httpx.Response(200, json=rows if request.url.params["page"] == "1" else [])

    api = Api([1])
    api.status[1] = "waiting_position"
    api.on_list = on_list
    report = await close_all(api, pending="cancel")
    assert api.count("DELETE") == 0
    assert states(report) == {1: CloseState.NOT_SENT}


async def test_an_entry_filled_after_the_listing_is_closed_not_cancelled() -> None:
    api = Api([1])
    api.status[1] = "waiting_position"
    listed = api.trade(1)

    def on_list(request: httpx.Request) -> httpx.Response | None:
        if api.status[1] != "waiting_position":
            return None
        api.status[1] = "waiting_targets"
        return httpx.Response(200, json=[listed])

    api.on_list = on_list
    report = await close_all(api, pending="cancel")
    assert states(report) == {1: CloseState.ACCEPTED}
    assert (api.count("DELETE"), api.posts[1]) == (0, 1)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("cancelled", CloseState.ALREADY_CLOSED),
        ("panic_sell_pending", CloseState.ALREADY_CLOSED),
        ("failed", CloseState.FAILED),
        ("brand_new", CloseState.NOT_SENT),
    ],
)
async def test_an_entry_that_is_over_by_the_time_of_its_cancel_is_left_alone(
    status: str, state: CloseState
) -> None:
    api = Api([1])
    api.status[1] = "waiting_position"
    listed = api.trade(1)

    def on_list(request: httpx.Request) -> httpx.Response | None:
        fresh, api.status[1] = api.status[1] == "waiting_position", status
        return httpx.Response(200, json=[listed] if fresh else [])

    api.on_list = on_list
    report = await close_all(api, pending="cancel")
    assert states(report) == {1: state}
    assert api.count("DELETE") == 0


async def test_an_entry_that_cannot_be_read_first_is_not_cancelled() -> None:
    async def down(_: int) -> httpx.Response:
        return httpx.Response(500)

    api = Api([1])
    api.status[1] = "waiting_position"
    api.on_read = down
    report = await close_all(api, pending="cancel", deadline=200)
    assert states(report) == {1: CloseState.NOT_SENT}
    error_ = report[1].error
    assert isinstance(error_, RequestNotSentError)
    assert isinstance(error_.__cause__, ServerError)
    assert api.count("DELETE") == 0


@pytest.mark.parametrize("answer", [API_404, error(401, "signature_invalid")])
async def test_an_entry_that_is_gone_or_a_key_that_is_refused_is_told_as_it_is(
    answer: httpx.Response,
) -> None:
    async def on_read(_: int) -> httpx.Response:
        return answer

    api = Api([1])
    api.status[1] = "waiting_position"
    api.on_read = on_read
    report = await close_all(api, pending="cancel")
    assert type(report[1].error) is (NotFoundError if answer is API_404 else AuthenticationError)


async def test_a_cancel_does_not_leave_long_after_its_read() -> None:
    """Each takes two slots, and the window has an odd number of them."""
    api = Api([1, 2, 3])
    api.status = dict.fromkeys([1, 2, 3], "waiting_position")
    limiter = SlidingWindowLimiter(limit=4, window=60.0, reserve=0)
    async with client_of(api, limiter=limiter) as client:
        report = await client.smart_trades.close_all(pending="cancel", deadline=600)
    assert report.counts == {CloseState.ACCEPTED: 3}
    read_at: dict[str, float] = {}
    for at, method, path in api.requests:
        if method == "DELETE":
            assert at - read_at[path] <= 5.0
        read_at[path] = at


async def test_a_cancel_for_which_there_is_never_a_slot_in_time_is_not_sent() -> None:
    api = Api([1])
    api.status[1] = "waiting_position"
    limiter = SlidingWindowLimiter(limit=1, window=60.0, reserve=0)
    async with client_of(api, limiter=limiter) as client:
        report = await client.smart_trades.close_all(pending="cancel", deadline=3000)
    assert states(report) == {1: CloseState.NOT_SENT}
    assert api.count("DELETE") == 0


async def test_a_cancel_that_finds_no_connection_is_tried_in_the_next_round() -> None:
    async def no_connection(_: Api, __: int) -> httpx.Response:
        raise httpx.ConnectError("refused")

    api = Api([1])
    api.status[1] = "waiting_position"
    api.cancel_faults[1] = [no_connection]
    report = await close_all(api, pending="cancel")
    assert states(report) == {1: CloseState.ACCEPTED}
    assert asyncio.get_running_loop().time() < 10


# --- one call cannot hold up its siblings


async def test_one_read_that_hangs_holds_up_no_other_close_in_question() -> None:
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


async def test_a_page_that_hangs_is_given_up_and_asked_for_again() -> None:
    asked = 0

    def on_list(_: httpx.Request) -> httpx.Response | None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise httpx.ReadTimeout("")
        return None

    api = Api(range(1, 11))
    for trade_id in api.status:
        api.faults[trade_id] = [gateway_timeout_after]
    api.on_list = on_list
    timeouts: list[float] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            timeouts.append(request.extensions["timeout"]["read"])
        return await api(request)

    async with client_of(handler) as client:
        report = await client.smart_trades.close_many(range(1, 11))
    assert report.counts == {CloseState.ACCEPTED: 10}
    assert set(timeouts) == {10.0}


async def test_the_read_of_a_close_in_question_does_not_wait_behind_all_closes() -> None:
    api = Api(range(1, 1001))
    api.faults[1] = [answering(lambda: httpx.Response(504))]
    async with client_of(api, limiter=SlidingWindowLimiter(limit=100)) as client:
        report = await client.smart_trades.close_many(range(1, 1001))
    assert report.ok
    read_at = next(at for at, method, _ in api.requests if method == "GET")
    assert read_at <= 61
    posted_at = [at for at, _, path in api.requests if path.endswith("/1/close_by_market")]
    assert posted_at[1] <= 121  # the slots of that moment went to others together with the read


async def test_reads_stop_when_one_of_them_says_that_the_key_is_refused() -> None:
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


async def test_closes_whose_reads_fail_in_an_unforeseen_way_are_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> object:
        raise RuntimeError("a defect of ours")

    api = Api([1, 2, 3, 4])
    for trade_id in api.status:
        api.faults[trade_id] = [answering(lambda: httpx.Response(504))]
    async with client_of(api) as client:
        monkeypatch.setattr("threecommas_async.reading._look_through", broken)
        report = await client.smart_trades.close_many([1, 2, 3, 4])
    assert report.counts == {CloseState.UNKNOWN: 4}
    assert api.posts.total() == 4


async def test_a_failed_trade_in_a_listing_is_no_success() -> None:
    api = Api([1])
    api.status[1] = "failed"

    def on_list(request: httpx.Request) -> httpx.Response:
        rows = [api.trade(1)] if request.url.params["page"] == "1" else []
        return httpx.Response(200, json=rows)

    api.on_list = on_list
    report = await close_all(api)
    assert states(report) == {1: CloseState.FAILED}
    assert not report.ok
