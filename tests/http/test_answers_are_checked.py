"""An answer counts only after it was checked against the request."""

import httpx
import pytest

from tests.support import (
    API_404,
    Api,
    Fault,
    answering,
    assert_report_is_true,
    client_of,
    close_all,
    error,
    gateway_timeout_after,
    states,
    trade_json,
)
from threecommas_async import CloseState, NotFoundError, ResponseDecodeError, RetryPolicy

pytestmark = pytest.mark.looptime

GATEWAY_404 = httpx.Response(404, html="<html>nginx</html>")


def about(trade_id: int, status: str = "panic_sell_pending") -> Fault:
    """Return a fault that answers 201 with another trade, and carries nothing out."""
    return answering(lambda: httpx.Response(201, json=trade_json(trade_id, status)))


# --- ids


async def test_201_about_another_trade_leaves_the_close_unknown() -> None:
    api = Api([1, 2])
    api.faults[1] = [about(2)]
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1])
    assert states(report) == {1: CloseState.UNKNOWN}
    assert "about 2, not 1" in str(report[1].error)
    assert api.posts[1] == 1, "a 2xx that cannot be understood is never repeated unread"


async def test_read_of_another_trade_does_not_settle_a_close() -> None:
    async def answer_with_another_trade(_: int) -> httpx.Response:
        return httpx.Response(200, json=trade_json(99, "panic_sold"))

    api = Api([1])
    api.faults[1] = [answering(lambda: httpx.Response(504))]
    api.on_read = answer_with_another_trade
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1])
        with pytest.raises(ResponseDecodeError, match="about 99, not 1"):
            await client.smart_trades.get(1)
    assert states(report) == {1: CloseState.UNKNOWN}


# --- "not found"


async def test_single_404_after_a_possible_close_is_not_trusted() -> None:
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
    assert_report_is_true(api, report)


async def test_repeated_404_of_the_api_is_reported_not_found() -> None:
    async def on_read(_: int) -> httpx.Response:
        return API_404

    api = Api([1])
    api.faults[1] = [answering(lambda: httpx.Response(504))]
    api.on_read = on_read
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1])
    assert states(report) == {1: CloseState.NOT_FOUND}


async def test_404_of_a_gateway_does_not_mean_not_found() -> None:
    async def apply_and_lose_answer(api: Api, trade_id: int) -> httpx.Response:
        api.apply(trade_id)
        return GATEWAY_404

    async def on_read(trade_id: int) -> httpx.Response:
        return GATEWAY_404

    api = Api([1, 2])
    api.faults = {1: [apply_and_lose_answer], 2: [answering(lambda: GATEWAY_404)]}
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1, 2])
        assert report.counts == {CloseState.ACCEPTED: 2}
        assert api.posts == {1: 1, 2: 2}
        api.on_read = on_read
        with pytest.raises(NotFoundError) as caught:
            await client.smart_trades.get(1)
        assert not caught.value.from_api


async def test_404_of_a_gateway_leaves_the_close_unknown_without_a_successful_read() -> None:
    async def on_read(_: int) -> httpx.Response:
        return GATEWAY_404

    api = Api([1])
    api.faults[1] = [answering(lambda: GATEWAY_404)]
    api.on_read = on_read
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1])
    assert states(report) == {1: CloseState.UNKNOWN}


async def test_single_404_during_confirmation_does_not_lose_an_accepted_close() -> None:
    reads = iter([API_404, GATEWAY_404, GATEWAY_404])

    async def on_read(_: int) -> httpx.Response | None:
        return next(reads, None)

    api = Api([1])
    api.on_read = on_read
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1], confirm=True, deadline=600)
    assert states(report) == {1: CloseState.CLOSED}


async def test_trade_missing_throughout_confirmation_is_reported_not_found() -> None:
    async def on_read(_: int) -> httpx.Response | None:
        return API_404

    api = Api([1])
    api.on_read = on_read
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1], confirm=True, deadline=600)
    assert states(report) == {1: CloseState.NOT_FOUND}


async def test_404_for_the_close_of_a_listed_trade_is_rejected_after_a_read_shows_it_open() -> None:
    api = Api([1, 2])
    api.faults[1] = [answering(lambda: API_404)]
    report = await close_all(api)
    assert states(report) == {1: CloseState.REJECTED, 2: CloseState.ACCEPTED}
    assert api.count("GET", "/1") == 1


async def test_refused_trade_missing_in_a_single_read_is_rejected() -> None:
    reads = iter([httpx.Response(404, json={"error": "not_found"})])

    async def on_read(_: int) -> httpx.Response:
        return next(reads, httpx.Response(503))

    async def refused(_: Api, __: int) -> httpx.Response:
        return error(422, text="below minimum")

    api = Api([1])
    api.faults[1] = [refused]
    api.on_read = on_read
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1])
    assert states(report) == {1: CloseState.REJECTED}


async def test_refused_trade_that_reads_do_not_find_is_rejected() -> None:
    async def refused(_: Api, __: int) -> httpx.Response:
        return error(422, text="below minimum")

    async def missing(_: int) -> httpx.Response:
        return httpx.Response(404, json={"error": "not_found"})

    api = Api([1])
    api.faults[1] = [refused]
    api.on_read = missing
    async with client_of(api, retry=RetryPolicy(attempts=1)) as client:
        report = await client.smart_trades.close_many([1])
    assert states(report) == {1: CloseState.REJECTED}


# --- statuses


async def test_close_all_names_active_trades_that_it_skips() -> None:
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


async def test_trades_left_pending_on_purpose_keep_the_report_ok() -> None:
    api = Api([1, 2])
    api.status[2] = "waiting_position"
    report = await close_all(api)
    assert (report.ok, report.leftovers) == (True, ())
    assert "entry is not filled" in str(report.skipped[0].error)


async def test_unknown_status_code_after_an_unanswered_close_is_unknown() -> None:
    api = Api([1])

    async def set_unknown_code(api: Api, trade_id: int) -> httpx.Response:
        api.status[trade_id] = "bought_safety_pending"
        return httpx.Response(504)

    api.faults[1] = [set_unknown_code]
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1])
    assert states(report) == {1: CloseState.UNKNOWN}


async def test_failed_trade_in_a_listing_is_reported_failed() -> None:
    api = Api([1])
    api.status[1] = "failed"

    def on_list(request: httpx.Request) -> httpx.Response:
        rows = [api.trade(1)] if request.url.params["page"] == "1" else []
        return httpx.Response(200, json=rows)

    api.on_list = on_list
    report = await close_all(api)
    assert states(report) == {1: CloseState.FAILED}
    assert not report.ok
