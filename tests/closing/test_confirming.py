"""Waiting until closes are confirmed by reads."""

import asyncio

import httpx
import pytest

from tests.support import (
    Api,
    client_of,
    close_many,
    error,
    states,
    trade_json,
)
from threecommas_async import (
    CloseFailedError,
    CloseOutcome,
    CloseState,
    SlidingWindowLimiter,
    SmartTrade,
)

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_confirming_250_closes_costs_at_most_15_extra_requests() -> None:
    api = Api(range(1, 251), latency=0.2)
    api.close_delay = 5.0
    limiter = SlidingWindowLimiter()
    async with client_of(api, limiter=limiter) as client:
        report = await client.smart_trades.close_many(list(api.status), confirm=True)
    assert set(states(report).values()) == {CloseState.CLOSED}
    assert len(api.requests) <= 265
    assert now() < 140


async def test_confirm_reports_failed_trades_with_the_servers_reason() -> None:
    api = Api(range(1, 11))
    api.failing = {3: "Insufficient balance"}
    reported: list[int] = []

    def record(outcome: CloseOutcome[SmartTrade]) -> None:
        reported.append(outcome.trade_id)

    report = await close_many(api, confirm=True, on_outcome=record)
    assert report.counts == {CloseState.CLOSED: 9, CloseState.FAILED: 1}
    failure = report[3].error
    assert isinstance(failure, CloseFailedError)
    assert failure.reason == "Insufficient balance"
    assert sorted(reported) == list(api.status)
    assert report[1].elapsed >= api.close_delay
    assert report[1].attempts == 1


async def test_confirm_relies_on_the_status_alone() -> None:
    api = Api([1, 2, 3])
    api.close_delay = 20.0
    for trade_id in api.status:
        api.data[trade_id] = {"finished": True, "closed_at": "2026-01-05T10:00:00Z"}
    report = await close_many(api, confirm=True)
    assert set(states(report).values()) == {CloseState.CLOSED}
    assert now() >= 20.0


async def test_confirm_also_waits_for_a_trade_already_closing() -> None:
    api = Api([1])
    api.apply(1)
    report = await close_many(api, confirm=True)
    assert states(report) == {1: CloseState.CLOSED}


async def test_deadline_during_confirmation_leaves_closes_accepted() -> None:
    api = Api([1, 2])
    api.close_delay = 1000.0
    report = await close_many(api, confirm=True, deadline=60.0)
    assert set(states(report).values()) == {CloseState.ACCEPTED}
    assert report.ok
    assert now() == 60.0


async def test_cancellation_during_confirmation_leaves_closes_accepted() -> None:
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


async def test_accepted_trade_that_stays_open_is_reported_unknown() -> None:
    async def accept_without_effect(api: Api, trade_id: int) -> httpx.Response:
        return httpx.Response(201, json=trade_json(trade_id, "panic_sell_pending"))

    api = Api([1])
    api.faults[1] = [accept_without_effect]
    report = await close_many(api, confirm=True)
    assert states(report) == {1: CloseState.UNKNOWN}
    assert "stays open" in str(report[1].error)
    assert api.posts[1] == 1


async def test_trade_that_vanishes_during_confirmation_is_reported_not_found() -> None:
    async def missing(_: int) -> httpx.Response:
        return error(400, "Not found")

    api = Api([1])
    api.on_read = missing
    report = await close_many(api, confirm=True)
    assert states(report) == {1: CloseState.NOT_FOUND}


async def test_confirm_retries_failed_reads() -> None:
    reads = 0

    async def flaky(_: int) -> httpx.Response | None:
        nonlocal reads
        reads += 1
        return httpx.Response(500) if reads < 9 else None

    api = Api([1])
    api.on_read = flaky
    assert states(await close_many(api, confirm=True)) == {1: CloseState.CLOSED}


async def test_confirm_stops_when_the_key_is_refused() -> None:
    async def refused(_: int) -> httpx.Response:
        return error(401, "unauthorized", "Api key is invalid")

    api = Api([1])
    api.on_read = refused
    assert states(await close_many(api, confirm=True)) == {1: CloseState.ACCEPTED}
