"""How long N closes take under 100 per 60 s, in virtual time, and what the server thinks of it.

Every policy closes the same trades over the same 20 connections against the same simulated
server, which counts in a rolling or in a fixed window and blocks the key for 300 s after one
request too many. The floor is 60 x (ceil(N / 100) - 1) seconds.
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
class Paced:
    """One simulated run: when the last close was answered, and how often the server refused."""

    policy: str
    size: int
    window: Window
    network: Network
    seed: int
    seconds: float
    refused: int


def floor(size: int) -> float:
    """The earliest second at which so many closes can all have been sent."""
    return WINDOW * (math.ceil(size / LIMIT) - 1)


class RateLimitedServer:
    """Counts the requests that arrive; one too many blocks the key for the penalty."""

    def __init__(self, window: Window) -> None:
        self.refused = 0
        self._window = window
        self._accepted: deque[float] = deque()
        self._blocked_until = -math.inf

    def arrival(self, now: float) -> float | None:
        """Accept a request (None), or refuse it and say when the block ends."""
        if now >= self._blocked_until:
            self._forget(now)
            if len(self._accepted) < LIMIT:
                self._accepted.append(now)
                return None
            self._blocked_until = now + PENALTY
        self.refused += 1
        return self._blocked_until

    def _forget(self, now: float) -> None:
        accepted = self._accepted
        if self._window == "rolling":
            while accepted and accepted[0] <= now - WINDOW:
                accepted.popleft()
        elif accepted and accepted[0] <= now - WINDOW:
            accepted.clear()


def one_way(network: Network, dice: random.Random) -> float:
    """Seconds on the wire in one direction."""
    if network == "ragged" and dice.random() < 0.02:
        return dice.uniform(0.5, 3.0)
    return dice.uniform(0.02, 0.15)


async def close_everything(
    policy: str, size: int, window: Window, network: Network, seed: int
) -> Paced:
    """Simulate one run; must be run in virtual time."""
    loop = asyncio.get_running_loop()
    dice = random.Random(seed)  # noqa: S311 - dice, not keys
    server = RateLimitedServer(window)
    slots: Slots = POLICIES[policy].make()
    connections = asyncio.Semaphore(CONNECTIONS)
    start = loop.time()

    async def post() -> float | None:
        there, back = one_way(network, dice), one_way(network, dice)
        async with connections:
            await asyncio.sleep(there)
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
    return Paced(policy, size, window, network, seed, loop.time() - start, server.refused)


def simulate(
    sizes: Sequence[int], seeds: int, policies: Sequence[str]
) -> Iterator[dict[str, object]]:
    """Every policy, size, window and network, so many times each."""
    for policy in policies:
        for size in sizes:
            for window in WINDOWS:
                for network in NETWORKS:
                    for seed in range(seeds):
                        run = close_everything(policy, size, window, network, seed)
                        yield asdict(run_in_virtual_time(run))
