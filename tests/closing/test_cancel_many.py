"""cancel_many: each entry is read first and cancelled once, and no position is touched."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.support import Api, Report, client_of, error, states, trade_json
from threecommas_async import (
    CloseBatch,
    CloseState,
    InvalidRequestError,
    OutcomeUnknownError,
    RequestNotSentError,
    RetryPolicy,
)

pytestmark = pytest.mark.looptime


def api_with_pending(*trade_ids: int, latency: float = 0.0) -> Api:
    api = Api(trade_ids, latency=latency)
    api.status = dict.fromkeys(trade_ids, "waiting_position")
    return api


async def cancel_many(api: Api, *trade_ids: int, **options: Any) -> Report:
    async with client_of(api) as client:
        return await client.smart_trades.cancel_many(
            trade_ids or list(api.status),
            **options,
        )


async def fail_to_connect(_: Api, __: int) -> httpx.Response:
    raise httpx.ConnectError("refused")


async def lose_request(api: Api, trade_id: int) -> httpx.Response:
    raise httpx.ReadError("reset")


async def cancel_and_lose_answer(api: Api, trade_id: int) -> httpx.Response:
    api.status[trade_id] = "cancellation_pending"
    raise httpx.ReadError("reset")


async def test_cancel_many_reads_and_cancels_each_trade_once_in_input_order() -> None:
    api = api_with_pending(1, 2, 3)
    report = await cancel_many(api, 3, 1, 3, 2)
    assert [outcome.trade_id for outcome in report] == [3, 1, 2]
    assert report.counts == {CloseState.ACCEPTED: 3}
    assert (api.count("GET"), api.count("DELETE"), api.count("POST")) == (3, 3, 0)
    assert report[1].attempts == 1


async def test_cancel_many_leaves_a_filled_entry_untouched_and_close_many_then_closes_it() -> None:
    api = api_with_pending(1, 2)
    api.status[2] = "waiting_targets"
    async with client_of(api) as client:
        report = await client.smart_trades.cancel_many([1, 2])
        assert states(report) == {1: CloseState.ACCEPTED, 2: CloseState.NOT_SENT}
        reason = report[2].error
        assert isinstance(reason, RequestNotSentError)
        assert "its entry has been filled" in str(reason)
        assert "nothing was sent, close_many closes it" in str(reason)
        assert (api.count("DELETE"), api.count("POST")) == (1, 0)
        closed = await client.smart_trades.close_many(report.leftovers)
    assert states(closed) == {2: CloseState.ACCEPTED}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("panic_sold", CloseState.ALREADY_CLOSED),
        ("cancellation_pending", CloseState.ALREADY_CLOSED),
        ("failed", CloseState.FAILED),
        ("brand_new", CloseState.NOT_SENT),
    ],
)
async def test_cancel_many_reports_a_finished_or_unknown_status_without_sending_a_cancel(
    status: str, state: CloseState
) -> None:
    api = api_with_pending(1)
    api.status[1] = status
    assert states(await cancel_many(api)) == {1: state}
    assert api.count("DELETE") == 0


async def test_cancel_many_of_a_missing_trade_reports_not_found() -> None:
    assert states(await cancel_many(api_with_pending(), 7)) == {7: CloseState.NOT_FOUND}


async def test_lost_cancel_is_resent_only_after_a_read_shows_the_entry_still_pending() -> None:
    api = api_with_pending(1, 2, 3)
    api.cancel_faults = {1: [lose_request], 2: [cancel_and_lose_answer], 3: [fail_to_connect]}
    report = await cancel_many(api)
    assert report.counts == {CloseState.ACCEPTED: 3}
    deletes = [path[-1] for _, method, path in api.requests if method == "DELETE"]
    assert sorted(deletes) == ["1", "1", "2", "3", "3"]
    assert api.count("POST") == 0


async def test_many_lost_cancels_are_looked_up_in_listings() -> None:
    api = api_with_pending(*range(1, 51))
    api.cancel_faults |= {i: [cancel_and_lose_answer] for i in api.status}
    report = await cancel_many(api)
    assert report.counts == {CloseState.ACCEPTED: 50}
    assert 0 < len(api.listed) < 10
    assert (api.count("GET"), api.count("DELETE")) == (50 + len(api.listed), 50)


async def test_entry_filled_after_a_lost_cancel_is_unknown_and_not_touched() -> None:
    async def fill_and_lose_answer(api: Api, trade_id: int) -> httpx.Response:
        api.status[trade_id] = "waiting_targets"
        raise httpx.ReadError("reset")

    api = api_with_pending(1)
    api.cancel_faults[1] = [fill_and_lose_answer]
    report = await cancel_many(api)
    assert states(report) == {1: CloseState.UNKNOWN}
    assert "nothing more was sent" in str(report[1].error)
    assert (api.count("DELETE"), api.count("POST")) == (1, 0)


async def test_entry_filled_while_its_cancel_is_answered_is_unknown_and_read_before_a_close() -> (
    None
):
    async def fill(api: Api, trade_id: int) -> httpx.Response:
        api.status[trade_id] = "waiting_targets"
        return httpx.Response(200, json=trade_json(trade_id, "waiting_targets"))

    api = api_with_pending(1)
    api.cancel_faults[1] = [fill]
    async with client_of(api) as client:
        report = await client.smart_trades.cancel_many([1])
        assert states(report) == {1: CloseState.UNKNOWN}
        assert "nothing more was sent" in str(report[1].error)
        api.requests.clear()
        assert (await client.smart_trades.close_many(report.leftovers)).ok
    assert [method for _, method, _ in api.requests] == ["GET", "POST"]


async def test_refused_cancel_is_rejected_with_the_servers_reason() -> None:
    async def refuse(_: Api, __: int) -> httpx.Response:
        return error(422, text="too late")

    api = api_with_pending(1)
    api.cancel_faults[1] = [refuse]
    report = await cancel_many(api)
    assert states(report) == {1: CloseState.REJECTED}
    assert "too late" in str(report[1].error)


async def test_cancel_many_with_confirm_reports_closed_once_a_read_shows_the_trade_cancelled() -> (
    None
):
    async def accept_and_cancel_later(api: Api, trade_id: int) -> httpx.Response:
        answer = httpx.Response(200, json=trade_json(trade_id, "cancellation_pending"))
        asyncio.get_running_loop().call_later(5, api.status.__setitem__, trade_id, "cancelled")
        api.status[trade_id] = "cancellation_pending"
        return answer

    api = api_with_pending(1, 2)
    api.cancel_faults = {1: [accept_and_cancel_later], 2: [accept_and_cancel_later]}
    report = await cancel_many(api, confirm=True)
    assert report.counts == {CloseState.CLOSED: 2}


async def test_cancel_interrupted_in_flight_is_unknown_and_read_before_the_next_cancel() -> None:
    api = api_with_pending(1, 2, 3, latency=1.0)
    async with client_of(api) as client:
        batch = client.smart_trades.cancel_many([1, 2, 3])
        assert isinstance(batch, CloseBatch)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await batch
        assert batch.report.counts == {CloseState.UNKNOWN: 2, CloseState.NOT_SENT: 1}
        assert isinstance(batch.report[1].error, OutcomeUnknownError)
        report = await client.smart_trades.cancel_many(batch.report.leftovers)
    assert report.counts == {CloseState.ACCEPTED: 3}


async def test_cancel_many_with_a_deadline_returns_a_report() -> None:
    api = api_with_pending(*range(1, 9), latency=1.0)
    report = await cancel_many(api, deadline=3.0)
    assert report.counts == {CloseState.ACCEPTED: 2, CloseState.NOT_SENT: 6}


async def test_cancel_many_refuses_bad_arguments_at_the_call_and_warns_if_never_awaited() -> None:
    async with client_of(Api(), retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(InvalidRequestError):
            client.smart_trades.cancel_many([0])
        with pytest.warns(RuntimeWarning, match="a batch of 2 cancels was never awaited"):
            client.smart_trades.cancel_many([1, 2])
