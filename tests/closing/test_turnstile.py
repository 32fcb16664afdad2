"""The turnstile: how many closes start per iteration of the event loop."""

import asyncio

from tests.support import Api, client_of
from threecommas_async.closing.turnstile import Turnstile
from threecommas_async.endpoint import Priority

CLOSE, READ = Priority.CLOSE, Priority.NORMAL


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


# --- the turnstile


async def pass_through(turnstile: Turnstile, name: int, passed: list[int]) -> None:
    await turnstile.enter()
    passed.append(name)


async def test_turnstile_admits_at_most_its_limit_per_loop_iteration_in_order() -> None:
    turnstile, passed = Turnstile(3), list[int]()
    tasks = [asyncio.ensure_future(pass_through(turnstile, i, passed)) for i in range(20)]
    before = 0
    while len(passed) < 20:
        await asyncio.sleep(0)
        assert len(passed) - before <= 3
        before = len(passed)
    await asyncio.gather(*tasks)
    assert passed == list(range(20))


async def test_cancelled_waiter_at_the_turnstile_takes_no_room() -> None:
    turnstile, passed = Turnstile(2), list[int]()
    tasks = [asyncio.ensure_future(pass_through(turnstile, i, passed)) for i in range(10)]
    await asyncio.sleep(0)
    for task in tasks[2:8]:
        task.cancel()
    await asyncio.wait(tasks)
    assert passed == [0, 1, 8, 9]
    await pass_through(turnstile, 10, passed)  # the turnstile still works
    assert passed[-1] == 10


async def test_1000_gathered_closes_start_at_most_20_per_loop_iteration() -> None:
    api = Api(range(1, 1001))
    async with client_of(api, max_connections=1000) as client:
        closes = asyncio.gather(*(client.smart_trades.close_by_market(i) for i in api.status))
        before = 0
        while not closes.done():
            await asyncio.sleep(0)
            assert len(api.requests) - before <= 20
            before = len(api.requests)
        assert len(await closes) == 1000
