"""Limiters and clients belong to one process and one event loop; use elsewhere is refused."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable

import pytest

from tests.support import Api, client_of
from threecommas_async import CloseBatch, ConfigurationError, SlidingWindowLimiter, SmartTrade
from threecommas_async.endpoint import Priority
from threecommas_async.http.gate import Gate
from threecommas_async.ownership import Owner
from threecommas_async.rate_limit.limiter import NoLimit

CLOSE = Priority.CLOSE


def in_another_thread(main: Callable[[], Awaitable[object]]) -> BaseException | None:
    """Run `main` on a new event loop in another thread, and return what it raises."""
    raised: list[BaseException] = []

    async def run() -> None:
        try:
            async with asyncio.timeout(5):
                await main()
        except Exception as error:  # noqa: BLE001 - any error is returned
            raised.append(error)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    thread.join()
    return raised[0] if raised else None


def test_owner_enter_is_true_for_the_first_use_on_each_event_loop() -> None:
    owner = Owner("it")

    async def use() -> list[bool]:
        return [owner.enter(), owner.enter()]

    for _ in range(2):
        assert asyncio.run(use()) == [True, False]
    assert owner.loop_closed


async def test_second_concurrent_event_loop_is_refused_with_advice() -> None:
    limiter, unlimited, gate = SlidingWindowLimiter(), NoLimit(), Gate(1)
    await limiter.acquire(CLOSE)
    await unlimited.acquire(CLOSE)
    await gate.enter(CLOSE, closing=True)
    for use in (
        lambda: limiter.acquire(CLOSE),
        lambda: unlimited.acquire(CLOSE),
        lambda: gate.enter(CLOSE, closing=True),
    ):
        error = in_another_thread(use)
        assert isinstance(error, ConfigurationError)
        assert "one per event loop" in str(error)
        assert "RedisLimiter" in str(error)
    assert "the rate limiter is in use" in str(in_another_thread(lambda: limiter.acquire(CLOSE)))
    assert "the client is in use" in str(in_another_thread(lambda: gate.enter(CLOSE, closing=True)))


async def test_batch_on_a_second_event_loop_is_refused_and_can_still_start_on_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = Api([1, 2])
    batches: list[CloseBatch[SmartTrade]] = []

    async def begin() -> object:
        batches.append(client.smart_trades.close_many([1, 2]))
        return await batches[0]

    async def iterate() -> None:
        async for outcome in client.smart_trades.close_many([1, 2]):
            pytest.fail(str(outcome))

    async def close_all() -> object:
        return await client.smart_trades.close_all()

    async with client_of(api) as client:
        await client.smart_trades.close_by_market(1)
        sent = len(api.requests)
        for use in (begin, iterate, close_all):
            assert isinstance(in_another_thread(use), ConfigurationError)
        assert len(api.requests) == sent
        report = await batches[0]  # it can still start on the loop that owns the client
    assert report.ok
    assert caplog.text == ""


_FORKS = """
import asyncio, os, sys
from threecommas_async import AsyncClient, ConfigurationError, SlidingWindowLimiter
from threecommas_async.endpoint import Priority

limiter = SlidingWindowLimiter()
client = AsyncClient("key", secret="secret")

async def use():
    await limiter.release(await limiter.acquire(Priority.CLOSE), sent=True)

def refused(call):
    if os.fork() == 0:
        try:
            asyncio.run(call())
        except ConfigurationError as error:
            print(error, flush=True)
        os._exit(0)
    os.wait()

async def use_and_fork():
    await use()
    child = os.fork()
    if child == 0:
        try:
            await limiter.acquire(Priority.CLOSE)
        except ConfigurationError as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)

refused(use)  # made here, and used by nobody yet
refused(client.users.validate)
refused(lambda: client.deals.close_by_market(1))
asyncio.run(use_and_fork())
refused(use)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_limiter_and_client_are_refused_after_a_fork_with_advice() -> None:
    done = subprocess.run(  # noqa: S603 - this Python
        [sys.executable, "-c", _FORKS], capture_output=True, text=True, timeout=50, check=True
    )
    refusals = done.stdout.splitlines()
    assert len(refusals) == 5, done.stderr
    for refusal in refusals:
        assert "after the fork, in each process" in refusal
        assert "docs/sharing.md" in refusal


@pytest.mark.parametrize("used", [False, True])
def test_owner_is_refused_in_another_process_with_and_without_an_event_loop(
    used: bool,  # noqa: FBT001 - parametrized
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = Owner("it")

    async def use() -> None:
        owner.enter()

    if used:
        asyncio.run(use())
    with pytest.raises(RuntimeError, match="no running event loop"):
        owner.enter()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(ConfigurationError, match="it was made in another process"):
        owner.enter()
    with pytest.raises(ConfigurationError, match="it was made in another process"):
        asyncio.run(use())
