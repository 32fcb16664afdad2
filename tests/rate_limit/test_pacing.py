"""Pacing as a property: whatever the latencies and cancellations, no window exceeds the limit."""

import asyncio
import math
from collections import deque

import pytest
from attrs import frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support import in_virtual_time
from threecommas_async import SlidingWindowLimiter
from threecommas_async.endpoint import Bucket, Priority

seconds = st.floats(min_value=0.0, max_value=30.0, allow_nan=False)


@frozen
class Caller:
    """One request: when it is made, how long it takes each way, and how it ends.

    An unanswered request is given up `back` seconds after it was sent, and the server counts it at
    any time up to `late` seconds after that: `there` says where in between.
    """

    at: float
    there: float
    back: float
    priority: Priority
    gives_up_after: float | None
    sent: bool
    bucket: Bucket | None
    late: float | None


@st.composite
def callers(draw: st.DrawFn) -> Caller:
    priority = draw(st.sampled_from(Priority))
    bucket = Bucket("list", limit=2, window=5.0, penalty=5.0)
    return Caller(
        at=draw(seconds),
        there=draw(seconds) / 10,
        back=draw(seconds) / 10,
        priority=priority,
        gives_up_after=draw(st.none() | seconds),
        sent=draw(st.integers(0, 9)) > 0,
        bucket=bucket if priority is Priority.NORMAL and draw(st.booleans()) else None,
        late=draw(st.none() | seconds),
    )


@frozen
class Arrival:
    at: float
    caller: Caller


async def simulate(limiter: SlidingWindowLimiter, crowd: list[Caller]) -> list[Arrival]:
    """Run all callers; return what arrived at the server, and when."""
    arrivals: list[Arrival] = []

    async def call(caller: Caller) -> None:
        await asyncio.sleep(caller.at)
        permit = await limiter.acquire(caller.priority, bucket=caller.bucket)
        late = caller.late or 0.0
        try:
            if caller.sent and caller.late is not None:
                counted_in = caller.there / 3 * (caller.back + late)
                arrivals.append(Arrival(asyncio.get_running_loop().time() + counted_in, caller))
                await asyncio.sleep(caller.back)
            elif caller.sent:
                await asyncio.sleep(caller.there)
                arrivals.append(Arrival(asyncio.get_running_loop().time(), caller))
                await asyncio.sleep(caller.back)
        except asyncio.CancelledError:
            # Cancelled early: the server may still count it until then.
            late += caller.back
            raise
        finally:
            await limiter.release(permit, sent=caller.sent, late=late)

    async def call_or_give_up(caller: Caller) -> None:
        task = asyncio.create_task(call(caller))
        if caller.gives_up_after is not None:
            await asyncio.sleep(caller.at + caller.gives_up_after)
            task.cancel()
        await asyncio.wait({task})
        assert task.cancelled() or task.exception() is None

    async with asyncio.timeout(100_000):
        await asyncio.gather(*map(call_or_give_up, crowd))
    return arrivals


def most_in_a_rolling_window(arrivals: list[Arrival], window: float) -> int:
    recent: deque[float] = deque()
    most = 0
    for arrival in sorted(arrival.at for arrival in arrivals):
        # The virtual clock counts in microseconds; a slot is used again at the window's end.
        while recent and recent[0] <= arrival - window + 1e-5:
            recent.popleft()
        recent.append(arrival)
        most = max(most, len(recent))
    return most


def most_in_a_fixed_window(arrivals: list[Arrival], window: float) -> int:
    """Return the maximum for windows that begin with the first request after the previous one."""
    begin, count, most = -math.inf, 0, 0
    for arrival in sorted(arrival.at for arrival in arrivals):
        if arrival - begin >= window - 1e-5:
            begin, count = arrival, 0
        count += 1
        most = max(most, count)
    return most


@pytest.mark.slow
@settings(max_examples=150)
@given(
    crowd=st.lists(callers(), max_size=60),
    limit=st.integers(1, 12),
    window=st.sampled_from([1.0, 3.0, 10.0]),
)
def test_no_window_exceeds_the_limit(crowd: list[Caller], limit: int, window: float) -> None:
    limiter = SlidingWindowLimiter(limit=limit, window=window)
    arrivals = in_virtual_time(simulate(limiter, crowd))
    assert most_in_a_rolling_window(arrivals, window) <= limit
    assert most_in_a_fixed_window(arrivals, window) <= limit
    listed = [arrival for arrival in arrivals if arrival.caller.bucket]
    assert most_in_a_rolling_window(listed, 5.0) <= 2


@pytest.mark.slow
@settings(max_examples=100)
@given(crowd=st.lists(callers(), max_size=60), limit=st.integers(1, 12))
def test_every_patient_caller_is_served_and_no_slot_is_lost(
    crowd: list[Caller], limit: int
) -> None:
    limiter = SlidingWindowLimiter(limit=limit, window=3.0)
    arrivals = in_virtual_time(simulate(limiter, crowd))
    patient = [caller for caller in crowd if caller.gives_up_after is None and caller.sent]
    assert {id(caller) for caller in patient} <= {id(arrival.caller) for arrival in arrivals}

    async def all_slots() -> None:
        await asyncio.sleep(1_000)  # all windows have expired
        for _ in range(limit):
            async with asyncio.timeout(0):
                await limiter.acquire(Priority.CLOSE)

    in_virtual_time(all_slots())


@settings(max_examples=100)
@given(
    reads=st.integers(0, 30),
    closes=st.lists(seconds, max_size=30),
    limit=st.integers(2, 12),
    back=seconds,
)
# A close that is requested at the very moment a slot frees.
@pytest.mark.slow
@example(reads=2, closes=[3.0] * 3, limit=2, back=0.0)
@example(reads=3, closes=[4.0], limit=8, back=4.0)
def test_no_read_is_sent_while_a_close_waits(
    reads: int, closes: list[float], limit: int, back: float
) -> None:
    limiter = SlidingWindowLimiter(limit=limit, window=3.0)
    waiting_since: list[float] = []
    overtaken: list[float] = []

    async def close(at: float) -> None:
        await asyncio.sleep(at)
        asked = asyncio.get_running_loop().time()
        waiting_since.append(asked)
        permit = await limiter.acquire(Priority.CLOSE)
        waiting_since.remove(asked)
        await asyncio.sleep(back / 10)
        await limiter.release(permit, sent=True)

    async def read() -> None:
        for _ in range(5):
            permit = await limiter.acquire(Priority.NORMAL)
            now = asyncio.get_running_loop().time()
            await asyncio.sleep(0)  # lets closes granted before the read remove themselves
            # A close requested at the moment the read is granted may be too late.
            if any(asked < now for asked in waiting_since):
                overtaken.append(now)
            await asyncio.sleep(back / 10)
            await limiter.release(permit, sent=True)

    async def run() -> None:
        await asyncio.gather(*map(close, closes), *(read() for _ in range(reads)))

    in_virtual_time(run())
    assert overtaken == []
