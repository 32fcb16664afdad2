"""The shared limiter in virtual time, on a fake Redis."""

import asyncio
import gc
import logging
import math
import pickle
from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.effort import count_calls
from tests.limiters import acquire_behind_cancelled_queue
from tests.redis.fake import FakeConnection, FakeRedis
from tests.support import in_virtual_time
from threecommas_async import ConfigurationError, RequestNotSentError
from threecommas_async.endpoint import Bucket, Priority
from threecommas_async.rate_limit.limiter import RateLimiter
from threecommas_async.redis import RedisLimiter

pytestmark = pytest.mark.looptime

CLOSE, READ = Priority.CLOSE, Priority.NORMAL
LIST = Bucket("list", limit=2, window=10.0, penalty=10.0)
Log = list[tuple[float, str]]


def now() -> float:
    return round(asyncio.get_running_loop().time(), 3)


async def send(  # noqa: PLR0913
    limiter: RateLimiter,
    log: Log,
    name: str,
    priority: Priority = CLOSE,
    *,
    latency: float = 0.1,
    bucket: Bucket | None = None,
) -> None:
    permit = await limiter.acquire(priority, bucket=bucket)
    log.append((now(), name))
    await asyncio.sleep(latency)
    await limiter.release(permit, sent=True)


async def settle() -> None:
    """Run everything that is ready to run."""
    for _ in range(20):
        await asyncio.sleep(0)


# --- pacing


async def test_beyond_the_limit_requests_wait_one_window_after_the_responses() -> None:
    log = Log()
    async with RedisLimiter(FakeConnection(), limit=3) as limiter:
        await asyncio.gather(*(send(limiter, log, str(i)) for i in range(7)))
    assert [at for at, _ in log] == pytest.approx([0, 0, 0, 60.1, 60.1, 60.1, 120.2], abs=0.01)
    assert [name for _, name in log] == list("0123456")


async def test_processes_share_one_limit() -> None:
    connection, log = FakeConnection(), Log()
    async with RedisLimiter(connection, limit=3) as one, RedisLimiter(connection, limit=3) as two:
        await asyncio.gather(*(send(limiter, log, "") for limiter in (one, two) for _ in range(3)))
    assert [at for at, _ in log] == pytest.approx([0, 0, 0, 60.1, 60.1, 60.1], abs=0.05)


async def test_limiters_with_different_keys_do_not_share_a_budget() -> None:
    connection, log = FakeConnection(), Log()
    async with (
        RedisLimiter(connection, limit=1, key="one") as one,
        RedisLimiter(connection, limit=1, key="two") as two,
    ):
        await asyncio.gather(send(one, log, "one"), send(two, log, "two"))
    assert [at for at, _ in log] == [0, 0]


async def test_a_response_slower_than_the_lease_still_holds_its_slot() -> None:
    log = Log()
    async with RedisLimiter(FakeConnection(), limit=1, window=10.0, lease=3.0) as limiter:
        await asyncio.gather(send(limiter, log, "a", latency=40.0), send(limiter, log, "b"))
    assert [name for _, name in log] == ["a", "b"]
    assert log[1][0] == pytest.approx(50.0, abs=0.01)


async def test_an_attempt_that_was_not_sent_frees_its_slot_at_once() -> None:
    async with RedisLimiter(FakeConnection(), limit=1) as limiter:
        permit = await limiter.acquire(CLOSE)
        waiter = asyncio.create_task(limiter.acquire(CLOSE))
        await asyncio.sleep(1.5)
        await limiter.release(permit, sent=False)
        await waiter
        assert now() == 1.5


async def test_a_release_does_not_wait_for_redis() -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection) as limiter:
        permit = await limiter.acquire(CLOSE)
        connection.latency = 1.5
        await limiter.release(permit, sent=True)
        assert now() == 0.0


async def test_slots_of_a_crashed_process_come_free_after_a_lease_and_a_window() -> None:
    connection, log = FakeConnection(), Log()
    async with RedisLimiter(connection, limit=1, window=10.0, lease=30.0) as crashed:
        await crashed.acquire(CLOSE)
        connection.disconnected = True
        async with RedisLimiter(FakeConnection(connection.server), limit=1, window=10.0) as limiter:
            await send(limiter, log, "after")
    assert log[0][0] == pytest.approx(40.0, abs=0.01)


# --- priorities


