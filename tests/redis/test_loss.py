"""Redis lost, found again, and found to have forgotten: in virtual time, on books in memory."""

import asyncio
import logging
import time

import pytest

from tests.redis.memory import Memory, Wire
from tests.support import in_virtual_time
from threecommas_async import RequestNotSentError
from threecommas_async.endpoint import Bucket, Priority
from threecommas_async.rate_limit.limiter import Permit
from threecommas_async.redis import RedisLimiter

pytestmark = pytest.mark.looptime

CLOSE, READ = Priority.CLOSE, Priority.NORMAL
LIST = Bucket("list", limit=4, window=10.0, penalty=10.0)


def now() -> float:
    return round(asyncio.get_running_loop().time(), 3)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def sharing(wire: Wire, share: float = 0.5, limit: int = 4) -> RedisLimiter:
    return RedisLimiter(wire, limit, reserve=0, on_lost="share", share=share)


async def slots_at_once(limiter: RedisLimiter, priority: Priority = CLOSE) -> list[Permit]:
    """Take all that can be had now."""
    asks = [asyncio.create_task(limiter.acquire(priority)) for _ in range(50)]
    await settle()
    for ask in asks:
        ask.cancel()
    await settle()
    return [ask.result() for ask in asks if not ask.cancelled()]


# --- an error, unless set otherwise


async def test_without_redis_every_call_is_refused_with_words_and_may_be_repeated() -> None:
    wire = Wire()
    wire.cut = True
    async with RedisLimiter(wire) as limiter:
        with pytest.raises(RequestNotSentError, match=r"Redis .* \(ConnectionError: the line") as e:
            await limiter.acquire(CLOSE)
        assert e.value.available_in is None  # nobody knows, so it is worth another attempt
        assert e.value.__cause__ is e.value.__context__ is None
        assert not e.value.may_have_taken_effect
        wire.cut = False
        await limiter.acquire(CLOSE)


async def test_a_redis_that_does_not_answer_is_lost_after_the_timeout() -> None:
    wire = Wire(latency=1e6)
    async with RedisLimiter(wire, timeout=1.5) as limiter:
        with pytest.raises(RequestNotSentError, match="TimeoutError"):
            await limiter.acquire(CLOSE)
        assert now() == 1.5


async def test_all_who_wait_are_told_when_redis_is_lost() -> None:
    wire = Wire()
    async with RedisLimiter(wire, limit=1) as limiter:
        await limiter.acquire(CLOSE)
        asks = [asyncio.create_task(limiter.acquire(CLOSE)) for _ in range(5)]
        await asyncio.sleep(5.5)
        wire.cut = True
        await asyncio.wait(asks)
        assert now() <= 6.0
        assert all(isinstance(ask.exception(), RequestNotSentError) for ask in asks)


async def test_an_answer_of_the_server_is_not_lost_with_redis() -> None:
    wire = Wire()
    async with RedisLimiter(wire, limit=1) as limiter:
        permit = await limiter.acquire(CLOSE)
        wire.cut = True
        await limiter.release(permit, sent=True)
        await limiter.block(10.0)
        assert limiter.blocked_for() == pytest.approx(10.0)


@pytest.mark.parametrize("share", [None, 0.5])
async def test_who_is_cancelled_as_redis_is_lost_is_cancelled(share: float | None) -> None:
    wire = Wire()
    wire.cut = True
    async with RedisLimiter(wire, on_lost="share" if share else "raise", share=share) as limiter:
        doomed = asyncio.create_task(limiter.acquire(CLOSE))
        wire.on_answer = doomed.cancel
        await asyncio.wait({doomed})
        assert doomed.cancelled()


async def test_what_redis_was_not_told_is_told_when_it_answers_again() -> None:
    wire = Wire()
    async with RedisLimiter(wire, limit=1) as limiter:
        permit = await limiter.acquire(CLOSE)
        wire.cut = True
        await limiter.release(permit, sent=True)
        await limiter.block(100.0)
        await asyncio.sleep(20)
        wire.cut = False
        async with RedisLimiter(Wire(wire.memory), limit=1) as other:
            await asyncio.sleep(2)
            with pytest.raises(RequestNotSentError):
                await other.acquire(CLOSE, deadline=now() + 1)
            assert other.blocked_for() == pytest.approx(78.0, abs=0.1)
            await other.acquire(CLOSE)
            assert now() == pytest.approx(100.0, abs=0.1)


async def test_slots_granted_by_an_answer_that_got_lost_are_given_back() -> None:
    wire = Wire()
    async with RedisLimiter(wire, limit=5) as limiter:
        wire.loses_answers = True
        asks = [asyncio.create_task(limiter.acquire(CLOSE)) for _ in range(5)]
        await asyncio.wait(asks)
        assert wire.memory.held() == 5
        wire.loses_answers = False
        assert len(await slots_at_once(limiter)) == 5


