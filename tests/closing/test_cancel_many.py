"""Cancelling many entries: each read first, each cancelled once, no position touched."""

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


def pending(*trade_ids: int, latency: float = 0.0) -> Api:
    api = Api(trade_ids, latency=latency)
    api.status = dict.fromkeys(trade_ids, "waiting_position")
    return api


async def cancel_many(api: Api, *trade_ids: int, **options: Any) -> Report:
    async with client_of(api) as client:
        return await client.smart_trades.cancel_many(
            trade_ids or list(api.status),
            **options,
        )


async def no_connection(_: Api, __: int) -> httpx.Response:
    raise httpx.ConnectError("refused")


async def lost(api: Api, trade_id: int) -> httpx.Response:
    raise httpx.ReadError("reset")


async def done_and_lost(api: Api, trade_id: int) -> httpx.Response:
    api.status[trade_id] = "cancellation_pending"
    raise httpx.ReadError("reset")


async def test_each_is_read_and_cancelled_once_in_the_order_given() -> None:
    api = pending(1, 2, 3)
    report = await cancel_many(api, 3, 1, 3, 2)
    assert [outcome.trade_id for outcome in report] == [3, 1, 2]
    assert report.counts == {CloseState.ACCEPTED: 3}
    assert (api.count("GET"), api.count("DELETE"), api.count("POST")) == (3, 3, 0)
    assert report[1].attempts == 1


async def test_an_entry_that_has_been_filled_is_left_as_it_is_and_ready_to_be_closed() -> None:
    api = pending(1, 2)
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
async def test_what_is_over_or_unclear_is_told_without_a_cancel(
    status: str, state: CloseState
) -> None:
    api = pending(1)
    api.status[1] = status
    assert states(await cancel_many(api)) == {1: state}
    assert api.count("DELETE") == 0


async def test_one_that_is_not_there_is_not_found() -> None:
    assert states(await cancel_many(pending(), 7)) == {7: CloseState.NOT_FOUND}


async def test_a_lost_cancel_is_sent_again_only_after_a_read_that_shows_the_entry_waiting() -> None:
    api = pending(1, 2, 3)
    api.cancel_faults = {1: [lost], 2: [done_and_lost], 3: [no_connection]}
    report = await cancel_many(api)
    assert report.counts == {CloseState.ACCEPTED: 3}
    deletes = [path[-1] for _, method, path in api.requests if method == "DELETE"]
    assert sorted(deletes) == ["1", "1", "2", "3", "3"]
    assert api.count("POST") == 0


async def test_many_lost_cancels_are_looked_up_in_lists() -> None:
    api = pending(*range(1, 51))
    api.cancel_faults |= {i: [done_and_lost] for i in api.status}
    report = await cancel_many(api)
    assert report.counts == {CloseState.ACCEPTED: 50}
    assert 0 < len(api.listed) < 10
    assert (api.count("GET"), api.count("DELETE")) == (50 + len(api.listed), 50)


async def test_an_entry_filled_after_a_lost_cancel_is_in_question_and_not_touched() -> None:
    async def filled_and_lost(api: Api, trade_id: int) -> httpx.Response:
        api.status[trade_id] = "waiting_targets"
        raise httpx.ReadError("reset")

    api = pending(1)
    api.cancel_faults[1] = [filled_and_lost]
    report = await cancel_many(api)
    assert states(report) == {1: CloseState.UNKNOWN}
    assert "nothing more was sent" in str(report[1].error)
    assert (api.count("DELETE"), api.count("POST")) == (1, 0)


async def test_an_entry_filled_as_its_cancel_is_answered_is_in_question_and_read_first() -> None:
    async def filled(api: Api, trade_id: int) -> httpx.Response:
        api.status[trade_id] = "waiting_targets"
        return httpx.Response(200, json=trade_json(trade_id, "waiting_targets"))

    api = pending(1)
    api.cancel_faults[1] = [filled]
    async with client_of(api) as client:
        report = await client.smart_trades.cancel_many([1])
        assert states(report) == {1: CloseState.UNKNOWN}
        assert "nothing more was sent" in str(report[1].error)
        api.requests.clear()
        assert (await client.smart_trades.close_many(report.leftovers)).ok
    assert [method for _, method, _ in api.requests] == ["GET", "POST"]


async def test_a_refused_cancel_is_rejected_with_the_servers_reason() -> None:
    async def refused(_: Api, __: int) -> httpx.Response:
        return error(422, text="too late")

    api = pending(1)
    api.cancel_faults[1] = [refused]
    report = await cancel_many(api)
    assert states(report) == {1: CloseState.REJECTED}
    assert "too late" in str(report[1].error)


async def test_confirmed_means_that_a_read_has_shown_it_cancelled() -> None:
    async def ended(api: Api, trade_id: int) -> httpx.Response:
        answer = httpx.Response(200, json=trade_json(trade_id, "cancellation_pending"))
        asyncio.get_running_loop().call_later(5, api.status.__setitem__, trade_id, "cancelled")
        api.status[trade_id] = "cancellation_pending"
        return answer

    api = pending(1, 2)
    api.cancel_faults = {1: [ended], 2: [ended]}
    report = await cancel_many(api, confirm=True)
    assert report.counts == {CloseState.CLOSED: 2}


async def test_a_cancel_that_is_cut_short_in_flight_is_unknown_and_read_before_the_next() -> None:
    api = pending(1, 2, 3, latency=1.0)
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


async def test_a_deadline_ends_in_a_report() -> None:
    api = pending(*range(1, 9), latency=1.0)
    report = await cancel_many(api, deadline=3.0)
    assert report.counts == {CloseState.ACCEPTED: 2, CloseState.NOT_SENT: 6}


async def test_bad_arguments_are_refused_at_the_call_and_the_unawaited_says_so() -> None:
    async with client_of(Api(), retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(InvalidRequestError):
            client.smart_trades.cancel_many([0])
        with pytest.warns(RuntimeWarning, match="a batch of 2 cancels was never awaited"):
            client.smart_trades.cancel_many([1, 2])