async def test_waiting_closes_overtake_earlier_reads() -> None:
    log = Log()
    async with (
        RedisLimiter(FakeConnection(), limit=2, window=10.0, reserve=0) as limiter,
        asyncio.TaskGroup() as group,
    ):
        for i in range(4):
            group.create_task(send(limiter, log, f"read {i}", READ, latency=0))
        await asyncio.sleep(1)
        for i in range(2):
            group.create_task(send(limiter, log, f"close {i}", CLOSE, latency=0))
    assert [name for _, name in log] == [
        *("read 0", "read 1"),
        *("close 0", "close 1"),
        *("read 2", "read 3"),
    ]


async def test_a_waiting_close_overtakes_the_read_of_another_process() -> None:
    connection, log = FakeConnection(), Log()
    async with (
        RedisLimiter(connection, limit=1, window=10.0, reserve=0) as reader,
        RedisLimiter(connection, limit=1, window=10.0, reserve=0) as closer,
    ):
        await send(reader, log, "first", READ, latency=0)
        reads = asyncio.create_task(send(reader, log, "read", READ))
        await asyncio.sleep(5)
        await send(closer, log, "close", CLOSE, latency=0)
        await reads
    assert [name for _, name in log] == ["first", "close", "read"]
    assert [at for at, _ in log] == pytest.approx([0, 10, 20], abs=0.05)


async def test_a_process_that_crashes_while_a_close_waits_does_not_block_reads_for_long() -> None:
    connection, log = FakeConnection(), Log()
    async with (
        RedisLimiter(connection, limit=2, window=10.0, reserve=0) as crashed,
        RedisLimiter(FakeConnection(connection.server), limit=2, window=10.0, reserve=0) as limiter,
    ):
        await asyncio.gather(*(send(limiter, log, "first", latency=0) for _ in range(2)))
        await asyncio.sleep(9)
        abandoned = asyncio.create_task(crashed.acquire(CLOSE))
        await settle()
        connection.disconnected = True
        await send(limiter, log, "read", READ)
        with pytest.raises(RequestNotSentError):
            await abandoned
    assert log[-1][0] == pytest.approx(12.0, abs=0.1)


async def test_reads_leave_the_reserve_to_closes_of_other_processes() -> None:
    connection, log = FakeConnection(), Log()
    async with (
        RedisLimiter(connection, limit=20) as reader,
        RedisLimiter(connection, limit=20) as closer,
    ):
        reads = [asyncio.create_task(send(reader, log, "read", READ)) for _ in range(30)]
        await asyncio.sleep(1)
        assert len(log) == 18
        await send(closer, log, "close", CLOSE)
        assert log[-1][1] == "close"
        for task in reads:
            task.cancel()


async def test_free_slots_are_divided_among_waiting_processes() -> None:
    connection, logs = FakeConnection(latency=0.01), [Log(), Log()]
    one, two = (RedisLimiter(connection, limit=10, window=6.0) for _ in logs)
    async with one, two:
        pairs = ((one, logs[0]), (two, logs[1]))
        await asyncio.gather(*(send(a, log, "") for a, log in pairs for _ in range(40)))
    for log in logs:
        assert 12 <= sum(6 < at < 5 * 6.2 for at, _ in log) <= 28


async def test_slots_that_come_free_one_by_one_go_to_both_processes() -> None:
    connection, logs = FakeConnection(latency=0.005), [Log(), Log()]
    one, two = (RedisLimiter(connection, limit=2, window=6.0) for _ in logs)
    async with one, two:
        for limiter in (one, two):
            await send(limiter, Log(), "", latency=1)
        pairs = ((one, logs[0]), (two, logs[1]))
        await asyncio.gather(*(send(a, log, "") for a, log in pairs for _ in range(8)))
    for log in logs:
        assert 3 <= sum(at < 5 * 6.2 for at, _ in log) <= 6


async def test_a_process_waiting_for_an_endpoint_limit_does_not_hold_up_others() -> None:
    connection, log = FakeConnection(), Log()
    lists = Bucket("list", limit=1, window=50.0, penalty=10.0)
    async with RedisLimiter(connection, 4, 10.0) as one, RedisLimiter(connection, 4, 10.0) as two:
        await one.release(await one.acquire(CLOSE, bucket=lists), sent=True)
        waiter = asyncio.create_task(one.acquire(CLOSE, bucket=lists))
        await settle()
        await asyncio.gather(*(send(two, log, "", READ, latency=0) for _ in range(11)))
        waiter.cancel()
    assert [at for at, _ in log] == pytest.approx([0] * 3 + [10] * 4 + [20] * 4, abs=0.01)


