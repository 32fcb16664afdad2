"""The script in a real Redis, and its twin in memory that the other tests rely on."""

import asyncio
import json
import random
import time
from importlib import resources
from typing import Any, cast

import pytest
import redis.asyncio

from tests.redis.memory import Memory, Message
from threecommas_async.endpoint import Priority
from threecommas_async.redis import RedisLimiter

SCRIPT = resources.files("threecommas_async.redis").joinpath("script.lua").read_text("utf-8")
BUDGETS = [{"limit": 6, "window": 1000.0}, {"limit": 2, "window": 600.0}]


def client(url: str, **settings: Any) -> Any:
    """A client without its types, which are not complete."""
    return cast("Any", redis.asyncio.Redis).from_url(url, **settings)


def message(me: str, **told: object) -> Message:
    return {
        "me": me,
        "budgets": BUDGETS,
        "reserve": 2,
        "lease": 500.0,
        "silence": 1000.0,
        "patience": 100.0,
        "pause": 0.0,
        "ttl": 3000.0,
        "born": "",
        "block": 0.0,
        "permits": [],
        "wants": [],
        **told,
    }


def any_message(chance: random.Random, names: list[str], born: str) -> Message:
    """What some process might say next. Nothing expires by itself while the test runs."""
    wants: list[Any] = []
    for _ in range(chance.choice([0, 1, 2, 5])):
        names.append(f"permit-{len(names)}")
        wants.append([chance.choice([0, 1]), chance.choice([1, 1, 2]), names[-1]])
    if names and chance.random() < 0.2:  # somebody asks again
        wants.append([0, 1, chance.choice(names)])
    wants.sort(key=lambda want: want[0])
    permits = [
        [name, chance.choice([1, 2]), chance.choice([-1.0, -1.0, 0.0, 500.0])]
        for name in chance.sample(names, min(len(names), chance.choice([0, 1, 3])))
    ]
    return message(
        chance.choice("abc"),
        wants=wants,
        permits=permits,
        block=chance.choice([0.0] * 30 + [300.0]),
        born=chance.choice(["", born, born]),
    )


@pytest.mark.parametrize("seed", range(8))
async def test_the_twin_in_memory_answers_as_the_script_in_redis(
    url: str, key: str, seed: int
) -> None:
    chance = random.Random(seed)
    names, keys = list[str](), [f"{{{key}}}:{name}" for name in ("state", "waiting", "all", "own")]
    memory = Memory(time.time)
    async with client(url) as server:
        script = server.register_script(SCRIPT)
        born = twin_born = ""
        for _ in range(60):
            asked = any_message(chance, names, born)
            twin_asked = {**asked, "born": twin_born if asked["born"] else ""}
            answer = json.loads(await script(keys, [json.dumps(asked)]))
            twin = json.loads(memory.run(keys, twin_asked))
            born, twin_born = answer.pop("born"), twin.pop("born")
            assert list(answer["granted"]) == twin["granted"]
            for name in ("block", "wait"):
                assert answer[name] == pytest.approx(twin[name], abs=1)
            for name in ("held", "firsts"):
                assert list(answer[name]) == pytest.approx(twin[name], abs=1)
            if answer["block"]:
                await server.delete(*keys)
                memory.forget()
                names.clear()


async def test_a_slot_is_free_no_earlier_than_one_window_after_its_answer(
    url: str, key: str
) -> None:
    async with RedisLimiter(url, limit=1, window=0.3, key=key) as limiter:
        permit = await limiter.acquire(Priority.CLOSE)
        await asyncio.sleep(0.2)
        answered = time.monotonic()
        await limiter.release(permit, sent=True)
        permit = await limiter.acquire(Priority.CLOSE)
        assert 0.3 <= time.monotonic() - answered < 5
        await limiter.release(permit, sent=False)


async def test_books_that_nobody_uses_go_by_themselves_and_stay_on_one_node_of_a_cluster(
    url: str, key: str
) -> None:
    async with (
        client(url, decode_responses=True) as server,
        RedisLimiter(server, limit=1, window=0.2, lease=0.2, key=key) as limiter,
    ):
        await limiter.acquire(Priority.CLOSE)
        waiting = asyncio.create_task(limiter.acquire(Priority.CLOSE))
        await asyncio.sleep(0.1)
        keys = sorted(await server.keys(f"*{key}*"))
        assert keys == [f"{{{key}}}:{name}" for name in ("general", "state", "waiting")]
        assert all([0 < await server.pttl(name) <= 800 for name in keys])
        waiting.cancel()
