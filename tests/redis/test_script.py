"""The script in a real Redis, and its twin in memory that the other tests rely on."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from importlib import resources
from typing import Any, cast

import pytest
import redis.asyncio

from tests.redis.memory import Memory, Message
from threecommas_async.endpoint import Priority
from threecommas_async.redis import RedisLimiter

CLOSE, READ = Priority.CLOSE, Priority.NORMAL
SCRIPT = resources.files("threecommas_async.redis").joinpath("script.lua").read_text("utf-8")

GENERAL = {"limit": 6, "window": 1000.0, "room": 6}
LITTLE_ROOM = {"limit": 6, "window": 1000.0, "room": 2}
GONE_AT_ONCE = {"limit": 6, "window": 0.0, "room": 6}
OWN = {"limit": 2, "window": 600.0, "room": 2}


def client(url: str, **settings: Any) -> Any:
    """A client without its types, which are not complete."""
    return cast("Any", redis.asyncio.Redis).from_url(url, **settings)


def message(me: str, **told: object) -> Message:
    return {
        "me": me,
        "budgets": [GENERAL, OWN],
        "reserve": 2,
        "lease": 500.0,
        "silence": 1000.0,
        "patience": 100.0,
        "grace": 0.0,
        "ttl": 3000.0,
        "born": "",
        "block": 0.0,
        "permits": [],
        "wants": [],
        **told,
    }


async def run(server: Any, keys: list[str], asked: Message) -> Message:
    answer: Message = json.loads(await server.eval(SCRIPT, len(keys), *keys, json.dumps(asked)))
    return answer


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
        budgets=[chance.choice([GENERAL, GENERAL, LITTLE_ROOM, GONE_AT_ONCE]), OWN],
        grace=chance.choice([0.0, 1000.0]),
    )


@pytest.mark.parametrize("seed", range(8))
async def test_the_twin_in_memory_answers_as_the_script_in_redis(
    url: str, key: str, seed: int
) -> None:
    chance = random.Random(seed)
    names, keys = list[str](), [f"{{{key}}}:{name}" for name in ("state", "waiting", "all", "own")]
    memory = Memory(time.time)
    async with client(url) as server:
        born = twin_born = ""
        for _ in range(60):
            asked = any_message(chance, names, born)
            twin_asked = {**asked, "born": twin_born if asked["born"] else ""}
            answer = await run(server, keys, asked)
            twin = json.loads(memory.run(keys, twin_asked))
            born, twin_born = answer.pop("born"), twin.pop("born")
            assert list(answer["granted"]) == twin["granted"]
            for name in ("block", "wait"):
                assert answer[name] == pytest.approx(twin[name], abs=1)
            for rests, twin_rests in zip(answer["rests"], twin["rests"], strict=True):
                assert list(rests) == pytest.approx(twin_rests, abs=1)
            if answer["block"]:
                await server.delete(*keys)
                memory.forget()
                names.clear()


class Budget:
    """A budget of four, whose books are written to and read past the script."""

    def __init__(self, server: Any, key: str) -> None:
        self.server = server
        self.keys = [f"{{{key}}}:{name}" for name in ("state", "waiting", "general")]

    async def write(self, kind: str, **times: float) -> None:
        """Enter by how many seconds from now something ends."""
        ends = {name.replace("_", ":"): time.time() + later for name, later in times.items()}
        await self.server.zadd(self.keys[1] if kind == "waiting" else self.keys[2], ends)

    async def read(self, kind: str, name: str) -> float:
        end = await self.server.zscore(self.keys[1] if kind == "waiting" else self.keys[2], name)
        return float(end) - time.time()

    async def ask(self, priority: Priority, wants: int, **told: object) -> int:
        """Ask for so many, and return how many are granted."""
        names = [[priority, 1, f"me:{number}"] for number in range(wants)]
        budgets = [{"limit": 4, "window": 1000.0, "room": 4}]
        asked = message("me", budgets=budgets, reserve=0, wants=names, **told)
        return len((await run(self.server, self.keys, asked))["granted"])


@pytest.fixture
async def budget(url: str, key: str) -> AsyncIterator[Budget]:
    async with client(url) as server:
        yield Budget(server, key)


async def test_a_permit_holds_its_slot_until_it_expires_and_no_longer(budget: Budget) -> None:
    await budget.write("permits", past=-5, future=5, far=50)
    assert await budget.ask(CLOSE, 4) == 2


async def test_a_permit_is_kept_for_a_lease_and_a_window_and_after_the_answer_for_a_window(
    budget: Budget,
) -> None:
    await budget.ask(CLOSE, 1)
    assert await budget.read("permits", "me:0") == pytest.approx(1500, abs=20)
    await budget.ask(CLOSE, 0, permits=[["me:0", 1, 0.0]])
    assert await budget.read("permits", "me:0") == pytest.approx(1000, abs=20)


async def test_a_close_that_waits_elsewhere_shuts_reads_out_until_it_is_not_heard_of(
    budget: Budget,
) -> None:
    await budget.write("waiting", **{"0_other": 5})
    assert await budget.ask(READ, 1) == 0
    await budget.write("waiting", **{"0_other": -5})
    assert await budget.ask(READ, 1) == 1
    assert await budget.ask(CLOSE, 9) == 4
    assert await budget.read("waiting", "0:me") == pytest.approx(100, abs=20)


async def test_slots_that_have_just_come_free_are_divided_among_those_who_wait(
    budget: Budget,
) -> None:
    await budget.write("waiting", **{"0_other": 500})
    await budget.write("permits", past=-50)
    assert await budget.ask(CLOSE, 9, grace=1000.0) == 2
    assert await budget.ask(CLOSE, 9, grace=10.0) == 4  # the other has not come for its part


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
