"""A close that may have been carried out is never made again blindly, whatever cuts it short."""

import asyncio
import contextlib
import gc
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.support import (
    Api,
    client_of,
    error,
    gateway_timeout_after,
    holds_against,
    silence_after,
    states,
)
from threecommas_async import (
    AsyncClient,
    ClientClosedError,
    CloseState,
    OutcomeUnknownError,
    RequestNotSentError,
    RetryPolicy,
    SlidingWindowLimiter,
)
from threecommas_async.rate_limit import Permit

pytestmark = pytest.mark.looptime


def lagging(api: Api, seconds: float) -> Callable[[int], Awaitable[httpx.Response | None]]:
    """Reads that show a trade open for so long after its close was carried out."""

    async def read(trade_id: int) -> httpx.Response | None:
        accepted = api.accepted.get(trade_id)
        if accepted is None or asyncio.get_running_loop().time() >= accepted + seconds:
            return None
        return httpx.Response(200, json=api.stale(trade_id))

    return read


# --- whatever cuts a close short


async def test_a_close_cut_short_in_a_batch_is_in_question_before_the_batch_is_over() -> None:
    """A 401 stops the batch while one close is read after a 504; another call wants that one."""

    async def unauthorized(_: Api, __: int) -> httpx.Response:
        await asyncio.sleep(0.3)  # the 504 of the other is known by then, its read is not
        return error(401, "signature_invalid")

    async def slow(api: Api, trade_id: int) -> httpx.Response:
        await asyncio.sleep(20)
        return api.apply(trade_id)

    api = Api([1, 2, 3])
    api.faults = {1: [gateway_timeout_after], 2: [unauthorized], 3: [slow]}
    async with client_of(api) as client:
        batch = asyncio.ensure_future(client.smart_trades.close_many([1, 2, 3]))
        await asyncio.sleep(0.35)
        assert not batch.done()
        trade = await client.smart_trades.close_by_market(1)
        assert trade.status.code == "panic_sell_pending"
        report = await batch
    assert states(report)[1] is CloseState.UNKNOWN
    assert api.posts[1] == 1


async def test_a_close_whose_task_is_cancelled_is_read_before_it_is_made_again() -> None:
    api = Api([1])
    api.faults[1] = [silence_after]
    async with client_of(api) as client:
        closing = asyncio.create_task(client.smart_trades.close_by_market(1))
        await asyncio.sleep(1)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await client.smart_trades.close_by_market(1)
    assert api.posts[1] == 1


async def test_a_close_refused_by_the_rate_and_then_cancelled_is_not_in_question() -> None:
    async def slow_down(_: Api, __: int) -> httpx.Response:
        return httpx.Response(429, headers={"Retry-After": "60"})

    api = Api([1])
    api.faults[1] = [slow_down]
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1], deadline=5)
        assert states(report) == {1: CloseState.NOT_SENT}
        holds_against(api, report)
        await asyncio.sleep(60)
        await client.smart_trades.close_by_market(1)
    assert api.count("GET") == 0


@pytest.mark.parametrize("kind", [ValueError, asyncio.CancelledError])
async def test_hooks_callbacks_and_log_filters_that_raise_change_no_outcome(
    kind: type[BaseException],
) -> None:
    def broken(*_: object) -> Any:
        raise kind

    log = logging.getLogger("threecommas_async")
    log.addFilter(broken)
    try:
        api = Api(range(1, 31))
        api.faults[3] = [gateway_timeout_after]
        async with client_of(api, hooks=[broken]) as client:
            report = await client.smart_trades.close_many(range(1, 31), on_outcome=broken)
    finally:
        log.removeFilter(broken)
    assert report.counts == {CloseState.ACCEPTED: 30}
    assert set(api.posts.values()) == {1}


