"""close_many: an answer about the key or the IP address stops the whole batch."""

import asyncio
import re
from collections.abc import Callable

import httpx
import pytest

from tests.support import (
    Api,
    answering,
    assert_report_is_true,
    client_of,
    close_many,
    error,
    garbage_after,
    reset_before,
    states,
)
from threecommas_async import (
    AuthenticationError,
    CloseState,
    IPBannedError,
    PermissionDeniedError,
    PlanLimitError,
    RateLimitError,
    RequestNotSentError,
    ThreeCommasError,
)

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


def unauthorized() -> httpx.Response:
    return error(401, "signature_invalid", "Provided signature is invalid")


def no_permission() -> httpx.Response:
    return error(403, "Forbidden", "API key has no permission SMART_TRADES_WRITE")


def plan() -> httpx.Response:
    return httpx.Response(429, json={"error": "plan", "error_description": "Upgrade your plan"})


def banned() -> httpx.Response:
    return httpx.Response(418, headers={"Retry-After": "600"}, text="banned")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (unauthorized, AuthenticationError),
        (no_permission, PermissionDeniedError),
        (plan, PlanLimitError),
        (banned, IPBannedError),
    ],
)
async def test_answer_about_the_key_or_the_address_stops_the_whole_batch(
    answer: Callable[[], httpx.Response], reason: type[ThreeCommasError]
) -> None:
    ids = range(1, 101)
    api = Api(ids, latency=1.0)
    for trade_id in range(31, 101):
        api.faults[trade_id] = [answering(answer)] * 9
    report = await close_many(api)
    assert report.counts[CloseState.ACCEPTED] == 30
    assert report.counts[CloseState.NOT_SENT] == 70
    assert len(api.requests) <= 60
    assert all(isinstance(report[i].error, reason) for i in range(31, 101))
    assert_report_is_true(api, report)


async def test_plan_limit_stops_a_batch_of_100_within_25_requests() -> None:
    api = Api(range(1, 101), latency=0.05)
    for trade_id in api.status:
        api.faults[trade_id] = [answering(plan)]
    report = await close_many(api)
    assert len(api.requests) <= 25
    assert report.counts[CloseState.NOT_SENT] == 100


async def test_ip_ban_error_says_when_the_ban_ends() -> None:
    api = Api([1])
    api.faults[1] = [answering(banned)]
    ban = (await close_many(api))[1].error
    assert isinstance(ban, IPBannedError)
    assert ban.retry_at is not None
    assert re.search(r"until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", str(ban))


async def test_single_close_waits_for_the_end_of_a_ban_unless_it_has_a_deadline() -> None:
    api = Api(range(1, 6))
    api.faults[1] = [answering(banned)]
    async with client_of(api) as client:
        with pytest.raises(IPBannedError):  # the close that is answered with the ban
            await client.smart_trades.close_by_market(1)
        waiting = asyncio.create_task(client.smart_trades.close_by_market(2))
        with pytest.raises(RequestNotSentError, match="429 or 418"):
            await client.smart_trades.close_by_market(3, deadline=30)
        assert asyncio.get_running_loop().time() < 1
        report = await client.smart_trades.close_many([4, 5], deadline=30)  # begun during the ban
        assert report.counts == {CloseState.NOT_SENT: 2}
        assert len(api.requests) == 1
        await waiting
        assert asyncio.get_running_loop().time() >= 600


async def test_unknown_closes_are_not_looked_up_when_the_batch_is_stopped() -> None:
    api = Api(range(1, 4), latency=1.0)
    api.faults[1] = [answering(unauthorized)]
    api.faults[2] = [garbage_after]
    api.faults[3] = [reset_before]
    report = await close_many(api)
    assert states(report) == {
        1: CloseState.NOT_SENT,
        2: CloseState.UNKNOWN,
        3: CloseState.UNKNOWN,
    }
    assert api.count("GET") == 0


def forbidden() -> httpx.Response:
    return error(403, "Forbidden", "")


async def test_single_bare_403_rejects_only_its_own_trade() -> None:
    api = Api(range(1, 51))
    api.faults[20] = [answering(forbidden)]
    report = await close_many(api)
    assert report.leftovers == (20,)
    assert report[20].state is CloseState.REJECTED


async def test_bare_403_for_many_trades_stops_the_batch() -> None:
    api = Api(range(1, 201), latency=0.1)
    for trade_id in api.status:
        api.faults[trade_id] = [answering(forbidden)] * 9
    report = await close_many(api)
    assert len(api.requests) < 60
    assert not report.ok
    assert all(isinstance(outcome.error, PermissionDeniedError) for outcome in report)


async def test_429_pauses_the_whole_batch_for_its_retry_after() -> None:
    api = Api(range(1, 101), latency=0.1)
    refusal = answering(lambda: httpx.Response(429, headers={"Retry-After": "45"}))
    for trade_id in (41, 42, 43):
        api.faults[trade_id] = [refusal]
    report = await close_many(api)
    assert report.ok
    assert 45.0 <= now() < 47.0
    quiet = [at for at, _, _ in api.requests if 0.7 < at < 45.0]
    assert quiet == []


async def test_repeated_429s_leave_the_trade_not_sent() -> None:
    api = Api([1])
    api.faults[1] = [answering(lambda: httpx.Response(429, headers={"Retry-After": "5"}))] * 9
    report = await close_many(api)
    assert report[1].state is CloseState.NOT_SENT
    assert isinstance(report[1].error, RateLimitError)