async def test_a_call_that_is_repeated_by_the_client_grants_the_same_slots_again() -> None:
    wire, memory = Wire(), Memory()
    async with RedisLimiter(wire, limit=5) as limiter:
        await limiter.acquire(CLOSE)
    keys = [f"again:{name}" for name in ("state", "waiting", "general")]
    again = [memory.run(keys, wire.calls[0]) for _ in range(2)]
    assert '"granted": [1]' in again[0]
    assert '"granted": [1]' in again[1]
    assert memory.held() == 1


async def test_an_outage_of_hours_leaves_no_endless_list_behind() -> None:
    wire = Wire()
    wire.cut = True
    async with RedisLimiter(wire, limit=300) as limiter:
        for _ in range(10):
            asks = [asyncio.create_task(limiter.acquire(CLOSE)) for _ in range(300)]
            await asyncio.wait(asks)
        assert len(wire.calls[-1]["permits"]) <= 1000


async def test_a_lost_redis_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire()
    wire.cut = True
    with caplog.at_level(logging.WARNING, "threecommas_async"):
        async with RedisLimiter(wire) as limiter:
            for _ in range(3):
                with pytest.raises(RequestNotSentError):
                    await limiter.acquire(CLOSE)
            wire.cut = False
            await limiter.acquire(CLOSE)
    assert [record.message for record in caplog.records] == [
        "Redis does not answer: ConnectionError: the line is cut",
        "Redis answers again",
    ]


# --- or this process's share


async def test_without_redis_a_process_keeps_to_its_share_after_one_window_of_silence() -> None:
    wire = Wire()
    async with sharing(wire, share=0.5, limit=4) as limiter:
        await limiter.release(await limiter.acquire(CLOSE), sent=True)
        wire.cut = True
        taken: list[float] = []
        for _ in range(5):
            permit = await limiter.acquire(CLOSE)
            taken.append(now())
            await limiter.release(permit, sent=True)
        assert taken == [60, 60, 120, 120, 180]


async def test_when_redis_answers_again_all_are_silent_for_one_window() -> None:
    wire = Wire()
    async with sharing(wire) as limiter, RedisLimiter(Wire(wire.memory), limit=4) as other:
        wire.cut = True
        await limiter.release(await limiter.acquire(CLOSE), sent=True)
        assert now() == 60.0
        await asyncio.sleep(4.5)
        wire.cut = False
        await asyncio.sleep(1.5)
        await limiter.acquire(CLOSE)
        assert now() == 125.0
        await other.acquire(CLOSE)
        assert now() == 125.0


async def test_an_outage_in_which_nothing_was_sent_costs_no_silence() -> None:
    wire = Wire()
    async with sharing(wire) as limiter:
        wire.cut = True
        waiter = asyncio.create_task(limiter.acquire(CLOSE))
        await asyncio.sleep(3.5)
        wire.cut = False
        await waiter
        assert now() == 4.0


async def test_what_is_under_way_when_redis_answers_again_is_entered_in_the_books() -> None:
    wire = Wire()
    async with sharing(wire, share=1.0, limit=4) as limiter:
        before = await limiter.acquire(CLOSE)
        wire.cut = True
        alone, unsent = await limiter.acquire(CLOSE), await limiter.acquire(CLOSE)
        wire.memory.forget()
        wire.cut = False
        await asyncio.sleep(2)
        assert wire.memory.held() == 3
        await limiter.release(unsent, sent=False)
        await settle()
        assert wire.memory.held() == 2
        await limiter.release(alone, sent=True)
        await limiter.release(before, sent=True)
        await settle()
        assert wire.memory.held() == 2


async def test_what_ended_without_redis_is_no_business_of_its() -> None:
    wire = Wire()
    async with sharing(wire) as limiter:
        wire.cut = True
        await limiter.release(await limiter.acquire(CLOSE), sent=False)
        await limiter.release(await limiter.acquire(CLOSE), sent=True)
        wire.cut = False
        await asyncio.sleep(2)
        assert wire.memory.held() == 0


async def test_the_share_has_its_reserve_and_its_part_of_an_endpoints_limit() -> None:
    wire = Wire()
    wire.cut = True
    async with RedisLimiter(wire, 40, on_lost="share", share=0.5, reserve=10) as limiter:
        await limiter.acquire(CLOSE)
        lists = [asyncio.create_task(limiter.acquire(READ, bucket=LIST)) for _ in range(4)]
        await settle()
        assert sum(ask.done() for ask in lists) == 2
        for ask in lists:
            ask.cancel()
        assert len(await slots_at_once(limiter, READ)) == 20 - 1 - 2 - 5
        assert len(await slots_at_once(limiter)) == 5


async def test_a_block_is_kept_without_redis() -> None:
    wire = Wire()
    async with sharing(wire) as limiter:
        await limiter.block(200.0)
        wire.cut = True
        await limiter.acquire(CLOSE)
        assert now() == 200.0
        await limiter.block(50.0)
        await limiter.acquire(CLOSE)
        assert now() == 250.0


