"""Scenes that every limiter has to come through, wherever it keeps its books."""

import asyncio
import gc

from threecommas_async.endpoint import Priority
from threecommas_async.rate_limit.limiter import RateLimiter


async def outlast_a_crowd(limiter: RateLimiter) -> None:
    """Ask a limit of one for its next slot, in time only because the hundred ahead soon leave."""
    await limiter.release(await limiter.acquire(Priority.CLOSE), sent=True)
    batch = [asyncio.create_task(limiter.acquire(Priority.CLOSE)) for _ in range(100)]
    close = asyncio.create_task(limiter.acquire(Priority.CLOSE, deadline=70.0))
    await asyncio.sleep(1)
    for task in batch:
        task.cancel()
    await close


def closed_in_mid_run(
    limiter: RateLimiter, *, calls: int, after: float, sent: bool
) -> list[asyncio.Task[None]]:
    """Close an event loop on which so many calls hold a slot or wait for one.

    The first of them has come to its end already. What is left over of the others is returned, and
    comes to its end when it is let go of.
    """

    async def call() -> None:
        permit = await limiter.acquire(Priority.CLOSE)
        try:
            await asyncio.sleep(1000)
        finally:
            await limiter.release(permit, sent=sent)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, __: None)  # it would tell of the tasks that never end
    gone = [loop.create_task(call()) for _ in range(calls)]
    loop.run_until_complete(asyncio.sleep(after))
    loop.close()
    gone.pop(0)
    gc.collect()
    return gone