async def test_a_thousand_waiters_cost_no_more_calls_than_one() -> None:
    calls: list[int] = []
    for waiters in (1, 1000):
        connection = FakeConnection()
        async with RedisLimiter(connection, limit=1) as limiter:
            await limiter.acquire(CLOSE)
            tasks = [asyncio.create_task(limiter.acquire(CLOSE)) for _ in range(waiters)]
            await asyncio.sleep(55)
            calls.append(len(connection.messages))
            for task in tasks:
                task.cancel()
            await settle()
    assert calls[0] == calls[1] <= 600


async def test_a_release_is_sent_with_the_next_acquire() -> None:
    connection = FakeConnection()
    connection.script_loaded = True
    async with RedisLimiter(connection) as limiter:
        for _ in range(50):
            await limiter.release(await limiter.acquire(CLOSE), sent=False)
    assert len(connection.messages) == 51


async def test_a_burst_costs_one_round_trip() -> None:
    connection = FakeConnection()
    connection.script_loaded = True
    async with RedisLimiter(connection) as limiter:
        await asyncio.gather(*(limiter.acquire(CLOSE) for _ in range(100)))
        assert len(connection.messages) == 1


# --- cancellation


@pytest.mark.parametrize("moment", [0.0, 0.3, 0.8])
async def test_an_acquire_cancelled_during_the_call_takes_no_slot(moment: float) -> None:
    connection = FakeConnection()
    connection.latency = 1.0
    async with RedisLimiter(connection, limit=1) as limiter:
        abandoned = asyncio.create_task(limiter.acquire(CLOSE))
        await asyncio.sleep(moment)
        abandoned.cancel()
        await asyncio.wait({abandoned})
        assert abandoned.cancelled()
        await limiter.acquire(CLOSE)
        assert now() <= moment + 4


async def test_a_slot_granted_to_a_task_just_cancelled_goes_to_the_next_waiter() -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection, limit=1) as limiter:
        permit = await limiter.acquire(CLOSE)
        abandoned = asyncio.create_task(limiter.acquire(CLOSE))
        next_waiter = asyncio.create_task(limiter.acquire(CLOSE))
        await settle()
        connection.on_reply = abandoned.cancel
        await limiter.release(permit, sent=False)
        await next_waiter
        assert now() == 0.0
        assert abandoned.cancelled()


async def test_a_cancelled_close_no_longer_blocks_reads_of_other_processes() -> None:
    connection, log = FakeConnection(), Log()
    async with (
        RedisLimiter(connection, limit=2, window=10.0, reserve=0) as closer,
        RedisLimiter(connection, limit=2, window=10.0, reserve=0) as reader,
    ):
        await asyncio.gather(*(send(reader, log, "first", latency=0) for _ in range(2)))
        await asyncio.sleep(9.5)
        close = asyncio.create_task(closer.acquire(CLOSE))
        await settle()
        close.cancel()
        await send(reader, log, "read", READ)
    assert log[-1][0] == pytest.approx(10.0, abs=0.2)


# --- blocks


async def test_a_block_stops_all_processes_until_it_ends() -> None:
    connection, log = FakeConnection(), Log()
    async with RedisLimiter(connection, limit=2) as one, RedisLimiter(connection, limit=2) as two:
        await one.block(300.0)
        assert one.blocked_for() == pytest.approx(300.0)
        await asyncio.gather(send(one, log, ""), send(two, log, ""), send(two, log, ""))
        assert one.blocked_for() == two.blocked_for() == 0.0
    assert [at for at, _ in log] == pytest.approx([300, 300, 360.1], abs=0.05)


async def test_a_waiting_process_learns_of_the_block_of_another() -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection, limit=1) as one, RedisLimiter(connection, limit=1) as two:
        await one.acquire(CLOSE)
        waiter = asyncio.create_task(two.acquire(CLOSE))
        await asyncio.sleep(0.5)
        await one.block(300.0)
        await asyncio.sleep(1)
        assert two.blocked_for() == pytest.approx(299.0, abs=0.01)
        waiter.cancel()


async def test_a_process_with_requests_in_flight_learns_of_the_block_of_another() -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection) as one, RedisLimiter(connection) as two:
        await two.acquire(CLOSE)
        await asyncio.sleep(0.5)
        await one.block(300.0)
        await asyncio.sleep(1)
        assert two.blocked_for() == pytest.approx(299.0, abs=0.01)


