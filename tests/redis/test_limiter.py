"""The shared limiter in virtual time, on books in memory."""

import asyncio
import gc
import logging
import math
import pickle
from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.effort import effort
from tests.limiters import outlast_a_crowd
from tests.redis.memory import Memory, Wire
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


async def send(  # noqa: PLR0913 - what a test says about a request
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
    """Let everything happen that takes no time."""
    for _ in range(20):
        await asyncio.sleep(0)


# --- pacing


async def test_a_burst_up_to_the_limit_goes_at_once_and_the_rest_a_window_after_the_answers() -> (
    None
):
    log = Log()
    async with RedisLimiter(Wire(), limit=3) as limiter:
        await asyncio.gather(*(send(limiter, log, str(i)) for i in range(7)))
    assert [at for at, _ in log] == pytest.approx([0, 0, 0, 60.1, 60.1, 60.1, 120.2], abs=0.01)
    assert [name for _, name in log] == list("0123456")


async def test_processes_share_one_limit() -> None:
    wire, log = Wire(), Log()
    async with RedisLimiter(wire, limit=3) as one, RedisLimiter(wire, limit=3) as two:
        await asyncio.gather(*(send(limiter, log, "") for limiter in (one, two) for _ in range(3)))
    assert [at for at, _ in log] == pytest.approx([0, 0, 0, 60.1, 60.1, 60.1], abs=0.05)


async def test_budgets_of_different_names_do_not_share() -> None:
    wire, log = Wire(), Log()
    async with (
        RedisLimiter(wire, limit=1, key="one") as one,
        RedisLimiter(wire, limit=1, key="two") as two,
    ):
        await asyncio.gather(send(one, log, "one"), send(two, log, "two"))
    assert [at for at, _ in log] == [0, 0]


async def test_an_answer_slower_than_the_lease_holds_its_slot_all_the_same() -> None:
    log = Log()
    async with RedisLimiter(Wire(), limit=1, window=10.0, lease=3.0) as limiter:
        await asyncio.gather(send(limiter, log, "a", latency=40.0), send(limiter, log, "b"))
    assert [name for _, name in log] == ["a", "b"]
    assert log[1][0] == pytest.approx(50.0, abs=0.01)


async def test_an_attempt_that_was_not_sent_frees_its_slot_for_the_next_at_once() -> None:
    async with RedisLimiter(Wire(), limit=1) as limiter:
        permit = await limiter.acquire(CLOSE)
        waiter = asyncio.create_task(limiter.acquire(CLOSE))
        await asyncio.sleep(1.5)
        await limiter.release(permit, sent=False)
        await waiter
        assert now() == 1.5


async def test_a_release_holds_nobody_up() -> None:
    wire = Wire()
    async with RedisLimiter(wire) as limiter:
        permit = await limiter.acquire(CLOSE)
        wire.latency = 1.5
        await limiter.release(permit, sent=True)
        assert now() == 0.0


async def test_the_slots_of_a_crashed_process_come_free_a_lease_and_a_window_later() -> None:
    wire, log = Wire(), Log()
    async with RedisLimiter(wire, limit=1, window=10.0, lease=30.0) as crashed:
        await crashed.acquire(CLOSE)
        wire.cut = True
        async with RedisLimiter(Wire(wire.memory), limit=1, window=10.0) as limiter:
            await send(limiter, log, "after")
    assert log[0][0] == pytest.approx(40.0, abs=0.01)


# --- who goes first


async def test_waiting_closes_go_before_reads_that_came_earlier() -> None:
    log = Log()
    async with (
        RedisLimiter(Wire(), limit=2, window=10.0, reserve=0) as limiter,
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


async def test_a_close_waiting_in_one_process_goes_before_a_read_of_another() -> None:
    wire, log = Wire(), Log()
    async with (
        RedisLimiter(wire, limit=1, window=10.0, reserve=0) as reader,
        RedisLimiter(wire, limit=1, window=10.0, reserve=0) as closer,
    ):
        await send(reader, log, "first", READ, latency=0)
        reads = asyncio.create_task(send(reader, log, "read", READ))
        await asyncio.sleep(5)
        await send(closer, log, "close", CLOSE, latency=0)
        await reads
    assert [name for _, name in log] == ["first", "close", "read"]
    assert [at for at, _ in log] == pytest.approx([0, 10, 20], abs=0.05)


async def test_a_crashed_process_that_waited_for_closes_does_not_shut_reads_out() -> None:
    wire, log = Wire(), Log()
    async with (
        RedisLimiter(wire, limit=2, window=10.0, reserve=0) as crashed,
        RedisLimiter(Wire(wire.memory), limit=2, window=10.0, reserve=0) as limiter,
    ):
        await asyncio.gather(*(send(limiter, log, "first", latency=0) for _ in range(2)))
        await asyncio.sleep(9)
        doomed = asyncio.create_task(crashed.acquire(CLOSE))
        await settle()
        wire.cut = True
        await send(limiter, log, "read", READ)
        with pytest.raises(RequestNotSentError):
            await doomed
    assert log[-1][0] == pytest.approx(12.0, abs=0.1)


async def test_reads_leave_the_reserve_to_closes_of_any_process() -> None:
    wire, log = Wire(), Log()
    async with RedisLimiter(wire, limit=20) as reader, RedisLimiter(wire, limit=20) as closer:
        reads = [asyncio.create_task(send(reader, log, "read", READ)) for _ in range(30)]
        await asyncio.sleep(1)
        assert len(log) == 18
        await send(closer, log, "close", CLOSE)
        assert log[-1][1] == "close"
        for task in reads:
            task.cancel()


async def test_what_is_free_is_divided_among_the_processes_that_wait() -> None:
    wire, logs = Wire(latency=0.01), [Log(), Log()]
    one, two = (RedisLimiter(wire, limit=10, window=6.0) for _ in logs)
    async with one, two:
        pairs = ((one, logs[0]), (two, logs[1]))
        await asyncio.gather(*(send(a, log, "") for a, log in pairs for _ in range(40)))
    for log in logs:
        assert 12 <= sum(6 < at < 5 * 6.2 for at, _ in log) <= 28


async def test_slots_that_come_free_one_by_one_go_to_both_processes() -> None:
    wire, logs = Wire(latency=0.005), [Log(), Log()]
    one, two = (RedisLimiter(wire, limit=2, window=6.0) for _ in logs)
    async with one, two:
        for limiter in (one, two):
            await send(limiter, Log(), "", latency=1)
        pairs = ((one, logs[0]), (two, logs[1]))
        await asyncio.gather(*(send(a, log, "") for a, log in pairs for _ in range(8)))
    for log in logs:
        assert 3 <= sum(at < 5 * 6.2 for at, _ in log) <= 6


async def test_a_process_that_waits_for_an_endpoints_own_limit_is_in_nobodys_way() -> None:
    wire, log = Wire(), Log()
    lists = Bucket("list", limit=1, window=50.0, penalty=10.0)
    async with RedisLimiter(wire, 4, 10.0) as one, RedisLimiter(wire, 4, 10.0) as two:
        await one.release(await one.acquire(CLOSE, bucket=lists), sent=True)
        waiter = asyncio.create_task(one.acquire(CLOSE, bucket=lists))
        await settle()
        await asyncio.gather(*(send(two, log, "", READ, latency=0) for _ in range(11)))
        waiter.cancel()
    assert [at for at, _ in log] == pytest.approx([0] * 3 + [10] * 4 + [20] * 4, abs=0.01)


async def test_a_thousand_who_wait_make_no_more_calls_than_one() -> None:
    calls: list[int] = []
    for crowd in (1, 1000):
        wire = Wire()
        async with RedisLimiter(wire, limit=1) as limiter:
            await limiter.acquire(CLOSE)
            tasks = [asyncio.create_task(limiter.acquire(CLOSE)) for _ in range(crowd)]
            await asyncio.sleep(55)
            calls.append(len(wire.calls))
            for task in tasks:
                task.cancel()
            await settle()
    assert calls[0] == calls[1] <= 600


async def test_an_acquire_costs_one_round_trip_and_its_release_goes_with_the_next() -> None:
    wire = Wire()
    wire.knows_the_script = True
    async with RedisLimiter(wire) as limiter:
        for _ in range(50):
            await limiter.release(await limiter.acquire(CLOSE), sent=False)
    assert len(wire.calls) == 51


async def test_a_burst_costs_one_round_trip() -> None:
    wire = Wire()
    wire.knows_the_script = True
    async with RedisLimiter(wire) as limiter:
        await asyncio.gather(*(limiter.acquire(CLOSE) for _ in range(100)))
        assert len(wire.calls) == 1


# --- cancelling


@pytest.mark.parametrize("moment", [0.0, 0.3, 0.8])
async def test_who_is_cancelled_while_redis_is_asked_burns_no_slot(moment: float) -> None:
    wire = Wire()
    wire.latency = 1.0
    async with RedisLimiter(wire, limit=1) as limiter:
        doomed = asyncio.create_task(limiter.acquire(CLOSE))
        await asyncio.sleep(moment)
        doomed.cancel()
        await asyncio.wait({doomed})
        assert doomed.cancelled()
        await limiter.acquire(CLOSE)
        assert now() <= moment + 4


async def test_a_slot_granted_to_a_task_cancelled_in_the_same_moment_goes_to_the_next() -> None:
    wire = Wire()
    async with RedisLimiter(wire, limit=1) as limiter:
        permit = await limiter.acquire(CLOSE)
        doomed = asyncio.create_task(limiter.acquire(CLOSE))
        heir = asyncio.create_task(limiter.acquire(CLOSE))
        await settle()
        wire.on_answer = doomed.cancel
        await limiter.release(permit, sent=False)
        await heir
        assert now() == 0.0
        assert doomed.cancelled()


async def test_a_waiter_that_leaves_lets_the_reads_of_others_go_on() -> None:
    wire, log = Wire(), Log()
    async with (
        RedisLimiter(wire, limit=2, window=10.0, reserve=0) as closer,
        RedisLimiter(wire, limit=2, window=10.0, reserve=0) as reader,
    ):
        await asyncio.gather(*(send(reader, log, "first", latency=0) for _ in range(2)))
        await asyncio.sleep(9.5)
        close = asyncio.create_task(closer.acquire(CLOSE))
        await settle()
        close.cancel()
        await send(reader, log, "read", READ)
    assert log[-1][0] == pytest.approx(10.0, abs=0.2)


# --- blocks


async def test_nothing_leaves_any_process_before_a_block_is_over_and_then_all_that_may() -> None:
    wire, log = Wire(), Log()
    async with RedisLimiter(wire, limit=2) as one, RedisLimiter(wire, limit=2) as two:
        await one.block(300.0)
        assert one.blocked_for() == pytest.approx(300.0)
        await asyncio.gather(send(one, log, ""), send(two, log, ""), send(two, log, ""))
        assert one.blocked_for() == two.blocked_for() == 0.0
    assert [at for at, _ in log] == pytest.approx([300, 300, 360.1], abs=0.05)


async def test_a_block_of_one_process_is_known_to_another_that_waits() -> None:
    wire = Wire()
    async with RedisLimiter(wire, limit=1) as one, RedisLimiter(wire, limit=1) as two:
        await one.acquire(CLOSE)
        waiter = asyncio.create_task(two.acquire(CLOSE))
        await asyncio.sleep(0.5)
        await one.block(300.0)
        await asyncio.sleep(1)
        assert two.blocked_for() == pytest.approx(299.0, abs=0.01)
        waiter.cancel()


async def test_a_block_of_one_process_is_known_to_another_that_has_requests_under_way() -> None:
    wire = Wire()
    async with RedisLimiter(wire) as one, RedisLimiter(wire) as two:
        await two.acquire(CLOSE)
        await asyncio.sleep(0.5)
        await one.block(300.0)
        await asyncio.sleep(1)
        assert two.blocked_for() == pytest.approx(299.0, abs=0.01)


async def test_a_shorter_block_does_not_end_a_longer_one() -> None:
    wire = Wire()
    async with RedisLimiter(wire) as one, RedisLimiter(wire) as two:
        await one.block(300.0)
        await two.block(10.0)
        assert one.blocked_for() == two.blocked_for() == pytest.approx(300.0)


async def test_a_block_that_comes_while_a_call_is_under_way_is_told_with_the_next() -> None:
    wire = Wire(latency=1.0)
    async with RedisLimiter(wire) as limiter:
        acquired = asyncio.create_task(limiter.acquire(CLOSE))
        await asyncio.sleep(0.2)
        await limiter.block(100.0)
        assert now() == 2.0
        assert limiter.blocked_for() == pytest.approx(99.2)
        await acquired


# --- an endpoint's own limit


async def test_an_endpoints_own_limit_is_kept_by_all_together() -> None:
    wire, log = Wire(), Log()
    async with RedisLimiter(wire) as one, RedisLimiter(wire) as two:
        await asyncio.gather(*(send(one, log, "", READ, latency=0, bucket=LIST) for _ in range(2)))
        await asyncio.gather(*(send(two, log, "", READ, latency=0, bucket=LIST) for _ in range(3)))
    assert [at for at, _ in log] == pytest.approx([0, 0, 10, 10, 20], abs=0.05)


async def test_one_held_up_by_its_own_limit_does_not_hold_up_those_behind_it() -> None:
    log = Log()
    async with RedisLimiter(Wire()) as limiter:
        lists = [send(limiter, log, f"list {i}", READ, latency=0, bucket=LIST) for i in range(3)]
        await asyncio.gather(*lists, send(limiter, log, "get", READ, latency=0))
    assert [name for _, name in log] == ["list 0", "list 1", "get", "list 2"]


async def test_a_list_that_was_not_sent_frees_both_its_slots() -> None:
    wire = Wire()
    async with RedisLimiter(wire) as limiter:
        permit = await limiter.acquire(READ, bucket=LIST)
        assert wire.memory.held() == wire.memory.held("list") == 1
        await limiter.release(permit, sent=False)
        await settle()
        assert wire.memory.held() == wire.memory.held("list") == 0


# --- deadlines


async def test_what_cannot_be_sent_in_time_is_refused_at_once_and_told_when_it_could() -> None:
    async with RedisLimiter(Wire(), limit=1) as limiter:
        await limiter.release(await limiter.acquire(CLOSE), sent=True)
        with pytest.raises(RequestNotSentError, match=r"comes free in 60\.0 s") as refusal:
            await limiter.acquire(CLOSE, deadline=now() + 59.0)
        assert now() == 0.0
        assert refusal.value.available_in == pytest.approx(60.0)


async def test_a_deadline_is_not_refused_while_slots_of_others_may_still_come_back() -> None:
    wire = Wire()
    async with RedisLimiter(wire, limit=1) as one, RedisLimiter(wire, limit=1) as two:
        connecting = await two.acquire(CLOSE)
        close = asyncio.create_task(one.acquire(CLOSE, deadline=10.0))
        await asyncio.sleep(1)
        await two.release(connecting, sent=False)
        await close
        assert now() == 2.0  # when it asks again


async def test_a_deadline_is_not_refused_because_of_those_ahead_for_they_may_leave() -> None:
    async with RedisLimiter(Wire(), limit=1) as limiter:
        await outlast_a_crowd(limiter)
        assert now() == pytest.approx(60.0, abs=0.01)


async def test_who_is_refused_is_told_what_to_expect_with_those_ahead() -> None:
    wire = Wire()
    async with RedisLimiter(wire, limit=1) as one, RedisLimiter(wire, limit=1) as two:
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


async def test_of_a_crowd_nobody_waits_beyond_the_deadline() -> None:
    async with RedisLimiter(Wire(), limit=10) as limiter:
        asks = [asyncio.create_task(limiter.acquire(CLOSE, deadline=90.0)) for _ in range(25)]
        await asyncio.wait(asks)
        assert now() == 90.0
        assert sum(ask.exception() is not None for ask in asks) == 15


@pytest.mark.parametrize("deed", ["joins", "leaves"])
async def test_what_is_done_for_one_does_not_grow_with_those_who_wait(deed: str) -> None:
    async def calls(waiting: int) -> int:
        async with RedisLimiter(Wire(), limit=2) as limiter:
            crowd = [
                asyncio.create_task(limiter.acquire(CLOSE, deadline=1e6)) for _ in range(waiting)
            ]
            await asyncio.sleep(0.05)
            waiter = limiter.acquire(CLOSE, deadline=1e6)
            if deed == "leaves":
                waiter.send(None)

            def go_on() -> None:
                with suppress(asyncio.CancelledError):
                    if deed == "leaves":
                        waiter.throw(asyncio.CancelledError)
                    else:
                        waiter.send(None)

            made = effort(go_on)
            waiter.close()
            for task in crowd:
                task.cancel()
            return made

    assert await calls(1000) <= 1.5 * await calls(10)  # the heap of the timers is a little deeper


async def test_a_call_of_redis_does_not_grow_with_those_who_wait() -> None:
    async def calls(waiting: int) -> int:
        async with RedisLimiter(Wire(), limit=2) as limiter:
            crowd = [
                asyncio.create_task(limiter.acquire(CLOSE, deadline=1e6)) for _ in range(waiting)
            ]
            await asyncio.sleep(0.05)
            call = limiter._call()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            made = effort(lambda: call.send(None))
            call.close()
            for task in crowd:
                task.cancel()
            return made

    assert await calls(1000) <= 1.5 * await calls(10)


async def test_a_deadline_counts_the_reserve_for_reads_only() -> None:
    async with RedisLimiter(Wire(), limit=10) as limiter:
        for _ in range(9):
            await limiter.release(await limiter.acquire(READ), sent=True)
        with pytest.raises(RequestNotSentError):
            await limiter.acquire(READ, deadline=59.0)
        await limiter.acquire(CLOSE, deadline=59.0)


async def test_a_deadline_counts_a_block_and_the_endpoints_own_limit() -> None:
    async with RedisLimiter(Wire()) as limiter:
        for _ in range(2):
            await limiter.release(await limiter.acquire(READ, bucket=LIST), sent=True)
        with pytest.raises(RequestNotSentError) as refusal:
            await limiter.acquire(READ, bucket=LIST, deadline=9.0)
        assert refusal.value.available_in == pytest.approx(10.0)
        await limiter.block(300.0)
        with pytest.raises(RequestNotSentError) as refusal:
            await limiter.acquire(CLOSE, deadline=299.0)
        assert refusal.value.available_in == pytest.approx(300.0)


async def test_a_slot_that_does_not_come_in_time_after_all_is_refused_at_the_deadline() -> None:
    async with RedisLimiter(Wire(), limit=1, window=10.0) as limiter:
        for _ in range(2):
            await limiter.acquire(CLOSE) if not now() else None
            with pytest.raises(RequestNotSentError):
                await limiter.acquire(CLOSE, deadline=now() + 10.5)


async def test_a_deadline_is_kept_while_redis_is_silent() -> None:
    async with RedisLimiter(Wire(latency=1.0), limit=1) as limiter:
        with pytest.raises(RequestNotSentError):
            await limiter.acquire(CLOSE, deadline=0.3)
        assert now() == 0.3
        await limiter.acquire(CLOSE, deadline=5.0)


# --- life beyond one loop, and settings


def test_a_limiter_outlives_an_event_loop_and_tells_redis_on_the_next() -> None:
    wire = Wire(Memory(clock=lambda: 0.0))
    limiter = RedisLimiter(wire, limit=1)

    async def use() -> None:
        await limiter.release(await limiter.acquire(CLOSE, deadline=9.0), sent=False)

    for _ in range(3):
        in_virtual_time(use())
        assert wire.memory.held() == 1  # the loop ended before Redis was told
    in_virtual_time(limiter.aclose())
    assert wire.memory.held() == 0


async def test_after_it_was_closed_it_can_be_used_again() -> None:
    wire = Wire()
    limiter = RedisLimiter(wire, limit=1)
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
async def test_whoever_asks_while_it_is_closing_is_answered(turns: int) -> None:
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    limiter = RedisLimiter(Wire(), limit=1)
    await limiter.release(await limiter.acquire(CLOSE), sent=False)
    await settle()
    closing = asyncio.create_task(limiter.aclose())
    for _ in range(turns):
        await asyncio.sleep(0)
    asking = asyncio.create_task(limiter.acquire(CLOSE, deadline=now() + 5.0))
    await closing
    with suppress(RequestNotSentError):  # because it was closed; later it is used again
        await limiter.release(await asking, sent=False)
    await limiter.release(await limiter.acquire(CLOSE), sent=False)
    await limiter.aclose()
    assert now() == 0.0
    gc.collect()
    assert told == []


async def test_whoever_asks_while_its_connection_is_closing_has_one_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow(Wire):
        async def aclose(self) -> None:
            self.cut = True
            await asyncio.sleep(1)

    memory = Memory()

    def connect(_: str, **__: object) -> Slow:
        return Slow(memory)

    monkeypatch.setattr(Redis, "from_url", connect)
    limiter = RedisLimiter("redis://localhost", limit=2)
    await limiter.acquire(CLOSE)
    closing = asyncio.create_task(limiter.aclose())
    await asyncio.sleep(0.5)
    await limiter.acquire(CLOSE, deadline=now() + 5.0)
    await closing
    assert now() == 1.0
    assert memory.held() == 2
    await limiter.aclose()


async def test_a_log_filter_that_raises_leaves_nobody_waiting_when_redis_is_lost() -> None:
    def broken(_: object) -> bool:
        raise ValueError

    log = logging.getLogger("threecommas_async")
    log.addFilter(broken)
    wire = Wire()
    try:
        async with RedisLimiter(wire, limit=1) as limiter:
            wire.cut = True
            with pytest.raises(RequestNotSentError, match="does not answer"):
                await asyncio.wait_for(limiter.acquire(CLOSE), 9)
            wire.cut = False
            await asyncio.wait_for(limiter.acquire(CLOSE), 9)
    finally:
        log.removeFilter(broken)


async def test_it_closes_even_if_the_client_swallows_a_cancellation() -> None:
    wire = Wire()
    async with RedisLimiter(wire, limit=1) as limiter:
        await limiter.acquire(CLOSE)
        wire.swallows_cancel = True
        waiter = asyncio.create_task(limiter.acquire(CLOSE))
        await settle()
    with pytest.raises(RequestNotSentError):
        await waiter
    assert now() == 0.0


async def test_a_client_that_was_given_stays_open() -> None:
    wire = Wire()
    async with RedisLimiter(wire) as limiter:
        await limiter.acquire(CLOSE)
    assert not wire.closed


async def test_a_redis_that_does_not_know_the_script_is_told_it_once() -> None:
    wire = Wire()
    wire.knows_the_script = False
    async with RedisLimiter(wire) as limiter:
        await limiter.acquire(CLOSE)
        await limiter.acquire(CLOSE)
    assert wire.sent == ["EVALSHA", "EVAL", "EVALSHA"]


def test_its_text_tells_the_settings_and_no_password() -> None:
    limiter = RedisLimiter("redis://:hunter2@127.0.0.1:1", limit=50, window=6.0, key="main")
    assert "hunter2" not in repr(limiter)
    assert repr(limiter) == (
        "RedisLimiter(key='main', limit=50, window=6.0, penalty=300.0, reserve=5, lease=120.0, "
        "share=None, timeout=2.0)"
    )


def test_it_is_made_anew_in_each_process() -> None:
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
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        RedisLimiter("redis://127.0.0.1", **settings)


@pytest.mark.parametrize("url", ["http://:hunter2@127.0.0.1", "redis://:hunter2/@127.0.0.1"])
def test_a_url_that_cannot_be_understood_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        RedisLimiter(url)
    assert "hunter2" not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__context__ is None
