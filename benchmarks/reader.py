"""What a close waits for beside a reader that takes every slot it can get, in virtual time."""

from __future__ import annotations

import asyncio
import random
from itertools import count

from benchmarks.measure import Record
from benchmarks.policies import LIMIT, WINDOW
from benchmarks.virtual_time import run_in_virtual_time
from threecommas_async.endpoint import Priority
from threecommas_async.rate_limit.limiter import SlidingWindowLimiter

READERS = 20
BUSY_BEFORE = 90.0


async def closes_beside_a_reader(closes: int, seed: int) -> Record:
    """Readers saturate the limit; then the closes come, and each notes who left before it."""
    loop = asyncio.get_running_loop()
    dice = random.Random(seed)  # noqa: S311 - dice, not keys
    limiter = SlidingWindowLimiter(limit=LIMIT, window=WINDOW)
    reads: list[float] = []
    overtaken: list[int] = []
    waited: list[float] = []

    async def call(priority: Priority) -> None:
        permit = await limiter.acquire(priority)
        if priority is Priority.CLOSE:
            waited.append(loop.time() - asked)
            overtaken.append(sum(1 for left in reads if left > asked))
        else:
            reads.append(loop.time())
        await asyncio.sleep(dice.uniform(0.04, 0.3))
        await limiter.release(permit, sent=True)

    async def read_for_ever() -> None:
        for _ in count():
            await call(Priority.NORMAL)

    readers = [asyncio.create_task(read_for_ever()) for _ in range(READERS)]
    await asyncio.sleep(BUSY_BEFORE + dice.uniform(0, WINDOW))
    asked = loop.time()
    await asyncio.gather(*(call(Priority.CLOSE) for _ in range(closes)))
    seconds = loop.time() - asked
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    return {
        "closes": closes,
        "seed": seed,
        "seconds": seconds,
        "first_waited": min(waited),
        "last_waited": max(waited),
        "overtaken": max(overtaken),
    }


def simulate_reader(sizes: tuple[int, ...], seeds: int) -> list[Record]:
    """A single close, a handful, and more than the reserve holds; each so many times."""
    return [
        run_in_virtual_time(closes_beside_a_reader(closes, seed))
        for closes in sizes
        for seed in range(seeds)
    ]
