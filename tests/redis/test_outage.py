"""Outages and data loss of Redis, in virtual time, on a fake Redis."""

import asyncio
import logging
import time

import pytest

from tests.redis.fake import FakeConnection, FakeRedis
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


def sharing(connection: FakeConnection, share: float = 0.5, limit: int = 4) -> RedisLimiter:
    return RedisLimiter(connection, limit, reserve=0, on_lost="share", share=share)


async def slots_at_once(limiter: RedisLimiter, priority: Priority = CLOSE) -> list[Permit]:
    """Take all slots that are free now."""
    asks = [asyncio.create_task(limiter.acquire(priority)) for _ in range(50)]
    await settle()
    for ask in asks:
        ask.cancel()
    await settle()
    return [ask.result() for ask in asks if not ask.cancelled()]


# --- on_lost="raise"


async def test_without_redis_an_acquire_fails_with_the_reason_and_can_be_repeated() -> None:
    connection = FakeConnection()
    connection.disconnected = True
    async with RedisLimiter(connection) as limiter:
        with pytest.raises(RequestNotSentError, match=r"Redis .* \(ConnectionError: conn") as e:
            await limiter.acquire(CLOSE)
        assert e.value.available_in is None  # unknown, so a retry makes sense
        assert e.value.__cause__ is e.value.__context__ is None
        assert not e.value.may_have_taken_effect
        connection.disconnected = False
        await limiter.acquire(CLOSE)


async def test_a_redis_that_does_not_answer_counts_as_lost_after_the_timeout() -> None:
    connection = FakeConnection(latency=1e6)
    async with RedisLimiter(connection, timeout=1.5) as limiter:
        with pytest.raises(RequestNotSentError, match="TimeoutError"):
            await limiter.acquire(CLOSE)
        assert now() == 1.5


async def test_all_waiters_fail_when_redis_is_lost() -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection, limit=1) as limiter:
        await limiter.acquire(CLOSE)
        asks = [asyncio.create_task(limiter.acquire(CLOSE)) for _ in range(5)]
        await asyncio.sleep(5.5)
        connection.disconnected = True
        await asyncio.wait(asks)
        assert now() <= 6.0
        assert all(isinstance(ask.exception(), RequestNotSentError) for ask in asks)


async def test_release_and_block_work_while_redis_is_lost() -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection, limit=1) as limiter:
        permit = await limiter.acquire(CLOSE)
        connection.disconnected = True
        await limiter.release(permit, sent=True)
        await limiter.block(10.0)
        assert limiter.blocked_for() == pytest.approx(10.0)


@pytest.mark.parametrize("share", [None, 0.5])
async def test_a_task_cancelled_as_redis_is_lost_is_cancelled(share: float | None) -> None:
    connection = FakeConnection()
    connection.disconnected = True
    async with RedisLimiter(
        connection, on_lost="share" if share else "raise", share=share
    ) as limiter:
        abandoned = asyncio.create_task(limiter.acquire(CLOSE))
        connection.on_reply = abandoned.cancel
        await asyncio.wait({abandoned})
        assert abandoned.cancelled()


async def test_updates_made_during_an_outage_are_sent_after_it() -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection, limit=1) as limiter:
        permit = await limiter.acquire(CLOSE)
        connection.disconnected = True
        await limiter.release(permit, sent=True)
        await limiter.block(100.0)
        await asyncio.sleep(20)
        connection.disconnected = False
        async with RedisLimiter(FakeConnection(connection.server), limit=1) as other:
            await asyncio.sleep(2)
            with pytest.raises(RequestNotSentError):
                await other.acquire(CLOSE, deadline=now() + 1)
            assert other.blocked_for() == pytest.approx(78.0, abs=0.1)
            await other.acquire(CLOSE)
            assert now() == pytest.approx(100.0, abs=0.1)


async def test_slots_granted_by_a_lost_reply_are_returned() -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection, limit=5) as limiter:
        connection.loses_replies = True
        asks = [asyncio.create_task(limiter.acquire(CLOSE)) for _ in range(5)]
        await asyncio.wait(asks)
        assert connection.server.held() == 5
        connection.loses_replies = False
        assert len(await slots_at_once(limiter)) == 5


async def test_a_repeated_call_grants_the_same_permits_again() -> None:
    connection, server = FakeConnection(), FakeRedis()
    async with RedisLimiter(connection, limit=5) as limiter:
        await limiter.acquire(CLOSE)
    keys = [f"again:{name}" for name in ("state", "waiting", "general")]
    again = [server.run(keys, connection.messages[0]) for _ in range(2)]
    assert '"granted": [1]' in again[0]
    assert '"granted": [1]' in again[1]
    assert server.held() == 1


