"""User code below and beside the pipeline, which may raise anything."""

import asyncio
import contextlib
import urllib.error
from collections.abc import AsyncIterator, Awaitable, Callable
from email.message import Message
from typing import Any

import httpx
import pytest

from tests.support import KEY, SECRET, Api, answering, client_of, error, trade_json
from threecommas_async import (
    AsyncClient,
    OutcomeUnknownError,
    RateLimitError,
    RequestNotSentError,
    ResponseDecodeError,
    RetryPolicy,
    SlidingWindowLimiter,
)
from threecommas_async.endpoint import Endpoint, Priority, Safety
from threecommas_async.rate_limit.limiter import Permit

pytestmark = pytest.mark.looptime

Handler = Callable[[httpx.Request], Awaitable[httpx.Response]]


def borrowed(handler: Handler, **hooks: Any) -> httpx.AsyncClient:
    transport = httpx.MockTransport(handler)  # type: ignore[arg-type] # it also takes coroutines
    return httpx.AsyncClient(transport=transport, event_hooks=hooks)


def using(http: httpx.AsyncClient, **settings: Any) -> AsyncClient:
    return AsyncClient(KEY, secret=SECRET, http_client=http, **settings)


async def test_event_hook_that_raises_connect_error_leaves_the_close_unknown() -> None:
    async def hook(_: httpx.Response) -> None:
        raise httpx.ConnectError("the monitoring server is down")

    api = Api([7])
    async with borrowed(api, response=[hook]) as http, using(http) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.smart_trades.close_by_market(7)
    assert api.posts[7] == 1


async def test_connect_error_in_a_borrowed_http_client_raises_not_sent() -> None:
    async def handler(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async with borrowed(handler) as http, using(http, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(RequestNotSentError, match="refused"):
            await client.smart_trades.close_by_market(7)


async def test_event_hook_that_raises_for_a_429_does_not_prevent_the_block() -> None:
    async def hook(response: httpx.Response) -> None:
        response.raise_for_status()

    sent: list[float] = []

    async def handler(_: httpx.Request) -> httpx.Response:
        sent.append(asyncio.get_running_loop().time())
        return httpx.Response(429, headers={"Retry-After": "60"})

    async with borrowed(handler, response=[hook]) as http, using(http) as client:
        with pytest.raises(RateLimitError):
            await client.smart_trades.get(7, deadline=20)
    assert len(sent) == 1


async def test_event_hook_that_raises_for_another_request_leaves_the_outcome_unknown() -> None:
    async def hook(_: httpx.Response) -> None:
        other = httpx.Response(429, request=httpx.Request("GET", "https://example.com"))
        other.raise_for_status()

    async with borrowed(Api([7]), response=[hook]) as http, using(http) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.smart_trades.get(7)


async def test_429_counts_even_if_its_response_fails_to_close() -> None:
    class Stubborn(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"slow down"

        async def aclose(self) -> None:
            raise OSError("cannot close")

    sent = 0

    async def handler(_: httpx.Request) -> httpx.Response:
        nonlocal sent
        sent += 1
        return httpx.Response(429, headers={"Retry-After": "60"}, stream=Stubborn())

    async with client_of(handler) as client:
        with pytest.raises(RateLimitError):
            await client.smart_trades.get(7, deadline=20)
    assert sent == 1


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    "failure",
    [
        urllib.error.HTTPError("https://x", 500, "no", Message(), None),
        UnicodeDecodeError("utf-8", b"", 0, 1, "odd"),
        UnspeakableError(),
    ],
)
async def test_unforeseen_exception_in_a_transport_raises_outcome_unknown(
    failure: Exception,
) -> None:
    async def handler(_: httpx.Request) -> httpx.Response:
        raise failure

    async with client_of(handler) as client:
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.smart_trades.cancel(7)
    assert type(failure).__name__ in str(caught.value)


async def test_answer_with_an_invalid_id_raises_response_decode_error() -> None:
    anything = Endpoint("GET", "/anything", object, Safety.SAFE)

    async def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"id": [1]})

    async with client_of(handler) as client:
        assert (await client.request(anything)).data == {"id": [1]}
        with pytest.raises(ResponseDecodeError):
            await client.smart_trades.get(7)


@pytest.mark.parametrize("encoding", ["identity", "", " Identity "])
async def test_identity_encoding_is_read_unchanged(encoding: str) -> None:
    async def handler(_: httpx.Request) -> httpx.Response:
        body = httpx.Response(200, json=trade_json(7, "waiting_targets")).content
        stream = httpx.ByteStream(body)
        return httpx.Response(200, headers={"Content-Encoding": encoding}, stream=stream)

    async with client_of(handler) as client:
        assert (await client.smart_trades.get(7)).id == 7


# --- limiters


async def test_429_blocks_with_the_default_penalty_if_the_limiter_has_none() -> None:
    limiter = SlidingWindowLimiter(limit=1000)
    api = Api([1])
    api.faults[1] = [answering(lambda: httpx.Response(429))]
    async with client_of(api, limiter=limiter) as client:
        del limiter.penalty  # reading it raises from now on
        report = await client.smart_trades.close_many([1])
    assert report.ok
    first, second = (at for at, _, _ in api.requests)
    assert second >= first + 300