@pytest.mark.parametrize("charset", ["base64", "hex", "utf-16", "undefined", "idna", "rot13"])
async def test_an_error_page_in_whatever_charset_leaves_its_close_in_question(
    charset: str,
) -> None:
    async def odd_page(api: Api, trade_id: int) -> httpx.Response:
        api.apply(trade_id)
        headers = {"Content-Type": f"text/html; charset={charset}"}
        return httpx.Response(504, headers=headers, content=b"\xff<html>")

    api = Api([1, 2])
    api.faults[1] = [odd_page]
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1, 2])
    assert report.ok
    assert api.posts == {1: 1, 2: 1}


async def test_a_429_in_whatever_charset_blocks_everyone() -> None:
    async def odd_429(_: Api, __: int) -> httpx.Response:
        headers = {"Content-Type": "text/plain; charset=base64", "Retry-After": "60"}
        return httpx.Response(429, headers=headers, content=b"slow down")

    api = Api([1, 2])
    api.faults[1] = [odd_429]
    async with client_of(api, max_connections=1) as client:
        report = await client.smart_trades.close_many([1, 2])
    assert report.ok
    first, *rest = [at for at, _, _ in api.requests]
    assert min(rest) >= first + 60


class Unreliable(SlidingWindowLimiter):
    """Raises where it is told to, before it does anything."""

    def __init__(self, *where: str, kind: type[BaseException] = ValueError) -> None:
        super().__init__(limit=1000)
        self.where = where
        self.kind = kind

    def act(self, where: str) -> None:
        if where in self.where:
            raise self.kind("foreign")

    async def acquire(self, *args: Any, **options: Any) -> Permit:
        self.act("acquire")
        return await super().acquire(*args, **options)

    async def release(self, permit: Permit, *, sent: bool, late: float = 0.0) -> None:
        self.act("release")
        await super().release(permit, sent=sent, late=late)

    async def block(self, seconds: float) -> None:
        self.act("block")
        await super().block(seconds)

    def blocked_for(self) -> float:
        self.act("blocked_for")
        return super().blocked_for()


@pytest.mark.parametrize("kind", [ValueError, asyncio.CancelledError])
async def test_a_limiter_that_fails_to_take_slots_back_changes_no_outcome(
    kind: type[BaseException],
) -> None:
    api = Api([1, 2, 3])
    api.faults[2] = [gateway_timeout_after]
    limiter = Unreliable("release", "blocked_for", kind=kind)
    async with client_of(api, limiter=limiter) as client:
        report = await client.smart_trades.close_many([1, 2, 3])
    assert report.ok
    assert set(api.posts.values()) == {1}


@pytest.mark.parametrize("kind", [ValueError, asyncio.CancelledError])
async def test_a_block_that_the_limiter_fails_to_take_down_is_kept_by_the_client(
    kind: type[BaseException],
) -> None:
    async def slow_down(_: Api, __: int) -> httpx.Response:
        return httpx.Response(429, headers={"Retry-After": "60"})

    api = Api([1, 2])
    api.faults[1] = [slow_down]
    limiter = Unreliable("block", kind=kind)
    async with client_of(api, limiter=limiter, max_connections=1) as client:
        report = await client.smart_trades.close_many([1, 2])
    assert report.ok
    first, *rest = [at for at, _, _ in api.requests]
    assert min(rest) >= first + 60


