"""A process with a limiter on a shared Redis. Arguments: action, settings and parameters (JSON).

It prints its result as the last line.
"""

import asyncio
import json
import sys
from typing import Any

from threecommas_async import AsyncClient
from threecommas_async.endpoint import Priority
from threecommas_async.redis import RedisLimiter


async def close(limiter: RedisLimiter, sandbox: dict[str, Any], ids: list[int]) -> object:
    """Close trades, and read some of them concurrently; return the counts of the report."""
    async with AsyncClient(rate_limiter=limiter, **sandbox) as client:
        reads = [asyncio.create_task(client.smart_trades.get(trade_id)) for trade_id in ids[:20]]
        report = await client.smart_trades.close_many(ids)
        await asyncio.gather(*reads)
    return {state.name: count for state, count in report.counts.items()}


async def hold(limiter: RedisLimiter, slots: int) -> object:
    """Take slots, print "held", and keep them."""
    await asyncio.gather(*(limiter.acquire(Priority.CLOSE) for _ in range(slots)))
    print("held", flush=True)  # noqa: T201
    await asyncio.sleep(3600)
    return None


async def use_later(limiter: RedisLimiter, slots: int) -> object:
    """Take slots, print "held", and return how many permits are usable after a line of input."""
    permits = [await limiter.acquire(Priority.CLOSE) for _ in range(slots)]
    print("held", flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.readline)
    return sum(permit.usable() for permit in permits)


async def block(limiter: RedisLimiter, seconds: float) -> object:
    """Block all processes."""
    await limiter.block(seconds)
    return None


ACTIONS: dict[str, Any] = {"close": close, "hold": hold, "use_later": use_later, "block": block}


async def main() -> None:
    action, settings, arguments = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
    async with RedisLimiter(**settings) as limiter:
        print(json.dumps(await ACTIONS[action](limiter, **arguments)), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
