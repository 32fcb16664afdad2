"""The local limits of a process: the age of its permits, what it sent, the blocks it met."""

import asyncio
import gc
import runpy
import time
from collections.abc import Callable

import pytest

from tests.limiters import close_loop_with_pending_calls
from tests.redis.fake import FakeConnection, FakeRedis
from threecommas_async import ConfigurationError, RequestNotSentError
from threecommas_async.endpoint import Bucket, Priority
from threecommas_async.redis import RedisLimiter, clock, limiter
from threecommas_async.redis import store as store_module

pytestmark = pytest.mark.looptime

CLOSE, READ = Priority.CLOSE, Priority.NORMAL
LIST = Bucket("list", limit=2, window=10.0, penalty=10.0)


def now() -> float:
    return round(asyncio.get_running_loop().time(), 3)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Uptime:
    """The clock of permits in virtual time; `stopped` seconds are added to it."""

    stopped = 0.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.stopped


@pytest.fixture
def uptime(monkeypatch: pytest.MonkeyPatch) -> Uptime:
    uptime = Uptime()
    for module in (limiter, store_module):
        monkeypatch.setattr(module, "uptime", uptime)
    return uptime


class SteppingRedis(FakeRedis):
    """A Redis whose clock can be set forward by `step` seconds."""

    def __init__(self) -> None:
        self.step = 0.0
        super().__init__(lambda: asyncio.get_running_loop().time() + self.step)


# --- the age of a permit


async def test_a_permit_that_expired_while_its_process_stopped_is_not_usable(
    uptime: Uptime,
) -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection, limit=40, window=60.0, lease=120.0) as paused:
        permits = [await paused.acquire(CLOSE) for _ in range(40)]
        assert all(permit.usable() for permit in permits)
        uptime.stopped = 200.0
        connection.server.flush()  # they would have expired
        assert not any(permit.usable() for permit in permits)
        await asyncio.sleep(100)  # renewed meanwhile, as their requests may be in flight
        assert not any(permit.usable() for permit in permits)
        for permit in permits:
            await paused.release(permit, sent=False)
        assert (await paused.acquire(CLOSE)).usable()


@pytest.mark.slow
async def test_a_permit_stays_usable_while_its_process_lives_and_reaches_redis(
    uptime: Uptime,
) -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection, lease=30.0) as limiter:
        permit = await limiter.acquire(CLOSE)
        await asyncio.sleep(300)  # ten times the lease
        assert permit.usable()
        connection.disconnected = True
        await asyncio.sleep(31)
        assert not permit.usable()


async def test_a_permit_whose_reply_took_too_long_is_not_usable(uptime: Uptime) -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection, lease=30.0) as limiter:
        connection.on_reply = lambda: setattr(uptime, "stopped", 500.0)
        assert not (await limiter.acquire(CLOSE)).usable()
        assert (await limiter.acquire(CLOSE)).usable()


def test_the_clock_of_permits_runs_while_the_machine_sleeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert clock.uptime() <= clock.uptime()
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    uptime: Callable[[], float] = runpy.run_path(clock.__file__)["uptime"]
    before, time_of_day = uptime(), time.time
    monkeypatch.setattr(time, "time", lambda: time_of_day() + 500)
    assert uptime() - before >= 499
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert uptime() <= time.monotonic()


# --- the local windows


async def test_a_step_of_the_redis_clock_frees_no_slot_that_the_process_took_itself() -> None:
    server, times = SteppingRedis(), list[float]()
    async with RedisLimiter(FakeConnection(server), limit=3, window=60.0, reserve=0) as limiter:
        for _ in range(3):
            await limiter.release(await limiter.acquire(CLOSE), sent=True)
        await asyncio.sleep(10)
        server.step = 3600.0
        for _ in range(3):
            permit = await limiter.acquire(CLOSE)
            times.append(now())
            await limiter.release(permit, sent=True)
    assert times == pytest.approx([60.0, 60.0, 60.0], abs=0.01)