@pytest.mark.parametrize("kind", [ValueError, asyncio.CancelledError])
async def test_a_limiter_that_gives_no_slot_lets_nothing_leave(kind: type[BaseException]) -> None:
    api = Api([1])
    limiter = Unreliable("acquire", kind=kind)
    async with client_of(api, limiter=limiter, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(RequestNotSentError, match="the rate limiter failed"):
            await client.smart_trades.close_by_market(1)
    assert api.requests == []


@pytest.mark.parametrize("where", ["acquire", "release", "block"])
async def test_a_call_cancelled_while_it_waits_for_the_limiter_is_cancelled(where: str) -> None:
    class Slow(Unreliable):
        async def _wait(self, here: str) -> None:
            if here == where:
                await asyncio.sleep(10)

        async def acquire(self, *args: Any, **options: Any) -> Permit:
            await self._wait("acquire")
            return await super().acquire(*args, **options)

        async def release(self, permit: Permit, *, sent: bool, late: float = 0.0) -> None:
            await super().release(permit, sent=sent, late=late)
            await self._wait("release")

        async def block(self, seconds: float) -> None:
            await self._wait("block")

    async def slow_down(_: Api, __: int) -> httpx.Response:
        return httpx.Response(429, headers={"Retry-After": "60"})

    api = Api([1])
    api.faults[1] = [slow_down]
    async with client_of(api, limiter=Slow()) as client:
        closing = asyncio.create_task(client.smart_trades.close_by_market(1))
        await asyncio.sleep(5)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing


async def test_a_transport_that_lets_out_a_cancellation_leaves_its_close_in_question() -> None:
    async def lets_out(api: Api, trade_id: int) -> httpx.Response:
        api.apply(trade_id)
        raise asyncio.CancelledError

    api = Api([1])
    api.faults[1] = [lets_out]
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1])
    assert report.ok
    assert api.posts[1] == 1


# --- several calls for one trade


async def test_tasks_that_close_one_trade_at_the_same_time_post_once_however_reads_lag() -> None:
    api = Api([1], latency=0.2)
    api.on_read = lagging(api, 2.0)
    async with client_of(api) as client:
        trades = await asyncio.gather(*(client.smart_trades.close_by_market(1) for _ in range(5)))
    assert {trade.status.code for trade in trades} == {"panic_sell_pending"}
    assert len(api.requests) == 1


async def test_whoever_comes_right_after_an_accepted_close_does_not_make_it_again() -> None:
    api = Api([1])
    api.on_read = lagging(api, 20.0)
    async with client_of(api) as client:
        await client.smart_trades.close_by_market(1)
        await asyncio.sleep(10)
        report = await client.smart_trades.close_many([1])
    assert states(report) == {1: CloseState.ALREADY_CLOSED}
    assert api.posts[1] == 1


async def test_an_accepted_close_that_cannot_be_read_is_not_made_again_either() -> None:
    async def down(_: int) -> httpx.Response:
        return httpx.Response(503)

    api = Api([1])
    api.on_read = down
    async with client_of(api) as client:
        await client.smart_trades.close_by_market(1)
        with pytest.raises(OutcomeUnknownError, match="accepted a moment ago"):
            await client.smart_trades.close_by_market(1)
        api.on_read = None
        await client.smart_trades.close_by_market(1)
    assert api.posts[1] == 1


async def test_long_after_an_accepted_close_another_is_made_if_asked_for() -> None:
    api = Api([1, 2])
    async with client_of(api) as client:
        await client.smart_trades.close_by_market(1)
        await asyncio.sleep(60)
        api.status[1] = "waiting_targets"  # reopened by hand
        del api.accepted[1]
        await client.smart_trades.close_by_market(2)
        await client.smart_trades.close_by_market(1)
    assert api.posts == {1: 2, 2: 1}


async def test_a_refusal_is_not_taken_over_by_the_next_in_turn() -> None:
    async def refused(_: Api, __: int) -> httpx.Response:
        return error(422, text="below minimum")

    api = Api([1], latency=0.2)
    api.faults[1] = [refused]
    async with client_of(api) as client:
        results = await asyncio.gather(
            *(client.smart_trades.close_by_market(1) for _ in range(2)), return_exceptions=True
        )
    assert [type(result).__name__ for result in results] == [
        "UnprocessableEntityError",
        "SmartTrade",
    ]


@pytest.mark.parametrize("lag", [9.0, 25.0])
async def test_confirming_believes_no_read_that_lags_behind_its_close(lag: float) -> None:
    api = Api([1, 2, 3, 4])

    def on_list(request: httpx.Request) -> httpx.Response | None:
        now = asyncio.get_running_loop().time()
        rows = [
            api.stale(i) if now < api.accepted.get(i, -1e9) + lag else api.trade(i)
            for i in api.status
        ]
        return httpx.Response(200, json=rows if request.url.params["page"] == "1" else [])

    api.on_list = on_list
    api.on_read = lagging(api, lag)
    async with client_of(api) as client:
        report = await client.smart_trades.close_all(confirm=True, deadline=300)
    assert report.counts == {CloseState.CLOSED: 4}
    assert set(api.posts.values()) == {1}


