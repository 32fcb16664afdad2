"""Watching positions until they are closed, by this client or otherwise."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.support import Api, client_of, error
from threecommas_async import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    OutcomeUnknownError,
    RetryPolicy,
    ServerError,
    ThreeCommasError,
)
from threecommas_async.models.deal import Deal

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


async def watch_to_the_end(api: Api, *ids: int, **options: Any) -> list[tuple[float, int, str]]:
    """Watch until it ends, and return when each trade was yielded with which status."""
    async with client_of(api) as client:
        return [
            (now(), trade.id, str(trade.status.code))
            async for trade in client.smart_trades.watch(
                ids or list(api.status),
                **options,
            )
        ]


class Errors:
    """An `on_error` callback that collects its arguments."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.errors: list[type[ThreeCommasError]] = []

    def __call__(self, trade_id: int, error: ThreeCommasError) -> None:
        self.ids.append(trade_id)
        self.errors.append(type(error))


def set_status_later(seconds: float, api: Api, trade_id: int, status: str) -> None:
    asyncio.get_running_loop().call_later(seconds, api.status.__setitem__, trade_id, status)


async def test_watch_yields_each_trade_when_first_read_and_after_every_change() -> None:
    api = Api([1, 2])
    set_status_later(4, api, 1, "panic_sell_pending")
    set_status_later(12, api, 1, "panic_sold")
    set_status_later(20, api, 2, "failed")
    assert await watch_to_the_end(api) == [
        (0.0, 1, "waiting_targets"),
        (0.0, 2, "waiting_targets"),
        (7.0, 1, "panic_sell_pending"),  # reads at 0, 1, 3, 7, 12, 17 s
        (12.0, 1, "panic_sold"),
        (22.0, 2, "failed"),
    ]


async def test_watch_stops_reading_finished_trades_and_ends_with_the_last() -> None:
    api = Api([1, 2])
    api.status[1] = "panic_sold"
    set_status_later(2.5, api, 2, "panic_sold")
    assert len(await watch_to_the_end(api)) == 3
    assert [path[-1] for _, _, path in api.requests] == ["1", "2", "2", "2"]
    assert now() == 3.0


async def test_watch_yields_a_trade_when_any_field_changes() -> None:
    api = Api([1])
    asyncio.get_running_loop().call_later(2, api.data[1].update, {"finished": True})
    set_status_later(5, api, 1, "panic_sold")
    assert [at for at, _, _ in await watch_to_the_end(api)] == [0.0, 3.0, 7.0]


async def test_watch_reads_many_trades_by_pages() -> None:
    api = Api(range(1, 251), latency=0.1)
    for trade_id in api.status:
        set_status_later(5, api, trade_id, "panic_sold")
    given = await watch_to_the_end(api)
    assert len(given) == 500
    assert api.count("GET", "/v2/smart_trades") == len(api.requests) < 30


async def test_watch_reads_at_the_interval_given() -> None:
    api = Api([1])
    await watch_to_the_end(api, every=0.5, deadline=2.2)
    assert [at for at, _, _ in api.requests] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert now() == 2.2


async def test_watch_ends_at_its_deadline_even_during_a_read() -> None:
    api = Api([1], latency=10.0)
    assert await watch_to_the_end(api, deadline=3) == []
    assert now() == 3.0


async def test_watch_reports_a_failed_read_and_repeats_it() -> None:
    answers = iter([None, *[httpx.Response(500)] * 5])

    async def on_read(_: int) -> httpx.Response | None:
        return next(answers, None)

    api = Api([1])
    api.on_read = on_read
    missed = Errors()
    set_status_later(90, api, 1, "panic_sold")
    given = await watch_to_the_end(api, on_error=missed)
    assert [status for _, _, status in given] == [
        "waiting_targets",
        "waiting_targets",
        "panic_sold",
    ]
    assert (missed.ids, missed.errors) == ([1], [ServerError])