async def test_a_step_of_the_redis_clock_frees_no_slot_of_an_endpoint_limit() -> None:
    server = SteppingRedis()
    async with RedisLimiter(FakeConnection(server)) as limiter:
        for _ in range(2):
            await limiter.release(await limiter.acquire(READ, bucket=LIST), sent=True)
        await asyncio.sleep(1)
        server.step = 3600.0
        with pytest.raises(RequestNotSentError) as refusal:
            await limiter.acquire(READ, bucket=LIST, deadline=9.0)
        assert now() == 1.0
        assert refusal.value.available_in == pytest.approx(9.0)
        await limiter.acquire(READ, bucket=LIST)
        assert now() == pytest.approx(10.0, abs=0.01)


async def test_a_step_of_the_redis_clock_lifts_no_block_that_the_process_met_itself() -> None:
    server = SteppingRedis()
    async with (
        RedisLimiter(FakeConnection(server)) as limiter,
        RedisLimiter(FakeConnection(server)) as other,
    ):
        await limiter.block(300.0)
        await asyncio.sleep(10)
        server.step = 3600.0
        with pytest.raises(RequestNotSentError):
            await limiter.acquire(CLOSE, deadline=299.0)
        assert limiter.blocked_for() == pytest.approx(290.0)
        with pytest.raises(RequestNotSentError):  # Redis has learned of it again
            await other.acquire(CLOSE, deadline=299.0)
        await limiter.acquire(CLOSE)
        assert now() == pytest.approx(300.0, abs=0.01)


async def test_a_request_without_a_response_holds_its_slot_longer_for_all_processes() -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection, limit=1) as one, RedisLimiter(connection, limit=1) as two:
        await one.release(await one.acquire(CLOSE), sent=True, late=30.0)
        await two.acquire(CLOSE)
        assert now() == pytest.approx(90.0, abs=0.05)


# --- a block that another process has met


async def test_a_process_with_permits_learns_of_a_block_within_a_tenth_of_a_second() -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection) as one, RedisLimiter(connection) as two:
        await two.acquire(CLOSE)
        await asyncio.sleep(0.55)
        await one.block(300.0)
        await asyncio.sleep(0.1)
        assert two.blocked_for() > 299


# --- one process and one event loop at a time


async def test_a_limiter_made_before_a_fork_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limiter = RedisLimiter(FakeConnection())
    await limiter.acquire(CLOSE)
    with monkeypatch.context() as patch:
        patch.setattr("os.getpid", lambda: -1)
        error = await asyncio.to_thread(_error_of, limiter)
        assert "after the fork, in each process" in error
    assert "one per event loop" in await asyncio.to_thread(_error_of, limiter)
    await limiter.aclose()


def _error_of(limiter: RedisLimiter) -> str:
    with pytest.raises(ConfigurationError) as refusal:
        asyncio.run(limiter.acquire(CLOSE))
    return str(refusal.value)


@pytest.mark.parametrize("on_lost", ["raise", "share"])
def test_a_limiter_works_again_after_an_event_loop_was_closed_mid_run(on_lost: str) -> None:
    connection = FakeConnection(FakeRedis(time.monotonic))
    connection.disconnected = on_lost == "share"
    limiter = RedisLimiter(
        connection,
        limit=2,
        window=0.3,
        lease=0.3,
        on_lost="share" if connection.disconnected else "raise",
        share=0.5 if connection.disconnected else None,
    )

    async def use_again() -> None:
        async with asyncio.timeout(5):
            permit = await limiter.acquire(CLOSE)
        unfinished.clear()
        gc.collect()  # ends the tasks of the closed loop
        await limiter.release(permit, sent=False)
        await limiter.aclose()

    unfinished = close_loop_with_pending_calls(limiter, calls=4, after=0.05, sent=True)
    connection.disconnected = False
    asyncio.run(use_again())
