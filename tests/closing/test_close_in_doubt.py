"""A close that may have been carried out is never repeated without a read."""

import asyncio
import logging
from typing import Any

import httpx
import pytest

from tests.support import (
    Api,
    assert_report_is_true,
    client_of,
    error,
    gateway_timeout_after,
    silence_after,
    states,
)
from threecommas_async import (
    CloseState,
    OutcomeUnknownError,
    RequestNotSentError,
    RetryPolicy,
    SlidingWindowLimiter,
)
from threecommas_async.rate_limit.limiter import Permit

pytestmark = pytest.mark.looptime


async def test_close_interrupted_in_a_batch_is_read_first_by_a_concurrent_call() -> None:
    """A 401 stops the batch while one close is read after a 504; another call closes that trade."""

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


async def test_close_whose_task_is_cancelled_is_read_before_it_is_repeated() -> None:
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


async def test_close_refused_by_a_429_and_then_cancelled_is_not_sent_and_needs_no_read() -> None:
    async def slow_down(_: Api, __: int) -> httpx.Response:
        return httpx.Response(429, headers={"Retry-After": "60"})

    api = Api([1])
    api.faults[1] = [slow_down]
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1], deadline=5)
        assert states(report) == {1: CloseState.NOT_SENT}
        assert_report_is_true(api, report)
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
async def test_close_answered_by_an_error_page_in_any_charset_is_posted_once(
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


async def test_429_in_an_undecodable_charset_blocks_all_requests() -> None:
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
    """Raises before it does anything, in the methods named."""

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
async def test_limiter_that_raises_on_release_changes_no_outcome(
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
async def test_block_that_the_limiter_fails_to_record_is_kept_by_the_client(
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
async def test_limiter_that_raises_on_acquire_lets_nothing_be_sent(
    kind: type[BaseException],
) -> None:
    api = Api([1])
    limiter = Unreliable("acquire", kind=kind)
    async with client_of(api, limiter=limiter, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(RequestNotSentError, match="the rate limiter failed"):
            await client.smart_trades.close_by_market(1)
    assert api.requests == []


@pytest.mark.parametrize("where", ["acquire", "release", "block"])
async def test_call_cancelled_while_it_waits_for_the_limiter_raises_cancelled_error(
    where: str,
) -> None:
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


async def test_close_whose_transport_raises_cancelled_error_is_read_and_not_repeated() -> None:
    async def apply_and_cancel(api: Api, trade_id: int) -> httpx.Response:
        api.apply(trade_id)
        raise asyncio.CancelledError

    api = Api([1])
    api.faults[1] = [apply_and_cancel]
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1])
    assert report.ok
    assert api.posts[1] == 1


async def test_close_unknown_at_its_deadline_is_read_by_the_next_call() -> None:
    api = Api([1])
    api.faults[1] = [silence_after]
    async with client_of(api) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.smart_trades.close_by_market(1, deadline=2)
        await client.smart_trades.close_by_market(1)
    assert api.posts[1] == 1
