"""A closed client, or an abandoned batch: nothing more is sent, and what was sent is reported."""

import asyncio
import contextlib
import sys

import httpx
import pytest

from tests.support import Api, assert_report_is_true, client_of, error, states
from threecommas_async import ClientClosedError, CloseState, SlidingWindowLimiter
from threecommas_async.rate_limit.limiter import Permit

pytestmark = pytest.mark.looptime


# --- a closed client


async def test_closed_client_sends_nothing_more_and_the_batch_reports_closes_in_flight() -> None:
    api = Api(range(1, 101), latency=1.0)
    client = client_of(api)
    closing = asyncio.ensure_future(client.smart_trades.close_many(range(1, 101)))
    await asyncio.sleep(0.5)
    await client.aclose()
    sent = len(api.requests)
    report = await closing
    assert len(api.requests) == sent == 20
    assert report.counts == {CloseState.UNKNOWN: 20, CloseState.NOT_SENT: 80}
    assert {type(o.error) for o in report if o.state is CloseState.NOT_SENT} == {ClientClosedError}


async def test_aclose_ends_calls_that_wait_for_a_slot_or_a_retry_at_once() -> None:
    async def fail_to_connect(_: Api, __: int) -> httpx.Response:
        raise httpx.ConnectError("refused")

    api = Api([1, 2, 3])
    api.faults[1] = [fail_to_connect] * 9
    client = client_of(api, limiter=SlidingWindowLimiter(limit=2, reserve=0))
    calls = [asyncio.create_task(client.smart_trades.close_by_market(i)) for i in (1, 2, 3)]
    await asyncio.sleep(0.01)
    await client.aclose()
    done, _ = await asyncio.wait(calls, timeout=0.01)
    assert len(done) == 3
    assert isinstance(calls[0].exception(), ClientClosedError)
    assert "The last attempt: POST" in str(calls[0].exception())


async def test_aclose_ends_confirmation() -> None:
    api = Api([1])
    api.close_delay = 1e6
    client = client_of(api)
    closing = asyncio.ensure_future(client.smart_trades.close_many([1], confirm=True))
    await asyncio.sleep(2)
    await client.aclose()
    report = await asyncio.wait_for(closing, timeout=60)
    assert states(report) == {1: CloseState.ACCEPTED}


async def test_aclose_does_not_wait_for_a_limiter_that_hangs() -> None:
    class Stuck(SlidingWindowLimiter):
        stuck = True

        async def release(self, permit: Permit, *, sent: bool, late: float = 0.0) -> None:
            while self.stuck:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(1)

    limiter = Stuck()
    client = client_of(Api([1]), limiter=limiter)
    call = asyncio.create_task(client.smart_trades.close_by_market(1))
    await asyncio.sleep(0.1)
    before = asyncio.get_running_loop().time()
    await client.aclose()
    assert asyncio.get_running_loop().time() < before + 2
    assert not call.done()
    limiter.stuck = False
    await asyncio.wait({call})


# --- an abandoned batch


async def test_leaving_the_loop_stops_the_batch_at_once() -> None:
    api = Api(range(1, 31), latency=0.1)
    async with client_of(api, max_connections=20) as client:
        batch = client.smart_trades.close_many(range(1, 31))
        async for _ in batch:
            break
        sent, report = set(api.posts), batch.report
        await asyncio.sleep(10)
    assert set(api.posts) == sent
    assert len(sent) >= 20
    assert_report_is_true(api, report)
    for outcome in report:
        if outcome.trade_id in sent:
            assert outcome.state in {CloseState.ACCEPTED, CloseState.UNKNOWN}


async def test_task_cancelled_while_it_waits_for_an_outcome_stops_the_batch() -> None:
    api = Api([1, 2, 3], latency=10.0)

    async def iterate() -> None:
        async for _ in batch:
            pass

    async with client_of(api, max_connections=1) as client:
        batch = client.smart_trades.close_many([1, 2, 3])
        iterating = asyncio.create_task(iterate())
        await asyncio.sleep(1)
        iterating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await iterating
        assert batch.report.counts == {CloseState.UNKNOWN: 1, CloseState.NOT_SENT: 2}
        await asyncio.sleep(100)
    assert len(api.requests) == 1


async def test_iterator_that_was_never_advanced_sends_nothing() -> None:
    api = Api([1])
    async with client_of(api) as client:
        batch = client.smart_trades.close_many([1])
        aiter(batch)
        await asyncio.sleep(1)
        assert api.requests == []
        await batch
    assert api.posts == {1: 1}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@pytest.mark.parametrize("ids", [[1], [1, 2, 3]])
async def test_refused_key_stops_closes_in_eager_tasks(
    ids: list[int],
) -> None:
    async def handler(_: httpx.Request) -> httpx.Response:
        return error(401, "signature_invalid")

    loop = asyncio.get_running_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - not on 3.11
    try:
        async with client_of(handler) as client:
            report = await client.smart_trades.close_many(ids)
            waited = await client.smart_trades.wait_until_closed(ids, timeout=5)
    finally:
        loop.set_task_factory(None)
    assert report.counts == {CloseState.NOT_SENT: len(ids)}
    assert waited.counts == {CloseState.UNKNOWN: len(ids)}


async def test_closing_the_iterator_stops_the_batch() -> None:
    api = Api([1, 2, 3], latency=0.1)
    async with client_of(api, max_connections=1) as client:
        outcomes = aiter(client.smart_trades.close_many([1, 2, 3]))
        assert (await anext(outcomes)).trade_id == 1
        await outcomes.aclose()
        await asyncio.sleep(10)
    assert api.posts.total() <= 2


async def test_elapsed_counts_from_the_start_of_the_batch() -> None:
    await asyncio.sleep(500)
    async with client_of(Api([1])) as client:
        closing = asyncio.ensure_future(client.smart_trades.close_many([1]))
        batch = client.smart_trades.close_many([1])
        waiting = asyncio.ensure_future(batch)
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting, closing})
        assert batch.report[1].elapsed < 1
