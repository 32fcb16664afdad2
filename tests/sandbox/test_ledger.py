"""The ledger: what reached the sandbox, what was carried out, and what was repeated."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sandbox.harness import ManualClock, running_sandbox
from threecommas_async.sandbox import Fault, Faults, Ledger, RequestRecord, TradeRecord
from threecommas_async.sandbox.clock import Clock


def record(time: float) -> RequestRecord:
    return RequestRecord(
        time=time,
        method="GET",
        path="/public/api/ver1/validate",
        query="",
        operation="validate_credentials",
        closes=False,
        trade_id=None,
        status=200,
        cause=None,
        fault=None,
        applied=(),
        request_id="",
    )


def ledger_of(times: list[float]) -> Ledger:
    ledger = Ledger({}, Clock(ManualClock()))
    for time in times:
        ledger.record(record(time))
    return ledger


def test_max_in_window_finds_the_fullest_window_anywhere() -> None:
    ledger = ledger_of([0, 50, 55, 59, 59, 111, 300])
    assert ledger.max_in_window(60) == 5
    assert ledger.max_in_window(5) == 3
    assert ledger.max_in_window(1000) == 7


def test_max_in_window_of_an_empty_ledger_is_zero() -> None:
    assert ledger_of([]).max_in_window(60) == 0


def test_a_window_excludes_the_request_one_window_earlier() -> None:
    assert ledger_of([0, 60]).max_in_window(60) == 1


@given(st.lists(st.integers(0, 50)).map(sorted), st.integers(1, 20))
def test_max_in_window_agrees_with_a_direct_count(times: list[int], window: int) -> None:
    counts = [sum(end - window < t <= end for t in times) for end in times]
    assert ledger_of([float(t) for t in times]).max_in_window(window) == max(counts, default=0)


async def test_every_request_is_recorded() -> None:
    async with running_sandbox(time_scale=10) as env:
        env.clock.advance(1.5)
        trade_id = env.sandbox.trade_ids[0]
        await env.get("/v2/smart_trades?page=1&per_page=5")
        await env.close(trade_id)
    listed, closed = env.ledger.requests
    assert (listed.time, listed.method, listed.operation) == (15.0, "GET", "list_smart_trades")
    assert (listed.path, listed.query) == ("/public/api/v2/smart_trades", "page=1&per_page=5")
    assert (listed.trade_id, listed.closes, listed.applied) == (None, False, ())
    assert closed.operation == "close_smart_trade_by_market"
    assert (closed.trade_id, closed.closes, closed.applied) == (trade_id, True, (trade_id,))
    assert (closed.status, closed.cause, closed.fault) == (201, None, None)


async def test_the_record_of_a_trade_follows_its_state() -> None:
    async with running_sandbox(close_delay=(2.0, 2.0)) as env:
        trade_id = env.sandbox.trade_ids[0]
        untouched = env.ledger.trade(trade_id)
        env.clock.advance(3)
        await env.close(trade_id)
        env.clock.advance(1)
        closing = env.ledger.trade(trade_id)
        await env.close(trade_id)
        env.clock.advance(1)
        over = env.ledger.trade(trade_id)
    assert untouched == TradeRecord(
        id=trade_id,
        state="waiting_targets",
        received=0,
        applied=0,
        repeated=0,
        accepted_at=None,
        ended_at=None,
    )
    assert (closing.state, closing.accepted_at, closing.ended_at) == (
        "panic_sell_in_progress",
        3.0,
        None,
    )
    assert (over.state, over.ended_at) == ("panic_sold", 5.0)
    assert (over.received, over.applied, over.repeated) == (2, 1, 1)
    assert env.ledger.trades[trade_id] == over
    assert env.ledger.applied == env.ledger.closed == {trade_id}
    assert env.ledger.repeated == [trade_id]


async def test_a_close_that_was_not_carried_out_may_be_requested_again() -> None:
    faults = Faults(unavailable_before=1.0, max_per_trade=1)
    async with running_sandbox(faults=faults) as env:
        trade_id = env.sandbox.trade_ids[0]
        for _ in range(2):
            await env.close(trade_id)
    trade = env.ledger.trade(trade_id)
    assert (trade.received, trade.applied, trade.repeated) == (2, 1, 0)
    assert env.ledger.repeated == []


async def test_a_repeated_close_counts_even_if_it_is_refused() -> None:
    async with running_sandbox() as env:
        trade_id = env.sandbox.trade_ids[0]
        await env.close(trade_id)
        await env.call(
            "POST",
            f"/v2/smart_trades/{trade_id}/close_by_market",
            headers={"Signature": "wrong"},
        )
    assert env.ledger.repeated == [trade_id]


async def test_requests_are_counted_by_their_attributes() -> None:
    faults = Faults(garbage_after=1.0, max_per_trade=1)
    async with running_sandbox(faults=faults) as env:
        first, second = env.sandbox.trade_ids[:2]
        await env.close(first)
        env.clock.advance(5)
        await env.close(first)
        await env.close(second)
        await env.get(f"/v2/smart_trades/{first}")
    count = env.ledger.count
    assert count() == 4
    assert count(operation="get_smart_trade") == 1
    assert count(trade_id=first) == 3
    assert count(trade_id=first, operation="close_smart_trade_by_market", status=201) == 1
    assert count(fault=Fault.GARBAGE_AFTER) == 2
    assert count(since=5.0) == 3
    assert repr(env.ledger) == "<Ledger: 4 requests, 2 closes applied>"


async def test_an_unknown_trade_has_no_record() -> None:
    async with running_sandbox() as env:
        await env.close(1)
        with pytest.raises(KeyError):
            env.ledger.trade(1)
    assert env.ledger.repeated == []