async def test_a_shorter_block_does_not_end_a_longer_one() -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection) as one, RedisLimiter(connection) as two:
        await one.block(300.0)
        await two.block(10.0)
        assert one.blocked_for() == two.blocked_for() == pytest.approx(300.0)


async def test_a_block_during_a_call_is_sent_with_the_next_call() -> None:
    connection = FakeConnection(latency=1.0)
    async with RedisLimiter(connection) as limiter:
        acquired = asyncio.create_task(limiter.acquire(CLOSE))
        await asyncio.sleep(0.2)
        await limiter.block(100.0)
        assert now() == 2.0
        assert limiter.blocked_for() == pytest.approx(99.2)
        await acquired


# --- an endpoint's own limit


async def test_processes_share_the_limit_of_an_endpoint() -> None:
    connection, log = FakeConnection(), Log()
    async with RedisLimiter(connection) as one, RedisLimiter(connection) as two:
        await asyncio.gather(*(send(one, log, "", READ, latency=0, bucket=LIST) for _ in range(2)))
        await asyncio.gather(*(send(two, log, "", READ, latency=0, bucket=LIST) for _ in range(3)))
    assert [at for at, _ in log] == pytest.approx([0, 0, 10, 10, 20], abs=0.05)


async def test_a_waiter_held_up_by_an_endpoint_limit_does_not_hold_up_others() -> None:
    log = Log()
    async with RedisLimiter(FakeConnection()) as limiter:
        lists = [send(limiter, log, f"list {i}", READ, latency=0, bucket=LIST) for i in range(3)]
        await asyncio.gather(*lists, send(limiter, log, "get", READ, latency=0))
    assert [name for _, name in log] == ["list 0", "list 1", "get", "list 2"]


async def test_a_list_request_that_was_not_sent_frees_both_slots() -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection) as limiter:
        permit = await limiter.acquire(READ, bucket=LIST)
        assert connection.server.held() == connection.server.held("list") == 1
        await limiter.release(permit, sent=False)
        await settle()
        assert connection.server.held() == connection.server.held("list") == 0


# --- deadlines


async def test_a_request_that_cannot_be_sent_in_time_fails_at_once_and_says_when_it_could() -> None:
    async with RedisLimiter(FakeConnection(), limit=1) as limiter:
        await limiter.release(await limiter.acquire(CLOSE), sent=True)
        with pytest.raises(RequestNotSentError, match=r"comes free in 60\.0 s") as refusal:
            await limiter.acquire(CLOSE, deadline=now() + 59.0)
        assert now() == 0.0
        assert refusal.value.available_in == pytest.approx(60.0)


async def test_a_deadline_is_not_refused_while_another_process_may_return_a_slot() -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection, limit=1) as one, RedisLimiter(connection, limit=1) as two:
        connecting = await two.acquire(CLOSE)
        close = asyncio.create_task(one.acquire(CLOSE, deadline=10.0))
        await asyncio.sleep(1)
        await two.release(connecting, sent=False)
        await close
        assert now() == 2.0  # at its next call


async def test_a_deadline_is_not_refused_because_of_waiters_ahead() -> None:
    async with RedisLimiter(FakeConnection(), limit=1) as limiter:
        await acquire_behind_cancelled_queue(limiter)
        assert now() == pytest.approx(60.0, abs=0.01)


async def test_a_refusal_estimates_the_wait_including_waiters_ahead() -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection, limit=1) as one, RedisLimiter(connection, limit=1) as two:
        await two.release(await two.acquire(CLOSE), sent=True)
        await two.aclose()
        waiting = [asyncio.create_task(one.acquire(CLOSE)) for _ in range(2)]
        await settle()
        with pytest.raises(RequestNotSentError) as refusal:
            await one.acquire(CLOSE, deadline=59.0)
        assert now() == 0.0
        assert refusal.value.available_in == pytest.approx(180.0)
        for task in waiting:
            task.cancel()


async def test_no_waiter_waits_beyond_its_deadline() -> None:
    async with RedisLimiter(FakeConnection(), limit=10) as limiter:
        asks = [asyncio.create_task(limiter.acquire(CLOSE, deadline=90.0)) for _ in range(25)]
        await asyncio.wait(asks)
        assert now() == 90.0
        assert sum(ask.exception() is not None for ask in asks) == 15


