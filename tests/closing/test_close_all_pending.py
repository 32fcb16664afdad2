"""close_all of unfilled entries: cancelled only while a read shows them unfilled."""

import asyncio

import httpx
import pytest

from tests.support import (
    API_404,
    Api,
    Report,
    client_of,
    close_all,
    error,
    refused_connection,
    states,
    trade_json,
)
from threecommas_async import (
    AuthenticationError,
    CloseState,
    NotFoundError,
    RequestNotSentError,
    RetryPolicy,
    ServerError,
    SlidingWindowLimiter,
)

pytestmark = pytest.mark.looptime


async def test_entry_flagged_as_filled_is_not_cancelled() -> None:
    def on_list(request: httpx.Request) -> httpx.Response:
        rows = [{**api.trade(1), "is_position_not_filled": False}]
        return httpx.Response(200, json=rows if request.url.params["page"] == "1" else [])

    api = Api([1])
    api.status[1] = "waiting_position"
    api.on_list = on_list
    report = await close_all(api, pending="cancel")
    assert api.count("DELETE") == 0
    assert states(report) == {1: CloseState.NOT_SENT}


async def test_entry_filled_after_the_listing_is_closed_instead_of_cancelled() -> None:
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
async def test_entry_finished_before_its_cancel_is_not_cancelled(
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


async def test_entry_that_cannot_be_read_first_is_not_cancelled() -> None:
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
async def test_missing_entry_or_refused_key_is_reported_with_its_own_error(
    answer: httpx.Response,
) -> None:
    async def on_read(_: int) -> httpx.Response:
        return answer

    api = Api([1])
    api.status[1] = "waiting_position"
    api.on_read = on_read
    report = await close_all(api, pending="cancel")
    assert type(report[1].error) is (NotFoundError if answer is API_404 else AuthenticationError)


async def test_cancel_is_sent_within_five_seconds_of_its_read() -> None:
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


async def test_cancel_that_gets_no_slot_soon_after_its_read_is_not_sent() -> None:
    api = Api([1])
    api.status[1] = "waiting_position"
    limiter = SlidingWindowLimiter(limit=1, window=60.0, reserve=0)
    async with client_of(api, limiter=limiter) as client:
        report = await client.smart_trades.close_all(pending="cancel", deadline=3000)
    assert states(report) == {1: CloseState.NOT_SENT}
    assert api.count("DELETE") == 0


async def test_cancel_that_finds_no_connection_is_retried_in_the_next_round() -> None:
    async def fail_to_connect(_: Api, __: int) -> httpx.Response:
        raise httpx.ConnectError("refused")

    api = Api([1])
    api.status[1] = "waiting_position"
    api.cancel_faults[1] = [fail_to_connect]
    report = await close_all(api, pending="cancel")
    assert states(report) == {1: CloseState.ACCEPTED}
    assert asyncio.get_running_loop().time() < 10


async def close_all_while_entry_fills(shown: str) -> tuple[Api, Report]:
    """Run `close_all` while an entry fills as its cancel arrives; the answer shows this status."""

    async def fill(api: Api, trade_id: int) -> httpx.Response:
        api.status[trade_id] = "waiting_targets"
        return httpx.Response(200, json=trade_json(trade_id, shown))

    api = Api([1])
    api.status[1] = "waiting_position"
    api.cancel_faults[1] = [fill]
    return api, await close_all(api, pending="cancel")


async def test_entry_filled_while_its_cancel_is_in_flight_is_closed() -> None:
    api, report = await close_all_while_entry_fills("waiting_targets")
    assert states(report) == {1: CloseState.ACCEPTED}
    assert api.accepted.keys() == {1}


async def test_position_that_shows_open_after_its_accepted_cancel_is_closed() -> None:
    api, report = await close_all_while_entry_fills("cancellation_pending")
    assert states(report) == {1: CloseState.ACCEPTED}
    assert api.accepted.keys() == {1}


def cancels_follow_their_read_within_five_seconds(api: Api) -> bool:
    read_at, soon = 0.0, True
    for at, method, _ in api.requests:
        read_at = at if method == "GET" else read_at
        soon &= method != "DELETE" or at <= read_at + 5.0
    return soon


async def test_cancel_delayed_by_connect_errors_is_preceded_by_another_read() -> None:
    api = Api([1])
    api.status[1] = "waiting_position"
    api.cancel_faults[1] = [refused_connection] * 4
    async with client_of(api, retry=RetryPolicy(backoff=2.0, jitter=0.0)) as client:
        report = await client.smart_trades.close_all(pending="cancel")
    assert states(report) == {1: CloseState.ACCEPTED}
    assert cancels_follow_their_read_within_five_seconds(api)


async def test_cancel_delayed_at_the_gate_is_preceded_by_another_read() -> None:
    async def slow_for_two(trade_id: int) -> None:
        if trade_id == 2:
            await asyncio.sleep(20)

    api = Api([1, 2])
    api.status[1] = "waiting_position"
    api.on_read = slow_for_two
    async with client_of(api, max_connections=1) as client:
        closing = asyncio.ensure_future(client.smart_trades.close_all(pending="cancel"))
        while not any(path.endswith("/1") for _, _, path in api.requests):
            await asyncio.sleep(0)
        other = asyncio.create_task(
            client.smart_trades.get(2)
        )  # takes the connection after the read
        await asyncio.wait({other, closing})
    assert api.count("DELETE") == 1
    assert cancels_follow_their_read_within_five_seconds(api)


async def test_entry_filled_during_its_cancel_is_not_closed_after_the_deadline() -> None:
    async def fill_slowly(api: Api, trade_id: int) -> httpx.Response:
        await asyncio.sleep(2)
        api.status[trade_id] = "waiting_targets"
        return httpx.Response(200, json=api.trade(trade_id))

    api = Api([1])
    api.status[1] = "waiting_position"
    api.cancel_faults[1] = [fill_slowly]
    report = await close_all(api, pending="cancel", deadline=1.5)
    assert api.count("POST") == 0
    assert not report.ok