async def test_a_deadline_within_the_silence_is_refused_and_worth_another_attempt() -> None:
    wire = Wire()
    wire.cut = True
    async with sharing(wire) as limiter:
        with pytest.raises(RequestNotSentError, match="share") as refusal:
            await limiter.acquire(CLOSE, deadline=30.0)
        assert now() == 0.0
        assert refusal.value.available_in is None
        wire.cut = False
        await asyncio.sleep(1)
        await limiter.acquire(CLOSE, deadline=30.0)


async def test_who_is_cancelled_without_redis_burns_no_slot_of_the_share() -> None:
    wire = Wire()
    wire.cut = True
    async with sharing(wire, share=0.25, limit=4) as limiter:
        doomed = asyncio.create_task(limiter.acquire(CLOSE))
        heir = asyncio.create_task(limiter.acquire(CLOSE))
        await asyncio.sleep(1)
        doomed.cancel()
        await heir
        assert now() == 60.0


async def test_a_slot_of_the_share_that_came_as_its_task_was_cancelled_goes_back() -> None:
    wire = Wire()
    wire.cut = True
    async with sharing(wire, share=0.25, limit=4) as limiter:
        permit = await limiter.acquire(CLOSE)
        doomed = asyncio.create_task(limiter.acquire(CLOSE))
        await asyncio.sleep(1)
        await limiter.release(permit, sent=False)  # which gives it to `doomed`
        for _ in range(2):
            await asyncio.sleep(0)
        doomed.cancel()
        await settle()
        assert doomed.cancelled()
        assert len(await slots_at_once(limiter)) == 1


async def test_a_slot_of_the_share_is_not_used_once_redis_answers() -> None:
    for steps in range(6):
        wire = Wire()
        wire.cut = True
        async with sharing(wire, share=0.25, limit=4) as limiter:
            permit = await limiter.acquire(CLOSE)
            waiter = asyncio.create_task(limiter.acquire(CLOSE))
            await asyncio.sleep(0.7)
            wire.cut = False
            wire.on_answer = lambda: None
            await asyncio.sleep(0.3)  # Redis is being asked in this moment
            for _ in range(steps):
                await asyncio.sleep(0)
            await limiter.release(permit, sent=False)
            await settle()
            waiter.cancel()
            await settle()
            assert wire.memory.held() <= 1


def test_on_another_event_loop_redis_is_asked_anew() -> None:
    wire = Wire(Memory(time.monotonic))
    limiter = sharing(wire)
    wire.cut = True

    async def use() -> None:
        await limiter.release(await limiter.acquire(CLOSE), sent=True)

    in_virtual_time(use())
    wire.cut = False

    async def use_again() -> None:
        await asyncio.wait_for(limiter.acquire(CLOSE), timeout=1)

    with pytest.raises(TimeoutError):  # for it has used its share
        in_virtual_time(use_again())


# --- a Redis that has forgotten


async def test_a_redis_that_has_forgotten_is_noticed_and_all_are_silent_for_one_window() -> None:
    wire = Wire()
    async with (
        RedisLimiter(wire, limit=5) as limiter,
        RedisLimiter(Wire(wire.memory), limit=5) as newcomer,
    ):
        for _ in range(5):
            await limiter.release(await limiter.acquire(CLOSE), sent=True)
        await asyncio.sleep(10)
        wire.memory.forget()
        await limiter.acquire(CLOSE)
        assert now() == pytest.approx(70.0, abs=0.1)
        assert len(await slots_at_once(newcomer)) == 4


async def test_who_comes_back_later_does_not_prolong_the_silence() -> None:
    wire = Wire()
    async with (
        RedisLimiter(wire, limit=5) as one,
        RedisLimiter(Wire(wire.memory), limit=5) as two,
    ):
        await one.acquire(CLOSE)
        await two.acquire(CLOSE)
        await asyncio.sleep(1)
        wire.memory.forget()
        await one.acquire(CLOSE)
        assert now() == pytest.approx(61.0, abs=0.1)
        await two.acquire(CLOSE)
        assert now() == pytest.approx(61.0, abs=0.1)


async def test_what_is_under_way_and_blocked_is_told_again_to_a_redis_that_has_forgotten() -> None:
    wire = Wire()
    async with RedisLimiter(wire, limit=5) as limiter:
        await limiter.acquire(CLOSE)
        await limiter.block(500.0)
        await asyncio.sleep(1)
        wire.memory.forget()
        waiter = asyncio.create_task(limiter.acquire(CLOSE))
        await settle()
        assert wire.memory.held() == 1
        async with RedisLimiter(Wire(wire.memory), limit=5) as newcomer:
            with pytest.raises(RequestNotSentError):
                await newcomer.acquire(CLOSE, deadline=499.0)
        waiter.cancel()


async def test_books_that_ended_for_want_of_use_are_not_taken_for_forgotten() -> None:
    wire = Wire()
    async with RedisLimiter(wire) as limiter:
        await limiter.release(await limiter.acquire(CLOSE), sent=True)
        await asyncio.sleep(3600)
        wire.memory.forget()
        await limiter.acquire(CLOSE)
        assert now() == 3600.0
