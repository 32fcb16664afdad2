"""The pipeline: attempts, blocks, deadlines, and what goes over the wire."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal

import httpx
import pytest

from tests.support import Api, client_of, error, trade_json
from threecommas_async import (
    AuthenticationError,
    InvalidRequestError,
    IPBannedError,
    NotFoundError,
    OutcomeUnknownError,
    PlanLimitError,
    RateLimitError,
    RequestNotSentError,
    ResponseDecodeError,
    RetryPolicy,
    ServerError,
    SlidingWindowLimiter,
    SmartTrade,
)
from threecommas_async.endpoint import Endpoint, Safety
from threecommas_async.errors import Fate
from threecommas_async.hooks import AttemptEnded, Blocked, Event
from threecommas_async.resources.smart_trades import CANCEL, GET

pytestmark = pytest.mark.looptime

Handler = Callable[[httpx.Request], Awaitable[httpx.Response]]


def now() -> float:
    return asyncio.get_running_loop().time()


def scripted(*answers: httpx.Response | Exception) -> tuple[list[httpx.Request], Handler]:
    """A server that gives these answers in turn, and repeats the last one."""
    seen: list[httpx.Request] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        answer = answers[min(len(seen), len(answers) - 1)]
        seen.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return seen, handler


def trade(status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=trade_json(7, "waiting_targets"))


# --- what is sent


async def test_path_query_and_headers_are_sent_as_given() -> None:
    seen, handler = scripted(httpx.Response(200, json=[]))
    since = datetime(2026, 1, 5, 9, 30, 0, 123456, tzinfo=UTC)
    async with client_of(handler, mode="paper") as client:
        await client.smart_trades.list_page(
            2, pair="USDT_1INCH-USD", from_=since, extra_headers={"X-Trace": "abc"}
        )
    request = seen[0]
    assert request.url.raw_path == (
        b"/public/api/v2/smart_trades?from=2026-01-05T09%3A30%3A00.123Z"
        b"&pair=USDT_1INCH-USD&page=2&per_page=100"
    )
    assert request.headers["Forced-Mode"] == "paper"
    assert request.headers["X-Trace"] == "abc"
    assert request.headers["User-Agent"].startswith("python-httpx") is False


async def test_query_values_are_written_in_the_format_of_the_api() -> None:
    seen, handler = scripted(httpx.Response(200, json=[]))
    endpoint = Endpoint("GET", "/ver1/things", list[str], Safety.SAFE)
    async with client_of(handler) as client:
        await client.request(
            endpoint, query={"a": True, "b": False, "c": Decimal("1E-7"), "d": None, "e": "ä ?&"}
        )
    assert seen[0].url.query == b"a=true&b=false&c=1E-7&e=%C3%A4%20%3F%26"


async def test_json_body_is_sent_compact_and_path_text_is_quoted() -> None:
    seen, handler = scripted(httpx.Response(200, json=[]))
    endpoint = Endpoint("POST", "/ver1/trades/{uuid}", list[str], Safety.UNSAFE)
    async with client_of(handler) as client:
        await client.request(
            endpoint, path={"uuid": "a/../b"}, json={"price": Decimal("0.10"), "note": "ä"}
        )
    assert seen[0].url.raw_path == b"/public/api/ver1/trades/a%2F..%2Fb"
    assert seen[0].content == '{"price":"0.10","note":"ä"}'.encode()
    assert seen[0].headers["Content-Type"] == "application/json"


async def test_query_together_with_a_json_body_is_refused() -> None:
    seen, handler = scripted(httpx.Response(200, json=[]))
    endpoint = Endpoint("POST", "/ver1/things", list[str], Safety.UNSAFE)
    async with client_of(handler) as client:
        with pytest.raises(InvalidRequestError):
            await client.request(endpoint, query={"a": 1}, json={})
    assert seen == []


@pytest.mark.parametrize("body", [{"price": float("nan")}, {"x": {1j}}, {"note": "\ud800"}])
async def test_body_that_is_not_json_is_refused_without_being_shown(body: object) -> None:
    seen, handler = scripted(httpx.Response(200, json=[]))
    endpoint = Endpoint("POST", "/ver1/things", list[str], Safety.UNSAFE)
    async with client_of(handler) as client:
        with pytest.raises(InvalidRequestError, match="cannot be written as JSON") as caught:
            await client.request(endpoint, json=body)
    assert seen == []
    assert "price" not in str(caught.value)


@pytest.mark.parametrize("part", ["..", ".", ""])
async def test_path_parameter_that_would_change_the_path_is_refused(part: str) -> None:
    seen, handler = scripted(httpx.Response(200, json=[]))
    endpoint = Endpoint("GET", "/ver1/a/{x}/b", list[str], Safety.SAFE)
    async with client_of(handler) as client:
        with pytest.raises(InvalidRequestError, match="cannot be part of a path"):
            await client.request(endpoint, path={"x": part})
    assert seen == []


async def test_datetime_without_a_time_zone_is_refused() -> None:
    seen, handler = scripted(httpx.Response(200, json=[]))
    async with client_of(handler) as client:
        with pytest.raises(InvalidRequestError, match="no time zone"):
            await client.smart_trades.list_page(from_=datetime(2026, 1, 5))  # noqa: DTZ001
    assert seen == []


async def test_unsigned_endpoint_is_sent_without_key_and_signature() -> None:
    seen, handler = scripted(httpx.Response(200, json=["USDT_BTC"]))
    endpoint = Endpoint("GET", "/ver1/pairs", list[str], Safety.SAFE, signed=False)
    async with client_of(handler) as client:
        assert (await client.request(endpoint)).data == ["USDT_BTC"]
    assert not {"apikey", "signature"} & seen[0].headers.keys()


async def test_redirect_is_not_followed_and_leaves_an_unsafe_call_unknown() -> None:
    seen, handler = scripted(httpx.Response(302, headers={"Location": "https://evil.example/"}))
    async with client_of(handler) as client:
        with pytest.raises(Exception, match="302") as caught:
            await client.request(CANCEL, path={"trade_id": 7})
    assert getattr(caught.value, "may_have_taken_effect", None) is True
    assert len(seen) == 1


async def test_response_keeps_the_raw_answer_with_unknown_fields() -> None:
    _, handler = scripted(
        httpx.Response(
            203,
            json=trade_json(7, "from_the_future") | {"novelty": 1},
            headers={"X-Request-Id": "r-1"},
        )
    )
    async with client_of(handler) as client:
        response = await client.request(GET, path={"trade_id": 7})
    assert response.data.id == 7
    assert response.data.status.code == "from_the_future"
    assert (response.status_code, response.request_id) == (203, "r-1")
    assert b'"novelty":1' in response.content.replace(b" ", b"")


# --- attempts


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut"),
        httpx.Response(500, json={"error": "unknown_error"}),
        httpx.Response(504),
    ],
)
async def test_read_is_repeated_after_any_transient_failure(
    failure: httpx.Response | Exception,
) -> None:
    seen, handler = scripted(failure, failure, trade())
    async with client_of(handler) as client:
        assert (await client.smart_trades.get(7)).id == 7
    assert len(seen) == 3
    assert 0.75 <= now() <= 1.5  # half a second and a second, less the jitter


async def test_read_is_given_up_after_the_attempts_of_the_policy() -> None:
    seen, handler = scripted(httpx.ReadTimeout("slow"))
    async with client_of(handler, retry=RetryPolicy(attempts=2)) as client:
        with pytest.raises(OutcomeUnknownError, match="only reads") as caught:
            await client.smart_trades.get(7)
    assert len(seen) == 2
    assert caught.value.may_have_taken_effect is False


@pytest.mark.parametrize(
    "failure", [httpx.ReadTimeout(""), httpx.WriteError("cut"), RuntimeError("odd transport")]
)
async def test_unsafe_call_that_may_have_been_sent_is_not_repeated(failure: Exception) -> None:
    seen, handler = scripted(failure)
    async with client_of(handler) as client:
        with pytest.raises(OutcomeUnknownError, match="may have taken effect") as caught:
            await client.smart_trades.cancel(7)
    assert len(seen) == 1
    assert caught.value.may_have_taken_effect is True
    assert type(caught.value.__cause__) is type(failure)


async def test_unsafe_call_answered_by_a_500_is_not_repeated() -> None:
    seen, handler = scripted(httpx.Response(500, json={"error": "unknown_error"}))
    async with client_of(handler) as client:
        with pytest.raises(ServerError, match="unknown_error") as caught:
            await client.smart_trades.cancel(7)
    assert len(seen) == 1
    assert caught.value.may_have_taken_effect is True


async def test_unsafe_call_that_was_not_sent_is_repeated_and_then_raises_not_sent() -> None:
    seen, handler = scripted(httpx.ConnectError("refused"))
    async with client_of(handler) as client:
        with pytest.raises(RequestNotSentError, match="nothing has happened") as caught:
            await client.smart_trades.cancel(7)
    assert len(seen) == 5
    assert caught.value.available_in is None


async def test_request_that_was_not_sent_uses_no_slot() -> None:
    seen, handler = scripted(httpx.ConnectError("refused"), httpx.ConnectError("refused"), trade())
    async with client_of(handler, limiter=SlidingWindowLimiter(1, 60.0)) as client:
        await client.smart_trades.get(7)
    assert len(seen) == 3
    assert now() < 60.0


async def test_refusal_is_not_repeated() -> None:
    seen, handler = scripted(error(401, "signature_invalid", "Provided signature is invalid"))
    async with client_of(handler) as client:
        with pytest.raises(AuthenticationError, match="Provided signature is invalid"):
            await client.users.validate()
    assert len(seen) == 1


async def test_not_found_with_status_400_raises_not_found() -> None:
    _, handler = scripted(error(400, "Not found", "Smart Trade not found"))
    async with client_of(handler) as client:
        with pytest.raises(NotFoundError, match="Smart Trade not found"):
            await client.smart_trades.get(7)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"id": "seven"}', b"[]", b'{"id": 7}'])
async def test_unparsable_2xx_is_not_repeated_and_may_have_taken_effect(body: bytes) -> None:
    seen, handler = scripted(httpx.Response(201, content=body))
    async with client_of(handler) as client:
        with pytest.raises(ResponseDecodeError, match="carried it out: do not repeat") as caught:
            await client.smart_trades.cancel(7)
    assert len(seen) == 1
    assert caught.value.body == body.decode()
    assert caught.value.status_code == 201
    assert caught.value.may_have_taken_effect is True


# --- blocks


def refused_rate(after: str = "60") -> httpx.Response:
    return httpx.Response(429, text="slow down", headers={"Retry-After": after})


async def test_429_stops_all_requests_until_the_block_ends() -> None:
    times: list[float] = []

    async def handler(_: httpx.Request) -> httpx.Response:
        times.append(now())
        await asyncio.sleep(1)
        return refused_rate() if len(times) <= 2 else trade()

    async with client_of(handler, max_connections=2) as client:
        await asyncio.gather(*(client.smart_trades.get(7) for _ in range(8)))
    assert times[:2] == [0, 0]
    assert len(times) == 10
    assert min(times[2:]) == 61.0


async def test_429_without_a_time_blocks_for_the_documented_penalty() -> None:
    seen, handler = scripted(httpx.Response(429, text="Too many"), trade())
    async with client_of(handler) as client:
        await client.smart_trades.get(7)
    assert (len(seen), now()) == (2, 300.0)


async def test_429_without_a_time_blocks_for_the_longer_penalty_of_both_limits() -> None:
    """The answer does not tell which limit was hit, and continuing too early leads to a ban."""
    seen, handler = scripted(httpx.Response(429), httpx.Response(200, json=[]))
    async with client_of(handler) as client:
        await client.smart_trades.list_page()
    assert (len(seen), now()) == (2, 300.0)


async def test_429_of_an_endpoint_with_a_longer_penalty_blocks_for_that_penalty() -> None:
    seen, handler = scripted(httpx.Response(429), httpx.Response(200, json=[]))
    limiter = SlidingWindowLimiter(penalty=5.0)
    async with client_of(handler, limiter=limiter) as client:
        await client.smart_trades.list_page()
    assert (len(seen), now()) == (2, 10.0)


async def test_unsafe_call_is_repeated_after_a_429() -> None:
    seen, handler = scripted(refused_rate(), trade())
    async with client_of(handler) as client:
        await client.smart_trades.cancel(7)
    assert (len(seen), now()) == (2, 60.0)


async def test_repeated_429s_raise_rate_limit_error_after_three_waits() -> None:
    seen, handler = scripted(refused_rate())
    async with client_of(handler) as client:
        with pytest.raises(RateLimitError) as caught:
            await client.smart_trades.get(7)
    assert len(seen) == 4
    assert caught.value.retry_at is not None


async def test_block_longer_than_the_deadline_raises_rate_limit_error_at_once() -> None:
    seen, handler = scripted(refused_rate())
    async with client_of(handler) as client:
        with pytest.raises(RateLimitError):
            await client.smart_trades.get(7, deadline=30)
    assert (len(seen), now()) == (1, 0.0)


async def test_plan_limit_raises_at_once_and_blocks_nothing() -> None:
    seen, handler = scripted(
        httpx.Response(429, json={"error": "plan", "error_description": "Upgrade your plan"}),
        trade(),
    )
    async with client_of(handler) as client:
        with pytest.raises(PlanLimitError, match="waiting does not help"):
            await client.smart_trades.get(7)
        await client.smart_trades.get(7)
    assert (len(seen), now()) == (2, 0.0)


async def test_ip_ban_raises_at_once_and_blocks_all_other_calls() -> None:
    seen, handler = scripted(httpx.Response(418, headers={"Retry-After": "600"}), trade())
    async with client_of(handler) as client:
        with pytest.raises(IPBannedError, match="until") as caught:
            await client.smart_trades.get(7)
        assert caught.value.retry_at is not None
        with pytest.raises(RequestNotSentError):
            await client.smart_trades.get(8, deadline=599)
        await client.smart_trades.get(7)
    assert (len(seen), now()) == (2, 600.0)


async def test_clients_that_share_a_limiter_share_its_blocks() -> None:
    limiter = SlidingWindowLimiter()
    _, refusing = scripted(refused_rate("50"), trade())
    _, willing = scripted(trade())
    async with (
        client_of(refusing, limiter=limiter) as one,
        client_of(willing, limiter=limiter) as two,
    ):
        first = asyncio.create_task(one.smart_trades.get(7))
        await asyncio.sleep(0.1)
        await two.smart_trades.get(7)
        assert now() == 50.0
        await first


# --- deadlines and cancellation


async def test_unsafe_call_unanswered_at_its_deadline_raises_outcome_unknown() -> None:
    async with client_of(Api([7], latency=60.0)) as client:
        with pytest.raises(OutcomeUnknownError, match="deadline of 5 s"):
            await client.smart_trades.cancel(7, deadline=5)
    assert now() == 5.0


async def test_call_without_a_connection_by_its_deadline_raises_not_sent() -> None:
    api = Api([7, 8], latency=40.0)
    async with client_of(api, max_connections=1) as client:
        first = asyncio.create_task(client.smart_trades.get(8))
        await asyncio.sleep(1)
        with pytest.raises(RequestNotSentError, match="safe to call again"):
            await client.smart_trades.cancel(7, deadline=5)
        await first
    assert api.count("DELETE") == 0


async def test_cancelled_call_releases_its_connection_to_the_next() -> None:
    api = Api([7, 8, 9], latency=40.0)
    async with client_of(api, max_connections=1) as client:
        in_flight = asyncio.create_task(client.smart_trades.get(7))
        waiting = asyncio.create_task(client.smart_trades.get(8))
        last = asyncio.create_task(client.smart_trades.get(9))
        await asyncio.sleep(1)
        waiting.cancel()
        in_flight.cancel()
        await last
    assert now() == 41.0
    assert [path for _, _, path in api.requests] == [
        "/public/api/v2/smart_trades/7",
        "/public/api/v2/smart_trades/9",
    ]


async def test_connection_granted_to_a_task_cancelled_at_the_same_moment_goes_to_the_next() -> None:
    api = Api([7, 8, 9], latency=40.0)
    async with client_of(api, max_connections=1) as client:
        in_flight = asyncio.create_task(client.smart_trades.get(7))
        cancelled = asyncio.create_task(client.smart_trades.get(8))
        in_flight.add_done_callback(lambda _: cancelled.cancel())
        last = asyncio.create_task(client.smart_trades.get(9))
        await asyncio.wait({in_flight, cancelled, last})
    assert cancelled.cancelled()
    assert last.result().id == 9


async def test_closed_client_sends_nothing() -> None:
    seen, handler = scripted(trade())
    client = client_of(handler)
    await client.aclose()
    with pytest.raises(RequestNotSentError, match="closed"):
        await client.smart_trades.get(7)
    assert seen == []


# --- hooks and logs


async def test_hooks_receive_every_attempt_and_every_block() -> None:
    events: list[Event] = []
    _, handler = scripted(httpx.ReadTimeout(""), refused_rate("60"), trade())
    async with client_of(handler, hooks=[events.append]) as client:
        await client.smart_trades.get(7)
    fates = [e.fate for e in events if isinstance(e, AttemptEnded)]
    assert fates == [Fate.UNKNOWN, Fate.REJECTED, Fate.DONE]
    assert [e for e in events if isinstance(e, Blocked)] == [Blocked(status_code=429, seconds=60.0)]
    last = events[-1]
    assert isinstance(last, AttemptEnded)
    assert (last.method, last.path) == ("GET", "/public/api/v2/smart_trades/7")
    assert (last.attempt, last.status_code, last.error) == (3, 200, None)
    assert last.waited == 60.0


async def test_hooks_receive_unsent_and_unparsable_attempts() -> None:
    events: list[Event] = []
    answers = httpx.ConnectError("refused"), httpx.Response(200, text="<")
    _, handler = scripted(*answers)
    async with client_of(handler, hooks=[events.append]) as client:
        with pytest.raises(ResponseDecodeError):
            await client.smart_trades.get(7)
    assert [e.fate for e in events if isinstance(e, AttemptEnded)] == [Fate.NOT_SENT, Fate.DONE]


async def test_exception_in_a_hook_stops_nothing_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: Event) -> None:
        raise ValueError("my hook")

    _, handler = scripted(trade())
    async with client_of(handler, hooks=[broken]) as client:
        assert isinstance(await client.smart_trades.get(7), SmartTrade)
    assert "my hook" in caplog.text


async def test_block_is_logged_as_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    _, handler = scripted(refused_rate("60"), trade())
    async with client_of(handler) as client:
        await client.smart_trades.get(7)
    warnings = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "nothing is sent for 60 s: GET" in warnings[0]
    assert "429 slow down. Nothing" in warnings[0]