async def test_a_long_outage_does_not_pile_up_updates() -> None:
    connection = FakeConnection()
    connection.disconnected = True
    async with RedisLimiter(connection, limit=300) as limiter:
        for _ in range(10):
            asks = [asyncio.create_task(limiter.acquire(CLOSE)) for _ in range(300)]
            await asyncio.wait(asks)
        assert len(connection.messages[-1]["permits"]) <= 1000


async def test_an_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    connection = FakeConnection()
    connection.disconnected = True
    with caplog.at_level(logging.WARNING, "threecommas_async"):
        async with RedisLimiter(connection) as limiter:
            for _ in range(3):
                with pytest.raises(RequestNotSentError):
                    await limiter.acquire(CLOSE)
            connection.disconnected = False
            await limiter.acquire(CLOSE)
    assert [record.message for record in caplog.records] == [
        "Redis does not answer: ConnectionError: connection refused",
        "Redis answers again",
    ]


# --- on_lost="share"


async def test_during_an_outage_a_process_uses_its_share_after_one_silent_window() -> None:
    connection = FakeConnection()
    async with sharing(connection, share=0.5, limit=4) as limiter:
        await limiter.release(await limiter.acquire(CLOSE), sent=True)
        connection.disconnected = True
        taken: list[float] = []
        for _ in range(5):
            permit = await limiter.acquire(CLOSE)
            taken.append(now())
            await limiter.release(permit, sent=True)
        assert taken == [60, 60, 120, 120, 180]


async def test_after_an_outage_all_processes_are_silent_for_one_window() -> None:
    connection = FakeConnection()
    async with (
        sharing(connection) as limiter,
        RedisLimiter(FakeConnection(connection.server), limit=4) as other,
    ):
        connection.disconnected = True
        await limiter.release(await limiter.acquire(CLOSE), sent=True)
        assert now() == 60.0
        await asyncio.sleep(4.5)
        connection.disconnected = False
        await asyncio.sleep(1.5)
        await limiter.acquire(CLOSE)
        assert now() == 125.0
        await other.acquire(CLOSE)
        assert now() == 125.0


async def test_an_outage_in_which_nothing_was_sent_costs_no_silence() -> None:
    connection = FakeConnection()
    async with sharing(connection) as limiter:
        connection.disconnected = True
        waiter = asyncio.create_task(limiter.acquire(CLOSE))
        await asyncio.sleep(3.5)
        connection.disconnected = False
        await waiter
        assert now() == 4.0


async def test_requests_in_flight_after_an_outage_are_registered_in_redis() -> None:
    connection = FakeConnection()
    async with sharing(connection, share=1.0, limit=4) as limiter:
        before = await limiter.acquire(CLOSE)
        connection.disconnected = True
        sent, unsent = await limiter.acquire(CLOSE), await limiter.acquire(CLOSE)
        connection.server.flush()
        connection.disconnected = False
        await asyncio.sleep(2)
        assert connection.server.held() == 3
        await limiter.release(unsent, sent=False)
        await settle()
        assert connection.server.held() == 2
        await limiter.release(sent, sent=True)
        await limiter.release(before, sent=True)
        await settle()
        assert connection.server.held() == 2


async def test_requests_that_ended_during_an_outage_are_not_registered() -> None:
    connection = FakeConnection()
    async with sharing(connection) as limiter:
        connection.disconnected = True
        await limiter.release(await limiter.acquire(CLOSE), sent=False)
        await limiter.release(await limiter.acquire(CLOSE), sent=True)
        connection.disconnected = False
        await asyncio.sleep(2)
        assert connection.server.held() == 0


async def test_the_share_applies_to_the_reserve_and_to_endpoint_limits() -> None:
    connection = FakeConnection()
    connection.disconnected = True
    async with RedisLimiter(connection, 40, on_lost="share", share=0.5, reserve=10) as limiter:
        await limiter.acquire(CLOSE)
        lists = [asyncio.create_task(limiter.acquire(READ, bucket=LIST)) for _ in range(4)]
        await settle()
        assert sum(ask.done() for ask in lists) == 2
        for ask in lists:
            ask.cancel()
        assert len(await slots_at_once(limiter, READ)) == 20 - 1 - 2 - 5
        assert len(await slots_at_once(limiter)) == 5


async def test_a_block_holds_during_an_outage() -> None:
    connection = FakeConnection()
    async with sharing(connection) as limiter:
        await limiter.block(200.0)
        connection.disconnected = True
        await limiter.acquire(CLOSE)
        assert now() == 200.0
        await limiter.block(50.0)
        await limiter.acquire(CLOSE)
        assert now() == 250.0


async def test_a_deadline_within_the_silent_window_is_refused_without_an_estimate() -> None:
    connection = FakeConnection()
    connection.disconnected = True
    async with sharing(connection) as limiter:
        with pytest.raises(RequestNotSentError, match="share") as refusal:
            await limiter.acquire(CLOSE, deadline=30.0)
        assert now() == 0.0
        assert refusal.value.available_in is None
        connection.disconnected = False
        await asyncio.sleep(1)
        await limiter.acquire(CLOSE, deadline=30.0)