async def test_an_accepted_close_is_remembered_on_the_next_event_loop() -> None:
    api = Api([1])
    client = client_of(api)

    def on_a_loop_of_its_own() -> None:
        asyncio.run(client.smart_trades.close_by_market(1))

    await asyncio.to_thread(on_a_loop_of_its_own)
    await asyncio.to_thread(on_a_loop_of_its_own)
    assert api.posts[1] == 1


async def test_a_read_that_comes_so_late_that_it_tells_is_believed() -> None:
    """It waits a window for its slot; by then reads show what is true: the trade is open."""
    api = Api([1, 2])
    limiter = SlidingWindowLimiter(limit=1, window=100.0, reserve=0)
    async with client_of(api, limiter=limiter) as client:
        await client.smart_trades.close_by_market(1)
        api.status[1] = "waiting_targets"  # reopened by hand
        del api.accepted[1]
        await client.smart_trades.close_by_market(1)
    assert api.posts[1] == 2


async def test_a_read_that_fails_long_after_an_accepted_close_loses_nothing() -> None:
    async def slow(_: int) -> httpx.Response:
        await asyncio.sleep(40)
        return httpx.Response(422, json={"error": "odd"})

    api = Api([1, 2])
    async with client_of(api) as client:
        await client.smart_trades.close_by_market(1)
        api.on_read = slow
        again = asyncio.create_task(client.smart_trades.close_by_market(1))
        await asyncio.sleep(35)
        await client.smart_trades.close_by_market(2)  # makes room in what is remembered
        with pytest.raises(OutcomeUnknownError):
            await again
    assert api.posts[1] == 1


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


async def test_the_time_of_an_outcome_counts_from_the_start_of_its_batch() -> None:
    await asyncio.sleep(500)
    async with client_of(Api([1])) as client:
        closing = asyncio.ensure_future(client.smart_trades.close_many([1]))
        batch = client.smart_trades.close_many([1])
        waiting = asyncio.ensure_future(batch)
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting, closing})
        assert batch.report[1].elapsed < 1


# --- a client that is closed


async def test_after_a_client_is_closed_nothing_leaves() -> None:
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


async def test_closing_a_client_ends_those_that_wait_for_a_slot_or_a_pause_at_once() -> None:
    async def down(_: Api, __: int) -> httpx.Response:
        raise httpx.ConnectError("refused")

    api = Api([1, 2, 3])
    api.faults[1] = [down] * 9
    client = client_of(api, limiter=SlidingWindowLimiter(limit=2, reserve=0))
    calls = [asyncio.create_task(client.smart_trades.close_by_market(i)) for i in (1, 2, 3)]
    await asyncio.sleep(0.01)
    await client.aclose()
    done, _ = await asyncio.wait(calls, timeout=0.01)
    assert len(done) == 3
    assert isinstance(calls[0].exception(), ClientClosedError)
    assert "The last attempt: POST" in str(calls[0].exception())


async def test_confirming_ends_when_the_client_is_closed() -> None:
    api = Api([1])
    api.close_delay = 1e6
    client = client_of(api)
    closing = asyncio.ensure_future(client.smart_trades.close_many([1], confirm=True))
    await asyncio.sleep(2)
    await client.aclose()
    report = await asyncio.wait_for(closing, timeout=60)
    assert states(report) == {1: CloseState.ACCEPTED}


async def test_closing_a_client_does_not_wait_for_a_limiter_that_will_not_end() -> None:
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


# --- a batch that is left