async def test_block_that_a_limiter_failed_to_set_refuses_calls_whose_deadline_it_exceeds() -> None:
    class Forgetful(SlidingWindowLimiter):
        async def block(self, seconds: float) -> None:
            raise OSError("the store is full")

    api = Api([1, 2])
    api.faults[1] = [answering(lambda: httpx.Response(429))]
    async with client_of(api, limiter=Forgetful()) as client:
        with pytest.raises(RateLimitError):
            await client.smart_trades.close_by_market(1, deadline=5)
        with pytest.raises(RequestNotSentError, match="429 or 418") as caught:
            await client.smart_trades.close_by_market(2, deadline=60)
    assert caught.value.available_in is not None
    assert caught.value.available_in > 200
    assert asyncio.get_running_loop().time() < 10


async def test_limiter_without_a_hash_can_be_used() -> None:
    class Compared(SlidingWindowLimiter):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment] # as a class that compares and is not frozen

    async with client_of(Api([7]), limiter=Compared()) as client:
        assert (await client.smart_trades.get(7)).id == 7


async def test_limiter_that_grants_slots_during_a_block_does_not_freeze_the_loop() -> None:
    class Careless(SlidingWindowLimiter):
        async def acquire(self, *args: Any, **options: Any) -> Permit:
            return Permit()

        def blocked_for(self) -> float:
            return 10.0

    api = Api([7])
    async with client_of(api, limiter=Careless()) as client:
        with pytest.raises(RequestNotSentError):
            await client.smart_trades.get(7, deadline=3)
    assert api.requests == []


async def test_expired_permit_is_returned_and_another_acquired() -> None:
    class Old(Permit):
        def usable(self) -> bool:
            return False

    class Slow(SlidingWindowLimiter):
        given = 0

        async def acquire(self, *args: Any, **options: Any) -> Permit:
            self.given += 1
            permit = await super().acquire(*args, **options)
            return Old(permit.windows) if self.given == 1 else permit

    limiter = Slow(limit=2, reserve=0)
    async with client_of(Api([7]), limiter=limiter) as client:
        await client.smart_trades.get(7)
        await client.smart_trades.get(7)
    assert limiter.given == 3
    assert asyncio.get_running_loop().time() < 1, "the old one has burnt no slot"


async def test_closed_client_sends_nothing_if_the_limiter_swallows_cancellation() -> None:
    class Swallows(SlidingWindowLimiter):
        async def acquire(self, *args: Any, **options: Any) -> Permit:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.5)
            return await super().acquire(*args, **options)

    api = Api([7])
    client = client_of(api, limiter=Swallows())
    call = asyncio.create_task(client.smart_trades.close_by_market(7))
    await asyncio.sleep(0.1)
    await client.aclose()
    await asyncio.wait({call})
    assert isinstance(call.exception(), RequestNotSentError)
    assert api.requests == []


async def test_reads_waiting_for_their_endpoint_limit_do_not_delay_a_close() -> None:
    from threecommas_async.resources.smart_trades import LIST  # noqa: PLC0415

    limiter = SlidingWindowLimiter(limit=100)
    permits = [await limiter.acquire(Priority.IN_DOUBT, bucket=LIST.bucket) for _ in range(40)]
    for permit in permits:
        await limiter.release(permit, sent=True)
    held_up = asyncio.create_task(limiter.acquire(Priority.IN_DOUBT, bucket=LIST.bucket))
    await asyncio.sleep(0)
    await limiter.acquire(Priority.CLOSE)
    assert asyncio.get_running_loop().time() < 1
    await held_up
    assert asyncio.get_running_loop().time() >= 10


async def test_unparsable_answer_holds_its_slot_no_longer_than_any_other() -> None:
    async def handler(_: httpx.Request) -> httpx.Response:
        stream = httpx.ByteStream(b"\x0b")
        return httpx.Response(200, headers={"Content-Encoding": "br"}, stream=stream)

    limiter = SlidingWindowLimiter(limit=1, window=10.0)
    async with client_of(handler, limiter=limiter) as client:
        for _ in range(2):
            with pytest.raises(ResponseDecodeError):
                await client.smart_trades.get(7)
    assert asyncio.get_running_loop().time() < 11


async def test_unanswered_request_holds_its_slot_for_its_attempt_timeout() -> None:
    failing = iter([httpx.ReadTimeout("")])

    async def handler(_: httpx.Request) -> httpx.Response:
        for failure in failing:
            raise failure
        return httpx.Response(200, json=trade_json(7, "waiting_targets"))

    limiter = SlidingWindowLimiter(limit=1, window=10.0)
    async with client_of(handler, limiter=limiter, attempt_timeout=20.0) as client:
        await client.smart_trades.get(7)
    assert asyncio.get_running_loop().time() == pytest.approx(30.0, abs=1)


async def test_attempt_without_any_timeout_may_take_any_time() -> None:
    api = Api([7], latency=1000.0)
    async with client_of(api, timeout=httpx.Timeout(None)) as client:
        await client.smart_trades.get(7)
        with pytest.raises(OutcomeUnknownError, match="may take 3 s"):
            await client.smart_trades.get(7, timeout=1.0, deadline=2000.0)


async def test_refusal_over_a_borrowed_http_client_is_raised_with_status_and_code() -> None:
    async def handler(_: httpx.Request) -> httpx.Response:
        return error(422)

    async with borrowed(handler) as http, using(http) as client:
        with pytest.raises(Exception, match="422 record_invalid"):
            await client.smart_trades.cancel(7)
