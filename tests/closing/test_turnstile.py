"""How many closes begin at a time."""

import asyncio

from tests.support import Api, client_of
from threecommas_async.closing.turnstile import Turnstile
from threecommas_async.endpoint import Priority

CLOSE, READ = Priority.CLOSE, Priority.NORMAL


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


# --- the turnstile


async def through(turnstile: Turnstile, name: int, passed: list[int]) -> None:
    await turnstile.enter()
    passed.append(name)


async def test_no_more_than_a_few_pass_in_one_turn_and_all_in_order() -> None:
    turnstile, passed = Turnstile(3), list[int]()
    tasks = [asyncio.ensure_future(through(turnstile, i, passed)) for i in range(20)]
    before = 0
    while len(passed) < 20:
        await asyncio.sleep(0)
        assert len(passed) - before <= 3
        before = len(passed)
    await asyncio.gather(*tasks)
    assert passed == list(range(20))


async def test_who_leaves_the_line_takes_nobodys_room() -> None:
    turnstile, passed = Turnstile(2), list[int]()
    tasks = [asyncio.ensure_future(through(turnstile, i, passed)) for i in range(10)]
    await asyncio.sleep(0)
    for task in tasks[2:8]:
        task.cancel()
    await asyncio.wait(tasks)
    assert passed == [0, 1, 8, 9]
    await through(turnstile, 10, passed)  # and it goes on
    assert passed[-1] == 10


async def test_a_thousand_gathered_closes_begin_a_few_at_a_time() -> None:
    api = Api(range(1, 1001))
    async with client_of(api, max_connections=1000) as client:
        closes = asyncio.gather(*(client.smart_trades.close_by_market(i) for i in api.status))
        before = 0
        while not closes.done():
            await asyncio.sleep(0)
            assert len(api.requests) - before <= 20
            before = len(api.requests)
        assert len(await closes) == 1000