async def test_leaving_the_loop_stops_everything_in_that_very_moment() -> None:
    api = Api(range(1, 31), latency=0.1)
    async with client_of(api, max_connections=20) as client:
        batch = client.smart_trades.close_many(range(1, 31))
        async for _ in batch:
            break
        sent, report = set(api.posts), batch.report
        await asyncio.sleep(10)
    assert set(api.posts) == sent
    assert len(sent) >= 20
    holds_against(api, report)
    for outcome in report:
        if outcome.trade_id in sent:
            assert outcome.state in {CloseState.ACCEPTED, CloseState.UNKNOWN}


async def test_a_task_cancelled_while_it_waits_for_an_outcome_stops_the_batch() -> None:
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


async def test_an_iterator_that_nobody_asked_for_anything_sends_nothing() -> None:
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
async def test_closes_whose_tasks_begin_at_once_are_stopped_like_any_others(
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


async def test_closing_the_iterator_stops_the_batch_too() -> None:
    api = Api([1, 2, 3], latency=0.1)
    async with client_of(api, max_connections=1) as client:
        outcomes = aiter(client.smart_trades.close_many([1, 2, 3]))
        assert (await anext(outcomes)).trade_id == 1
        await outcomes.aclose()
        await asyncio.sleep(10)
    assert api.posts.total() <= 2


# --- deadlines say why


async def test_a_read_for_which_there_is_no_second_slot_says_what_the_first_ended_in() -> None:
    async def lost(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("too slow")

    async with client_of(lost, limiter=SlidingWindowLimiter(limit=1)) as client:
        with pytest.raises(RequestNotSentError, match=r"no slot.*The last attempt.*too slow"):
            await client.smart_trades.get(1, deadline=10)


async def test_a_deadline_says_what_the_last_attempt_ended_in() -> None:
    async def down(_: Api, __: int) -> httpx.Response:
        raise httpx.ConnectError("Connection refused")

    api = Api([1])
    api.faults[1] = [down] * 99
    async with client_of(api, retry=RetryPolicy(attempts=99)) as client:
        with pytest.raises(RequestNotSentError, match="Connection refused") as caught:
            await client.smart_trades.close_by_market(1, deadline=3)
        assert "Connection refused" in str(caught.value.__cause__)
        report = await client.smart_trades.close_many([1], deadline=3)
    assert "Connection refused" in str(report[1].error)
    assert "before the deadline of 3 s" in str(report[1].error)


async def test_an_attempt_has_a_total_time_however_the_answer_drips() -> None:
    class Drip(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(5)
                yield b" "

    async def drips(api: Api, trade_id: int) -> httpx.Response:
        api.apply(trade_id)
        return httpx.Response(201, stream=Drip())

    api = Api([1])
    api.faults[1] = [drips]
    async with client_of(api, attempt_timeout=20.0) as client:
        trade = await client.smart_trades.close_by_market(1)
    assert trade.status.code in {"panic_sell_pending", "panic_sold"}
    assert api.posts[1] == 1
    assert asyncio.get_running_loop().time() < 25


async def test_an_outcome_not_known_at_the_deadline_of_an_attempt_is_in_question() -> None:
    api = Api([1])
    api.faults[1] = [silence_after]
    async with client_of(api) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.smart_trades.close_by_market(1, deadline=2)
        await client.smart_trades.close_by_market(1)
    assert api.posts[1] == 1


# What was under way is destroyed with the loop, and Python complains of each piece of it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_was_closed_in_mid_run_holds_no_turn() -> None:
    api = Api([1])
    api.faults[1] = [silence_after]

    async def begin() -> None:
        task = asyncio.create_task(client.smart_trades.close_by_market(1))
        kept.append(task)
        await asyncio.sleep(0.01)

    kept: list[asyncio.Task[Any]] = []
    client: AsyncClient = client_of(api)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    loop.close()

    async def again() -> None:
        async with client:
            await asyncio.wait_for(client.smart_trades.close_by_market(1), timeout=5)

    asyncio.run(again())
    assert api.posts[1] == 1
    kept.clear()
    gc.collect()
