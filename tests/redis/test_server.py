"""The limiter on a real Redis: lost, frozen, found again."""

import asyncio
import importlib.util
import logging
import sys
import time

import pytest

from tests.redis.server import RedisServer, running
from threecommas_async import RequestNotSentError
from threecommas_async.endpoint import Priority
from threecommas_async.redis import RedisLimiter

CLOSE, READ = Priority.CLOSE, Priority.NORMAL


async def take(limiter: RedisLimiter, slots: int) -> list[float]:
    """Send so many requests, and return after how long each could leave."""
    began = time.monotonic()

    async def send() -> float:
        permit = await limiter.acquire(CLOSE)
        left = time.monotonic() - began
        await limiter.release(permit, sent=True)
        return left

    return sorted(await asyncio.gather(*(send() for _ in range(slots))))


async def test_two_limiters_keep_one_limit_its_reserve_and_its_priorities(
    url: str, key: str
) -> None:
    async with (
        RedisLimiter(url, limit=10, window=0.5, reserve=3, key=key) as one,
        RedisLimiter(url, limit=10, window=0.5, reserve=3, key=key) as two,
    ):
        permits = await asyncio.gather(*(one.acquire(READ) for _ in range(7)))
        order: list[str] = []

        async def ask(name: str, priority: Priority) -> None:
            permits.append(await two.acquire(priority))
            order.append(name)

        async with asyncio.TaskGroup() as group:
            group.create_task(ask("read", READ))
            await asyncio.sleep(0.2)
            assert order == []  # what is left is the reserve
            for _ in range(4):
                group.create_task(ask("close", CLOSE))
            await asyncio.sleep(0.2)
            assert order == ["close"] * 3
            for permit in permits[:7]:
                await one.release(permit, sent=True)
        assert order == ["close"] * 4 + ["read"]
        for permit in permits[7:]:
            await two.release(permit, sent=False)


async def test_a_redis_killed_in_mid_wait_is_an_error_and_back_again_it_serves(
    server: RedisServer,
) -> None:
    async with RedisLimiter(server.url, limit=1, window=30.0) as limiter:
        await limiter.acquire(CLOSE)
        waiter = asyncio.create_task(limiter.acquire(CLOSE))
        await asyncio.sleep(0.1)
        server.kill()
        with pytest.raises(RequestNotSentError, match="Redis"):
            await waiter
        server.start()
        # It is empty now, but what was sent before it died is not forgotten.
        with pytest.raises(RequestNotSentError) as refusal:
            await limiter.acquire(CLOSE, deadline=asyncio.get_running_loop().time() + 10)
        assert refusal.value.available_in is not None
        assert refusal.value.available_in > 28


async def test_a_redis_killed_in_mid_wait_leaves_the_share_until_it_is_back(
    server: RedisServer,
) -> None:
    window = 0.3
    async with RedisLimiter(
        server.url, limit=4, window=window, on_lost="share", share=0.5
    ) as limiter:
        await take(limiter, 4)
        waiters = [asyncio.create_task(take(limiter, 1)) for _ in range(4)]
        await asyncio.sleep(0.1)
        server.kill()
        began = time.monotonic()
        await asyncio.wait(waiters)
        assert 2 * window <= time.monotonic() - began < 10 * window  # nothing, two, and two more
        server.start()
        assert len(await take(limiter, 4)) == 4


async def test_a_frozen_redis_is_lost_after_the_timeout_and_its_old_calls_do_no_harm(
    server: RedisServer,
) -> None:
    async with RedisLimiter(server.url, limit=2, window=0.3, timeout=0.2) as limiter:
        await take(limiter, 1)
        server.freeze()
        with pytest.raises(RequestNotSentError, match="TimeoutError"):
            await limiter.acquire(CLOSE)
        server.thaw()
        await asyncio.sleep(0.4)
        assert max(await take(limiter, 2)) < 5  # and not a lease later


async def test_a_password_in_the_url_is_used_and_a_wrong_one_not_repeated(
    caplog: pytest.LogCaptureFixture, server: RedisServer
) -> None:
    with running(RedisServer(password="hunter2")) as guarded:
        async with RedisLimiter(guarded.url) as limiter:
            await limiter.acquire(CLOSE)
        wrong = guarded.url.replace("hunter2", "hunter3")
        with caplog.at_level(logging.DEBUG):
            async with RedisLimiter(wrong) as limiter:
                with pytest.raises(RequestNotSentError, match="AuthenticationError") as refusal:
                    await limiter.acquire(CLOSE)
    assert "hunter" not in f"{refusal.value}{caplog.text}"
    assert refusal.value.__cause__ is refusal.value.__context__ is None


def test_the_package_is_imported_without_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.find_spec("threecommas_async.redis")
    assert spec
    assert spec.loader

    def find_nothing(name: str) -> None:
        """No extra is installed."""

    monkeypatch.setattr(importlib.util, "find_spec", find_nothing)
    with pytest.raises(ImportError, match=r"pip install 'threecommas-async\[redis\]'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert "threecommas_async.redis" in sys.modules
