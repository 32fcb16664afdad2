"""Ways of keeping to a rate limit: ours, and what people do instead."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass

LIMIT = 100
WINDOW = 60.0

Slots = Callable[[], AbstractAsyncContextManager[None]]
"""Entered before a request is sent, left when its answer is there."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A named way of pacing."""

    name: str
    label: str
    make: Callable[[], Slots]


def unpaced() -> Slots:
    """Send at once; whoever is refused comes back when the block is over."""
    return nullcontext


def bucket() -> Slots:
    """A leaky bucket of a full burst that drains at the limit's rate, as aiolimiter's."""
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
    """One request every so often."""
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


def log_of_send_times() -> Slots:
    """A sliding window over the moments of sending, without regard to the way there."""
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
    """The package's own limiter: a slot comes free one window after the answer arrived."""
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
        Policy("send-log", "log of send times, no margin", log_of_send_times),
    )
}
