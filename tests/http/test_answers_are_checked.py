"""What a server answers counts only after it was held against what was asked."""

import httpx
import pytest

from tests.support import (
    API_404,
    Api,
    Fault,
    answering,
    client_of,
    close_all,
    error,
    gateway_timeout_after,
    holds_against,
    states,
    trade_json,
)
from threecommas_async import CloseState, NotFoundError, ResponseDecodeError, RetryPolicy

pytestmark = pytest.mark.looptime

GATEWAY_404 = httpx.Response(404, html="<html>nginx</html>")


def about(trade_id: int, status: str = "panic_sell_pending") -> Fault:
    """A fault that answers 201 with another trade, and carries nothing out."""
    return answering(lambda: httpx.Response(201, json=trade_json(trade_id, status)))


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


async def test_a_trade_that_is_missing_once_after_a_refusal_is_refused() -> None:
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


async def test_a_refused_trade_of_which_reads_tell_no_more_stays_refused() -> None:
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
