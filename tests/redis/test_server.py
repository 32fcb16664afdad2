"""The limiter on a real Redis: outages, authentication, and the missing extra."""

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
    """Send a number of requests; return the seconds after which each got its slot."""
    began = time.monotonic()

    async def send() -> float:
        permit = await limiter.acquire(CLOSE)
        waited = time.monotonic() - began
        await limiter.release(permit, sent=True)
        return waited

    return sorted(await asyncio.gather(*(send() for _ in range(slots))))


async def test_two_limiters_share_the_limit_the_reserve_and_the_priorities(
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
            assert order == []  # only the reserve is left
            for _ in range(4):
                group.create_task(ask("close", CLOSE))
            await asyncio.sleep(0.2)
            assert order == ["close"] * 3
            for permit in permits[:7]:
                await one.release(permit, sent=True)
        assert order == ["close"] * 4 + ["read"]
        for permit in permits[7:]:
            await two.release(permit, sent=False)


async def test_waiters_fail_when_redis_is_killed_and_are_served_when_it_is_back(
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
        # Its data is gone, so nothing may be sent for one window.
        with pytest.raises(RequestNotSentError) as refusal:
            await limiter.acquire(CLOSE, deadline=asyncio.get_running_loop().time() + 10)
        assert refusal.value.available_in is not None
        assert refusal.value.available_in > 28


async def test_waiters_get_the_share_when_redis_is_killed_until_it_is_back(
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
        # A silent window, then two requests per window.
        assert 2 * window <= time.monotonic() - began < 10 * window
        server.start()
        assert len(await take(limiter, 4)) == 4


async def test_calls_to_a_frozen_redis_time_out_and_do_no_harm_when_they_run_later(
    server: RedisServer,
) -> None:
    async with RedisLimiter(server.url, limit=2, window=0.3, timeout=0.2) as limiter:
        await take(limiter, 1)
        server.freeze()
        with pytest.raises(RequestNotSentError, match="TimeoutError"):
            await limiter.acquire(CLOSE)
        server.thaw()
        await asyncio.sleep(0.4)
        assert max(await take(limiter, 2)) < 5  # not after a lease


async def test_a_password_in_the_url_is_used_and_a_wrong_one_is_not_shown(
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


def test_importing_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.find_spec("threecommas_async.redis")
    assert spec
    assert spec.loader

    def find_nothing(name: str) -> None:
        """Pretend that no extra is installed."""

    monkeypatch.setattr(importlib.util, "find_spec", find_nothing)
    with pytest.raises(ImportError, match=r"pip install 'threecommas-async\[redis\]'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert "threecommas_async.redis" in sys.modules
