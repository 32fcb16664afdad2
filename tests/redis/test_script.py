"""The script in a real Redis, and the fake that the other tests rely on."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from importlib import resources
from typing import Any, cast

import pytest
import redis.asyncio

from tests.redis.fake import FakeRedis, Message
from threecommas_async.endpoint import Priority
from threecommas_async.redis import RedisLimiter

CLOSE, READ = Priority.CLOSE, Priority.NORMAL
SCRIPT = resources.files("threecommas_async.redis").joinpath("script.lua").read_text("utf-8")

GENERAL = {"limit": 6, "window": 1000.0, "room": 6}
LITTLE_ROOM = {"limit": 6, "window": 1000.0, "room": 2}
GONE_AT_ONCE = {"limit": 6, "window": 0.0, "room": 6}
OWN = {"limit": 2, "window": 600.0, "room": 2}


def connect(url: str, **settings: Any) -> Any:
    """Return a client typed as Any: the types of redis-py are incomplete."""
    return cast("Any", redis.asyncio.Redis).from_url(url, **settings)


def make_message(me: str, **fields: object) -> Message:
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
        **fields,
    }


async def run(client: Any, keys: list[str], message: Message) -> Message:
    answer: Message = json.loads(await client.eval(SCRIPT, len(keys), *keys, json.dumps(message)))
    return answer


def random_message(rng: random.Random, names: list[str], born: str) -> Message:
    """Return a random message of some process; nothing expires while the test runs."""
    wants: list[Any] = []
    for _ in range(rng.choice([0, 1, 2, 5])):
        names.append(f"permit-{len(names)}")
        wants.append([rng.choice([0, 1]), rng.choice([1, 1, 2]), names[-1]])
    if names and rng.random() < 0.2:  # a repeated request
        wants.append([0, 1, rng.choice(names)])
    wants.sort(key=lambda want: want[0])
    permits = [
        [name, rng.choice([1, 2]), rng.choice([-1.0, -1.0, 0.0, 500.0])]
        for name in rng.sample(names, min(len(names), rng.choice([0, 1, 3])))
    ]
    return make_message(
        rng.choice("abc"),
        wants=wants,
        permits=permits,
        block=rng.choice([0.0] * 30 + [300.0]),
        born=rng.choice(["", born, born]),
        budgets=[rng.choice([GENERAL, GENERAL, LITTLE_ROOM, GONE_AT_ONCE]), OWN],
        grace=rng.choice([0.0, 1000.0]),
    )


@pytest.mark.parametrize("seed", range(8))
async def test_the_fake_replies_as_the_script_in_redis(url: str, key: str, seed: int) -> None:
    rng = random.Random(seed)
    names, keys = list[str](), [f"{{{key}}}:{name}" for name in ("state", "waiting", "all", "own")]
    fake = FakeRedis(time.time)
    async with connect(url) as redis_client:
        born = fake_born = ""
        for _ in range(60):
            message = random_message(rng, names, born)
            fake_message = {**message, "born": fake_born if message["born"] else ""}
            answer = await run(redis_client, keys, message)
            expected = json.loads(fake.run(keys, fake_message))
            born, fake_born = answer.pop("born"), expected.pop("born")
            assert list(answer["granted"]) == expected["granted"]
            for name in ("block", "wait"):
                assert answer[name] == pytest.approx(expected[name], abs=1)
            for rests, expected_rests in zip(answer["rests"], expected["rests"], strict=True):
                assert list(rests) == pytest.approx(expected_rests, abs=1)
            if answer["block"]:
                await redis_client.delete(*keys)
                fake.flush()
                names.clear()


class Budget:
    """A budget of four whose keys are read and written without the script."""

    def __init__(self, client: Any, key: str) -> None:
        self.client = client
        self.keys = [f"{{{key}}}:{name}" for name in ("state", "waiting", "general")]

    async def write(self, kind: str, **times: float) -> None:
        """Add entries by the number of seconds from now after which they expire."""
        ends = {name.replace("_", ":"): time.time() + later for name, later in times.items()}
        await self.client.zadd(self.keys[1] if kind == "waiting" else self.keys[2], ends)

    async def read(self, kind: str, name: str) -> float:
        end = await self.client.zscore(self.keys[1] if kind == "waiting" else self.keys[2], name)
        return float(end) - time.time()

    async def ask(self, priority: Priority, wants: int, **fields: object) -> int:
        """Request a number of permits; return how many are granted."""
        names = [[priority, 1, f"me:{number}"] for number in range(wants)]
        budgets = [{"limit": 4, "window": 1000.0, "room": 4}]
        message = make_message("me", budgets=budgets, reserve=0, wants=names, **fields)
        return len((await run(self.client, self.keys, message))["granted"])


@pytest.fixture
async def budget(url: str, key: str) -> AsyncIterator[Budget]:
    async with connect(url) as client:
        yield Budget(client, key)


async def test_a_permit_holds_its_slot_until_it_expires_and_no_longer(budget: Budget) -> None:
    await budget.write("permits", past=-5, future=5, far=50)
    assert await budget.ask(CLOSE, 4) == 2


async def test_a_permit_is_kept_for_a_lease_and_a_window_and_after_the_response_for_a_window(
    budget: Budget,
) -> None:
    await budget.ask(CLOSE, 1)
    assert await budget.read("permits", "me:0") == pytest.approx(1500, abs=20)
    await budget.ask(CLOSE, 0, permits=[["me:0", 1, 0.0]])
    assert await budget.read("permits", "me:0") == pytest.approx(1000, abs=20)


async def test_a_close_waiting_in_another_process_blocks_reads_until_it_expires(
    budget: Budget,
) -> None:
    await budget.write("waiting", **{"0_other": 5})
    assert await budget.ask(READ, 1) == 0
    await budget.write("waiting", **{"0_other": -5})
    assert await budget.ask(READ, 1) == 1
    assert await budget.ask(CLOSE, 9) == 4
    assert await budget.read("waiting", "0:me") == pytest.approx(100, abs=20)


async def test_freed_slots_are_divided_among_waiting_processes(
    budget: Budget,
) -> None:
    await budget.write("waiting", **{"0_other": 500})
    await budget.write("permits", past=-50)
    assert await budget.ask(CLOSE, 9, grace=1000.0) == 2
    assert await budget.ask(CLOSE, 9, grace=10.0) == 4  # the grace of the other is over


async def test_a_slot_comes_free_no_earlier_than_one_window_after_the_response(
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


async def test_keys_expire_unused_and_share_one_cluster_node(url: str, key: str) -> None:
    async with (
        connect(url, decode_responses=True) as client,
        RedisLimiter(client, limit=1, window=0.2, lease=0.2, key=key) as limiter,
    ):
        await limiter.acquire(Priority.CLOSE)
        waiting = asyncio.create_task(limiter.acquire(Priority.CLOSE))
        await asyncio.sleep(0.1)
        keys = sorted(await client.keys(f"*{key}*"))
        assert keys == [f"{{{key}}}:{name}" for name in ("general", "state", "waiting")]
        assert all([0 < await client.pttl(name) <= 800 for name in keys])
        waiting.cancel()