async def test_a_waiter_cancelled_during_an_outage_takes_no_slot_of_the_share() -> None:
    connection = FakeConnection()
    connection.disconnected = True
    async with sharing(connection, share=0.25, limit=4) as limiter:
        abandoned = asyncio.create_task(limiter.acquire(CLOSE))
        next_waiter = asyncio.create_task(limiter.acquire(CLOSE))
        await asyncio.sleep(1)
        abandoned.cancel()
        await next_waiter
        assert now() == 60.0


async def test_a_slot_of_the_share_granted_to_a_cancelled_task_is_returned() -> None:
    connection = FakeConnection()
    connection.disconnected = True
    async with sharing(connection, share=0.25, limit=4) as limiter:
        permit = await limiter.acquire(CLOSE)
        abandoned = asyncio.create_task(limiter.acquire(CLOSE))
        await asyncio.sleep(1)
        await limiter.release(permit, sent=False)  # grants it to `abandoned`
        for _ in range(2):
            await asyncio.sleep(0)
        abandoned.cancel()
        await settle()
        assert abandoned.cancelled()
        assert len(await slots_at_once(limiter)) == 1


async def test_a_slot_of_the_share_is_not_used_once_redis_answers() -> None:
    for steps in range(6):
        connection = FakeConnection()
        connection.disconnected = True
        async with sharing(connection, share=0.25, limit=4) as limiter:
            permit = await limiter.acquire(CLOSE)
            waiter = asyncio.create_task(limiter.acquire(CLOSE))
            await asyncio.sleep(0.7)
            connection.disconnected = False
            connection.on_reply = lambda: None
            await asyncio.sleep(0.3)  # a call is under way now
            for _ in range(steps):
                await asyncio.sleep(0)
            await limiter.release(permit, sent=False)
            await settle()
            waiter.cancel()
            await settle()
            assert connection.server.held() <= 1


def test_on_another_event_loop_redis_is_tried_again() -> None:
    connection = FakeConnection(FakeRedis(time.monotonic))
    limiter = sharing(connection)
    connection.disconnected = True

    async def use() -> None:
        await limiter.release(await limiter.acquire(CLOSE), sent=True)

    in_virtual_time(use())
    connection.disconnected = False

    async def use_again() -> None:
        await asyncio.wait_for(limiter.acquire(CLOSE), timeout=1)

    with pytest.raises(TimeoutError):  # the share is used up
        in_virtual_time(use_again())


# --- data loss


async def test_a_redis_that_lost_its_data_silences_all_processes_for_one_window() -> None:
    connection = FakeConnection()
    async with (
        RedisLimiter(connection, limit=5) as limiter,
        RedisLimiter(FakeConnection(connection.server), limit=5) as newcomer,
    ):
        for _ in range(5):
            await limiter.release(await limiter.acquire(CLOSE), sent=True)
        await asyncio.sleep(10)
        connection.server.flush()
        await limiter.acquire(CLOSE)
        assert now() == pytest.approx(70.0, abs=0.1)
        assert len(await slots_at_once(newcomer)) == 4


async def test_a_process_that_notices_the_data_loss_later_does_not_prolong_the_silence() -> None:
    connection = FakeConnection()
    async with (
        RedisLimiter(connection, limit=5) as one,
        RedisLimiter(FakeConnection(connection.server), limit=5) as two,
    ):
        await one.acquire(CLOSE)
        await two.acquire(CLOSE)
        await asyncio.sleep(1)
        connection.server.flush()
        await one.acquire(CLOSE)
        assert now() == pytest.approx(61.0, abs=0.1)
        await two.acquire(CLOSE)
        assert now() == pytest.approx(61.0, abs=0.1)


async def test_requests_in_flight_and_blocks_are_sent_again_after_a_data_loss() -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection, limit=5) as limiter:
        await limiter.acquire(CLOSE)
        await limiter.block(500.0)
        await asyncio.sleep(1)
        connection.server.flush()
        waiter = asyncio.create_task(limiter.acquire(CLOSE))
        await settle()
        assert connection.server.held() == 1
        async with RedisLimiter(FakeConnection(connection.server), limit=5) as newcomer:
            with pytest.raises(RequestNotSentError):
                await newcomer.acquire(CLOSE, deadline=499.0)
        waiter.cancel()


async def test_keys_that_expired_unused_do_not_count_as_data_loss() -> None:
    connection = FakeConnection()
    async with RedisLimiter(connection) as limiter:
        await limiter.release(await limiter.acquire(CLOSE), sent=True)
        await asyncio.sleep(3600)
        connection.server.flush()
        await limiter.acquire(CLOSE)
        assert now() == 3600.0