async def test_hanging_read_does_not_delay_other_watched_trades() -> None:
    async def on_read(trade_id: int) -> httpx.Response | None:
        if trade_id == 1:
            await asyncio.sleep(25)
        return None

    api = Api([1, 2])
    api.on_read = on_read
    assert [(at, i) for at, i, _ in await watch_to_the_end(api, deadline=30)] == [
        (0.0, 2),
        (25.0, 1),
    ]


async def test_watch_stops_reading_a_trade_not_found_twice_in_a_row() -> None:
    answers = iter([error(404, "not_found"), None, error(404, "not_found")])

    async def on_read(_: int) -> httpx.Response | None:
        return next(answers, error(404, "not_found"))

    api = Api([1])
    api.on_read = on_read
    missed = Errors()
    given = await watch_to_the_end(api, on_error=missed)
    assert len(given) == 1
    assert missed.errors == [NotFoundError] * 3


async def test_watch_raises_if_the_key_is_refused() -> None:
    async def refuse(_: int) -> httpx.Response:
        return error(401, "signature_invalid")

    api = Api([1])
    api.on_read = refuse
    with pytest.raises(AuthenticationError):
        await watch_to_the_end(api)


async def test_exception_in_on_error_is_logged_and_the_watch_continues(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: int, __: ThreeCommasError) -> None:
        raise LookupError

    async def lose_first_answer(_: int) -> httpx.Response | None:
        api.on_read = None
        raise httpx.ReadError("reset")

    api = Api([1])
    api.apply(1)
    api.on_read = lose_first_answer
    async with client_of(api, retry=RetryPolicy(attempts=1)) as client:
        seen = [trade async for trade in client.smart_trades.watch([1], on_error=fail)]
    assert seen[-1].status.code == "panic_sold"
    assert "on_error failed for 1" in caplog.text


async def test_watch_reads_nothing_before_it_is_iterated_or_after_the_loop_is_left() -> None:
    api = Api([1, 2])
    async with client_of(api) as client:
        watching = client.smart_trades.watch([1, 2])
        await asyncio.sleep(10)
        assert api.requests == []
        async for _ in watching:
            await asyncio.sleep(100)
            break
        assert len(api.requests) == 2
        await asyncio.sleep(100)
        assert len(api.requests) == 2


async def test_cancelled_watch_leaves_no_task_behind() -> None:
    api = Api([1], latency=5.0)
    task = asyncio.create_task(watch_to_the_end(api))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_watch_refuses_bad_arguments_at_the_call() -> None:
    async def wrong(_: int, __: ThreeCommasError) -> None: ...

    async with client_of(Api()) as client:
        arguments: dict[str, Any]
        for arguments in (
            {"trade_ids": [0]},
            {"trade_ids": [1], "every": 0},
            {"trade_ids": [1], "every": None},
            {"trade_ids": [1], "on_error": wrong},
            {"trade_ids": [1], "timeout": -1},
        ):
            with pytest.raises(InvalidRequestError):
                client.smart_trades.watch(**arguments)


async def test_deals_are_watched_like_trades() -> None:
    statuses = iter(["bought", "panic_sell_pending", "panic_sold"])

    async def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"id": 1, "status": next(statuses)})

    deals: list[Deal] = []
    async with client_of(handler) as client:
        async for deal in client.deals.watch([1]):
            deals.append(deal)  # noqa: PERF401 - as a bot would do it
    assert [deal.status for deal in deals] == ["bought", "panic_sell_pending", "panic_sold"]


async def test_watch_continues_after_lost_answers() -> None:
    async def lose_answer(_: int) -> httpx.Response:
        raise httpx.ReadError("reset")

    api = Api([1])
    api.on_read = lose_answer
    missed = Errors()
    assert await watch_to_the_end(api, deadline=60, on_error=missed) == []
    assert set(missed.errors) == {OutcomeUnknownError}
    assert await watch_to_the_end(api, deadline=60) == []  # without a callback
