"""Duration of N closes with a limit of 100 per 60 s, and refusals by the server, in virtual time.

Every policy closes the same trades over 20 connections against a simulated server, which counts in
a rolling or a fixed window and blocks the key for 300 s when the limit is exceeded. The minimum
("floor") is 60 x (ceil(N / 100) - 1) seconds.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from benchmarks.policies import LIMIT, POLICIES, WINDOW, Slots
from benchmarks.virtual_time import run_in_virtual_time

PENALTY = 300.0
CONNECTIONS = 20
SIZES = (50, 100, 250, 1_000)
TOO_LONG = 6 * 3_600.0

Window = Literal["rolling", "fixed"]
Network = Literal["steady", "ragged"]
WINDOWS: tuple[Window, ...] = ("rolling", "fixed")
NETWORKS: tuple[Network, ...] = ("steady", "ragged")


@dataclass(frozen=True, slots=True)
class PacingRun:
    """Result of one simulated run: seconds to the last answer, and number of refusals."""

    policy: str
    size: int
    window: Window
    network: Network
    seed: int
    seconds: float
    refused: int


def floor(size: int) -> float:
    """Return the minimum seconds until `size` closes can have been sent."""
    return WINDOW * (math.ceil(size / LIMIT) - 1)


class RateLimitedServer:
    """Counts arriving requests; exceeding the limit blocks the key for the penalty."""

    def __init__(self, window: Window) -> None:
        self.refused = 0
        self._window = window
        self._accepted: deque[float] = deque()
        self._blocked_until = -math.inf

    def arrival(self, now: float) -> float | None:
        """Return None if a request is accepted, else the time at which the block ends."""
        if now >= self._blocked_until:
            self._drop_expired(now)
            if len(self._accepted) < LIMIT:
                self._accepted.append(now)
                return None
            self._blocked_until = now + PENALTY
        self.refused += 1
        return self._blocked_until

    def _drop_expired(self, now: float) -> None:
        accepted = self._accepted
        if self._window == "rolling":
            while accepted and accepted[0] <= now - WINDOW:
                accepted.popleft()
        elif accepted and accepted[0] <= now - WINDOW:
            accepted.clear()


def one_way(network: Network, rng: random.Random) -> float:
    """Return a random latency in one direction, in seconds."""
    if network == "ragged" and rng.random() < 0.02:
        return rng.uniform(0.5, 3.0)
    return rng.uniform(0.02, 0.15)


async def close_everything(
    policy: str, size: int, window: Window, network: Network, seed: int
) -> PacingRun:
    """Simulate one run; call it in virtual time."""
    loop = asyncio.get_running_loop()
    rng = random.Random(seed)  # noqa: S311 - no secrets
    server = RateLimitedServer(window)
    slots: Slots = POLICIES[policy].make()
    connections = asyncio.Semaphore(CONNECTIONS)
    start = loop.time()

    async def post() -> float | None:
        outward, back = one_way(network, rng), one_way(network, rng)
        async with connections:
            await asyncio.sleep(outward)
            blocked_until = server.arrival(loop.time())
            await asyncio.sleep(back)
        return blocked_until

    async def close() -> None:
        while True:
            async with slots():
                blocked_until = await post()
            if blocked_until is None:
                return
            await asyncio.sleep(blocked_until - loop.time())

    async with asyncio.timeout(TOO_LONG):
        await asyncio.gather(*(close() for _ in range(size)))
    return PacingRun(policy, size, window, network, seed, loop.time() - start, server.refused)


def simulate(
    sizes: Sequence[int], seeds: int, policies: Sequence[str]
) -> Iterator[dict[str, object]]:
    """Yield the runs of every policy, size, window and network, with `seeds` seeds each."""
    for policy in policies:
        for size in sizes:
            for window in WINDOWS:
                for network in NETWORKS:
                    for seed in range(seeds):
                        run = close_everything(policy, size, window, network, seed)
                        yield asdict(run_in_virtual_time(run))
