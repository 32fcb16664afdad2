"""What a process knows itself: the age of its permits, what it sent, the blocks it met."""

import asyncio
import gc
import runpy
import time
from collections.abc import Callable

import pytest

from tests.limiters import closed_in_mid_run
from tests.redis.memory import Memory, Wire
from threecommas_async import ConfigurationError, RequestNotSentError
from threecommas_async.endpoint import Bucket, Priority
from threecommas_async.redis import RedisLimiter, clock, limiter
from threecommas_async.redis import books as books_module

pytestmark = pytest.mark.looptime

CLOSE, READ = Priority.CLOSE, Priority.NORMAL
LIST = Bucket("list", limit=2, window=10.0, penalty=10.0)


def now() -> float:
    return round(asyncio.get_running_loop().time(), 3)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Uptime:
    """The clock of permits, in virtual time, and how much longer the process was stopped."""

    stopped = 0.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.stopped


@pytest.fixture
def uptime(monkeypatch: pytest.MonkeyPatch) -> Uptime:
    uptime = Uptime()
    for module in (limiter, books_module):
        monkeypatch.setattr(module, "uptime", uptime)
    return uptime


class Stepping(Memory):
    """A Redis whose clock steps."""

    def __init__(self) -> None:
        self.step = 0.0
        super().__init__(lambda: asyncio.get_running_loop().time() + self.step)


# --- the age of a permit


async def test_a_permit_that_its_process_slept_away_is_not_used(uptime: Uptime) -> None:
    wire = Wire()
    async with RedisLimiter(wire, limit=40, window=60.0, lease=120.0) as paused:
        permits = [await paused.acquire(CLOSE) for _ in range(40)]
        assert all(permit.usable() for permit in permits)
        uptime.stopped = 200.0
        wire.memory.forget()  # as they have expired
        assert not any(permit.usable() for permit in permits)
        await asyncio.sleep(100)  # its permits are told anew, for they might be under way
        assert not any(permit.usable() for permit in permits)
        for permit in permits:
            await paused.release(permit, sent=False)
        assert (await paused.acquire(CLOSE)).usable()


@pytest.mark.slow
async def test_a_permit_stays_usable_while_its_process_lives_and_reaches_redis(
    uptime: Uptime,
) -> None:
    wire = Wire()
    async with RedisLimiter(wire, lease=30.0) as limiter:
        permit = await limiter.acquire(CLOSE)
        await asyncio.sleep(300)  # ten times the lease
        assert permit.usable()
        wire.cut = True
        await asyncio.sleep(31)
        assert not permit.usable()


async def test_a_permit_that_was_under_way_from_redis_for_long_is_not_used(uptime: Uptime) -> None:
    wire = Wire()
    async with RedisLimiter(wire, lease=30.0) as limiter:
        wire.on_answer = lambda: setattr(uptime, "stopped", 500.0)
        assert not (await limiter.acquire(CLOSE)).usable()
        assert (await limiter.acquire(CLOSE)).usable()


def test_the_age_of_a_permit_counts_while_the_machine_sleeps(
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


# --- its own account


async def test_a_step_of_redis_clock_frees_nothing_of_what_a_process_sent_itself() -> None:
    memory, times = Stepping(), list[float]()
    async with RedisLimiter(Wire(memory), limit=3, window=60.0, reserve=0) as limiter:
        for _ in range(3):
            await limiter.release(await limiter.acquire(CLOSE), sent=True)
        await asyncio.sleep(10)
        memory.step = 3600.0
        for _ in range(3):
            permit = await limiter.acquire(CLOSE)
            times.append(now())
            await limiter.release(permit, sent=True)
    assert times == pytest.approx([60.0, 60.0, 60.0], abs=0.01)


async def test_a_step_of_redis_clock_frees_nothing_of_an_endpoints_own_limit() -> None:
    memory = Stepping()
    async with RedisLimiter(Wire(memory)) as limiter:
        for _ in range(2):
            await limiter.release(await limiter.acquire(READ, bucket=LIST), sent=True)
        await asyncio.sleep(1)
        memory.step = 3600.0
        with pytest.raises(RequestNotSentError) as refusal:
            await limiter.acquire(READ, bucket=LIST, deadline=9.0)
        assert now() == 1.0
        assert refusal.value.available_in == pytest.approx(9.0)
        await limiter.acquire(READ, bucket=LIST)
        assert now() == pytest.approx(10.0, abs=0.01)


async def test_a_step_of_redis_clock_lifts_no_block_that_a_process_met_itself() -> None:
    memory = Stepping()
    async with (
        RedisLimiter(Wire(memory)) as limiter,
        RedisLimiter(Wire(memory)) as other,
    ):
        await limiter.block(300.0)
        await asyncio.sleep(10)
        memory.step = 3600.0
        with pytest.raises(RequestNotSentError):
            await limiter.acquire(CLOSE, deadline=299.0)
        assert limiter.blocked_for() == pytest.approx(290.0)
        with pytest.raises(RequestNotSentError):  # and Redis knows of it again
            await other.acquire(CLOSE, deadline=299.0)
        await limiter.acquire(CLOSE)
        assert now() == pytest.approx(300.0, abs=0.01)


async def test_a_request_without_an_answer_holds_its_slot_longer_in_all_processes() -> None:
    wire = Wire()
    async with RedisLimiter(wire, limit=1) as one, RedisLimiter(wire, limit=1) as two:
        await one.release(await one.acquire(CLOSE), sent=True, late=30.0)
        await two.acquire(CLOSE)
        assert now() == pytest.approx(90.0, abs=0.05)


# --- a block that another process has met


async def test_a_process_that_has_permits_knows_within_a_tenth_of_a_second_of_a_block() -> None:
    wire = Wire()
    async with RedisLimiter(wire) as one, RedisLimiter(wire) as two:
        await two.acquire(CLOSE)
        await asyncio.sleep(0.55)
        await one.block(300.0)
        await asyncio.sleep(0.1)
        assert two.blocked_for() > 299


# --- one process and one event loop at a time


async def test_a_limiter_that_was_used_before_a_fork_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limiter = RedisLimiter(Wire())
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
def test_it_goes_on_after_an_event_loop_was_closed_in_mid_run(on_lost: str) -> None:
    wire = Wire(Memory(time.monotonic))
    wire.cut = on_lost == "share"
    limiter = RedisLimiter(
        wire,
        limit=2,
        window=0.3,
        lease=0.3,
        on_lost="share" if wire.cut else "raise",
        share=0.5 if wire.cut else None,
    )

    async def go_on() -> None:
        async with asyncio.timeout(5):
            permit = await limiter.acquire(CLOSE)
        gone.clear()
        gc.collect()  # what is left over of the loop before comes to its end
        await limiter.release(permit, sent=False)
        await limiter.aclose()

    gone = closed_in_mid_run(limiter, calls=4, after=0.05, sent=True)
    wire.cut = False
    asyncio.run(go_on())
