"""Pacing policies: the limiter of this package, and common alternatives."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass

LIMIT = 100
WINDOW = 60.0

Slots = Callable[[], AbstractAsyncContextManager[None]]
"""Makes a context that is entered before a request is sent and left after its answer."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A pacing policy with its name and label."""

    name: str
    label: str
    make: Callable[[], Slots]


def unpaced() -> Slots:
    """Send at once; refused requests are repeated when the block is over."""
    return nullcontext


def bucket() -> Slots:
    """A leaky bucket with a capacity of the whole limit, like that of aiolimiter."""
    interval = WINDOW / LIMIT
    full_at = 0.0

    @asynccontextmanager
    async def slot() -> AsyncGenerator[None]:
        nonlocal full_at
        now = asyncio.get_running_loop().time()
        start = max(now, full_at - interval * (LIMIT - 1))
        full_at = max(full_at, start) + interval
        await asyncio.sleep(start - now)
        yield

    return slot


def drip(rate: float) -> Slots:
    """Requests at a constant rate per second."""
    next_at = 0.0

    @asynccontextmanager
    async def slot() -> AsyncGenerator[None]:
        nonlocal next_at
        now = asyncio.get_running_loop().time()
        start = max(now, next_at)
        next_at = start + 1 / rate
        await asyncio.sleep(start - now)
        yield

    return slot


def send_time_window() -> Slots:
    """A sliding window over send times, which ignores the latency to the server."""
    sent: deque[float] = deque(maxlen=LIMIT)

    @asynccontextmanager
    async def slot() -> AsyncGenerator[None]:
        now = asyncio.get_running_loop().time()
        start = max(now, sent[0] + WINDOW) if len(sent) == LIMIT else now
        sent.append(start)
        await asyncio.sleep(start - now)
        yield

    return slot


def ours() -> Slots:
    """The limiter of this package: a slot comes free one window after the answer arrived."""
    from threecommas_async.endpoint import Priority
    from threecommas_async.rate_limit.limiter import SlidingWindowLimiter

    limiter = SlidingWindowLimiter(limit=LIMIT, window=WINDOW)

    @asynccontextmanager
    async def slot() -> AsyncGenerator[None]:
        permit = await limiter.acquire(Priority.CLOSE)
        try:
            yield
        finally:
            await limiter.release(permit, sent=True)

    return slot


POLICIES = {
    policy.name: policy
    for policy in (
        Policy("ours", "threecommas-async", ours),
        Policy("gather", "gather, retry after the penalty", unpaced),
        Policy("bucket", "leaky bucket (100, 60), as aiolimiter's", bucket),
        Policy("drip-limit", "drip, 1.667 a second", lambda: drip(LIMIT / WINDOW)),
        Policy("drip-careful", "drip, 1.6 a second", lambda: drip(1.6)),
        Policy("send-log", "log of send times, no margin", send_time_window),
    )
}
