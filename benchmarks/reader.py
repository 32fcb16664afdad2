"""Wait of closes for a slot while readers saturate the limit, in virtual time."""

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
WARM_UP = 90.0


async def closes_beside_a_reader(closes: int, seed: int) -> Record:
    """Saturate the limit with reads, then close; count the reads sent before each close."""
    loop = asyncio.get_running_loop()
    rng = random.Random(seed)  # noqa: S311 - no secrets
    limiter = SlidingWindowLimiter(limit=LIMIT, window=WINDOW)
    reads: list[float] = []
    overtaken: list[int] = []
    waited: list[float] = []

    async def call(priority: Priority) -> None:
        permit = await limiter.acquire(priority)
        if priority is Priority.CLOSE:
            waited.append(loop.time() - closing_from)
            overtaken.append(sum(1 for sent_at in reads if sent_at > closing_from))
        else:
            reads.append(loop.time())
        await asyncio.sleep(rng.uniform(0.04, 0.3))
        await limiter.release(permit, sent=True)

    async def read_forever() -> None:
        for _ in count():
            await call(Priority.NORMAL)

    readers = [asyncio.create_task(read_forever()) for _ in range(READERS)]
    await asyncio.sleep(WARM_UP + rng.uniform(0, WINDOW))
    closing_from = loop.time()
    await asyncio.gather(*(call(Priority.CLOSE) for _ in range(closes)))
    seconds = loop.time() - closing_from
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
    """Simulate every number of closes with `seeds` seeds each."""
    return [
        run_in_virtual_time(closes_beside_a_reader(closes, seed))
        for closes in sizes
        for seed in range(seeds)
    ]