@pytest.mark.parametrize("action", ["join", "leave"])
async def test_joining_and_leaving_do_not_cost_more_with_more_waiters(action: str) -> None:
    async def calls(waiting: int) -> int:
        async with RedisLimiter(FakeConnection(), limit=2) as limiter:
            waiters = [
                asyncio.create_task(limiter.acquire(CLOSE, deadline=1e6)) for _ in range(waiting)
            ]
            await asyncio.sleep(0.05)
            waiter = limiter.acquire(CLOSE, deadline=1e6)
            if action == "leave":
                waiter.send(None)

            def act() -> None:
                with suppress(asyncio.CancelledError):
                    if action == "leave":
                        waiter.throw(asyncio.CancelledError)
                    else:
                        waiter.send(None)

            made = count_calls(act)
            waiter.close()
            for task in waiters:
                task.cancel()
            return made

    assert await calls(1000) <= 1.5 * await calls(10)  # the heap of timers is slightly deeper


async def test_a_call_does_not_cost_more_with_more_waiters() -> None:
    async def calls(waiting: int) -> int:
        async with RedisLimiter(FakeConnection(), limit=2) as limiter:
            waiters = [
                asyncio.create_task(limiter.acquire(CLOSE, deadline=1e6)) for _ in range(waiting)
            ]
            await asyncio.sleep(0.05)
            call = limiter._call()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            made = count_calls(lambda: call.send(None))
            call.close()
            for task in waiters:
                task.cancel()
            return made

    assert await calls(1000) <= 1.5 * await calls(10)


async def test_a_deadline_takes_the_reserve_into_account_for_reads_only() -> None:
    async with RedisLimiter(FakeConnection(), limit=10) as limiter:
        for _ in range(9):
            await limiter.release(await limiter.acquire(READ), sent=True)
        with pytest.raises(RequestNotSentError):
            await limiter.acquire(READ, deadline=59.0)
        await limiter.acquire(CLOSE, deadline=59.0)


async def test_a_deadline_takes_a_block_and_the_endpoint_limit_into_account() -> None:
    async with RedisLimiter(FakeConnection()) as limiter:
        for _ in range(2):
            await limiter.release(await limiter.acquire(READ, bucket=LIST), sent=True)
        with pytest.raises(RequestNotSentError) as refusal:
            await limiter.acquire(READ, bucket=LIST, deadline=9.0)
        assert refusal.value.available_in == pytest.approx(10.0)
        await limiter.block(300.0)
        with pytest.raises(RequestNotSentError) as refusal:
            await limiter.acquire(CLOSE, deadline=299.0)
        assert refusal.value.available_in == pytest.approx(300.0)


async def test_a_waiter_that_gets_no_slot_in_time_fails_at_its_deadline() -> None:
    async with RedisLimiter(FakeConnection(), limit=1, window=10.0) as limiter:
        for _ in range(2):
            await limiter.acquire(CLOSE) if not now() else None
            with pytest.raises(RequestNotSentError):
                await limiter.acquire(CLOSE, deadline=now() + 10.5)


async def test_a_deadline_is_kept_while_redis_is_slow() -> None:
    async with RedisLimiter(FakeConnection(latency=1.0), limit=1) as limiter:
        with pytest.raises(RequestNotSentError):
            await limiter.acquire(CLOSE, deadline=0.3)
        assert now() == 0.3
        await limiter.acquire(CLOSE, deadline=5.0)


# --- event loops, closing, settings


def test_updates_survive_an_event_loop_and_are_sent_on_the_next() -> None:
    connection = FakeConnection(FakeRedis(clock=lambda: 0.0))
    limiter = RedisLimiter(connection, limit=1)

    async def use() -> None:
        await limiter.release(await limiter.acquire(CLOSE, deadline=9.0), sent=False)

    for _ in range(3):
        in_virtual_time(use())
        assert connection.server.held() == 1  # the loop ended before the release was sent
    in_virtual_time(limiter.aclose())
    assert connection.server.held() == 0


async def test_a_closed_limiter_can_be_used_again() -> None:
    connection = FakeConnection()
    limiter = RedisLimiter(connection, limit=1)
    permit = await limiter.acquire(CLOSE)
    waiter = asyncio.create_task(limiter.acquire(CLOSE))
    await settle()
    await limiter.aclose()
    with pytest.raises(RequestNotSentError, match="closed"):
        await waiter
    await limiter.release(permit, sent=False)
    await limiter.acquire(CLOSE)
    await limiter.aclose()
    await limiter.aclose()


