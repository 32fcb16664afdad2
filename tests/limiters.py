"""Scenarios that every limiter must pass, wherever it keeps its ledger."""

import asyncio
import gc

from threecommas_async.endpoint import Priority
from threecommas_async.rate_limit.limiter import RateLimiter


async def acquire_behind_cancelled_queue(limiter: RateLimiter) -> None:
    """Check that a call gets its slot in time once the 100 queued ahead are cancelled."""
    await limiter.release(await limiter.acquire(Priority.CLOSE), sent=True)
    batch = [asyncio.create_task(limiter.acquire(Priority.CLOSE)) for _ in range(100)]
    close = asyncio.create_task(limiter.acquire(Priority.CLOSE, deadline=70.0))
    await asyncio.sleep(1)
    for task in batch:
        task.cancel()
    await close


def close_loop_with_pending_calls(
    limiter: RateLimiter, *, calls: int, after: float, sent: bool
) -> list[asyncio.Task[None]]:
    """Close an event loop on which `calls` calls hold a slot or wait for one.

    The first of them is destroyed already. The tasks of the others are returned, and are destroyed
    when the list is dropped.
    """

    async def call() -> None:
        permit = await limiter.acquire(Priority.CLOSE)
        try:
            await asyncio.sleep(1000)
        finally:
            await limiter.release(permit, sent=sent)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, __: None)  # it would log the tasks that never end
    gone = [loop.create_task(call()) for _ in range(calls)]
    loop.run_until_complete(asyncio.sleep(after))
    loop.close()
    gone.pop(0)
    gc.collect()
    return gone