@pytest.mark.parametrize("turns", range(4))
async def test_an_acquire_during_aclose_is_served_or_fails(turns: int) -> None:
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    limiter = RedisLimiter(FakeConnection(), limit=1)
    await limiter.release(await limiter.acquire(CLOSE), sent=False)
    await settle()
    closing = asyncio.create_task(limiter.aclose())
    for _ in range(turns):
        await asyncio.sleep(0)
    asking = asyncio.create_task(limiter.acquire(CLOSE, deadline=now() + 5.0))
    await closing
    with suppress(RequestNotSentError):  # "closed"; a later call is served
        await limiter.release(await asking, sent=False)
    await limiter.release(await limiter.acquire(CLOSE), sent=False)
    await limiter.aclose()
    assert now() == 0.0
    gc.collect()
    assert errors == []


async def test_an_acquire_while_the_connection_closes_opens_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class SlowConnection(FakeConnection):
        async def aclose(self) -> None:
            self.disconnected = True
            await asyncio.sleep(1)

    server = FakeRedis()

    def connect(_: str, **__: object) -> SlowConnection:
        return SlowConnection(server)

    monkeypatch.setattr(Redis, "from_url", connect)
    limiter = RedisLimiter("redis://localhost", limit=2)
    await limiter.acquire(CLOSE)
    closing = asyncio.create_task(limiter.aclose())
    await asyncio.sleep(0.5)
    await limiter.acquire(CLOSE, deadline=now() + 5.0)
    await closing
    assert now() == 1.0
    assert server.held() == 2
    await limiter.aclose()


async def test_a_raising_log_filter_leaves_no_waiter_hanging_when_redis_is_lost() -> None:
    def broken(_: object) -> bool:
        raise ValueError

    log = logging.getLogger("threecommas_async")
    log.addFilter(broken)
    connection = FakeConnection()
    try:
        async with RedisLimiter(connection, limit=1) as limiter:
            connection.disconnected = True
            with pytest.raises(RequestNotSentError, match="does not answer"):
                await asyncio.wait_for(limiter.acquire(CLOSE), 9)
            connection.disconnected = False
            await asyncio.wait_for(limiter.acquire(CLOSE), 9)
    finally:
        log.removeFilter(broken)


async def test_aclose_ends_even_if_the_redis_client_swallows_a_cancellation() -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection, limit=1) as limiter:
        await limiter.acquire(CLOSE)
        connection.swallows_cancellation = True
        waiter = asyncio.create_task(limiter.acquire(CLOSE))
        await settle()
    with pytest.raises(RequestNotSentError):
        await waiter
    assert now() == 0.0


async def test_a_redis_client_that_was_passed_in_stays_open() -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection) as limiter:
        await limiter.acquire(CLOSE)
    assert not connection.closed


async def test_the_script_is_sent_once_to_a_redis_that_does_not_have_it() -> None:
    connection = FakeConnection()
    connection.script_loaded = False
    async with RedisLimiter(connection) as limiter:
        await limiter.acquire(CLOSE)
        await limiter.acquire(CLOSE)
    assert connection.commands == ["EVALSHA", "EVAL", "EVALSHA"]


def test_the_repr_shows_the_settings_but_no_password() -> None:
    limiter = RedisLimiter("redis://:hunter2@127.0.0.1:1", limit=50, window=6.0, key="main")
    assert "hunter2" not in repr(limiter)
    assert repr(limiter) == (
        "RedisLimiter(key='main', limit=50, window=6.0, penalty=300.0, reserve=5, lease=120.0, "
        "share=None, timeout=2.0)"
    )


def test_a_limiter_cannot_be_pickled() -> None:
    with pytest.raises(TypeError, match="make one in each process"):
        pickle.dumps(RedisLimiter("redis://:hunter2@127.0.0.1:1"))


@pytest.mark.parametrize(
    "settings",
    [
        {"limit": 0},
        {"window": 0},
        {"reserve": 100},
        {"lease": 0},
        {"lease": math.inf},
        {"timeout": 0},
        {"on_lost": "panic"},
        {"on_lost": "share"},
        {"share": 0.5},
        {"on_lost": "share", "share": 0},
        {"on_lost": "share", "share": 1.1},
        {"on_lost": "share", "share": 0.001},
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        RedisLimiter("redis://127.0.0.1", **settings)


@pytest.mark.parametrize("url", ["http://:hunter2@127.0.0.1", "redis://:hunter2/@127.0.0.1"])
def test_an_invalid_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        RedisLimiter(url)
    assert "hunter2" not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__context__ is None
