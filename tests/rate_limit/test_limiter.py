"""The sliding-window limiter, on a virtual clock."""

import asyncio
import gc
import math
from contextlib import suppress

import pytest

from tests.effort import count_calls
from tests.limiters import acquire_behind_cancelled_queue, close_loop_with_pending_calls
from threecommas_async import ConfigurationError, RequestNotSentError, SlidingWindowLimiter
from threecommas_async.endpoint import Bucket, Priority
from threecommas_async.rate_limit import NoLimit, Permit, SlidingWindow

pytestmark = pytest.mark.looptime

CLOSE, READ = Priority.CLOSE, Priority.NORMAL
LIST = Bucket("list", limit=2, window=10.0, penalty=10.0)


def now() -> float:
    return asyncio.get_running_loop().time()


async def send(  # noqa: PLR0913 - one request
    limiter: SlidingWindowLimiter,
    log: list[tuple[float, str]],
    name: str,
    priority: Priority = CLOSE,
    *,
    latency: float = 0.1,
    bucket: Bucket | None = None,
) -> None:
    permit = await limiter.acquire(priority, bucket=bucket)
    log.append((now(), name))
    await asyncio.sleep(latency)
    await limiter.release(permit, sent=True)


# --- the window


def test_slot_is_free_again_one_window_after_its_answer() -> None:
    window = SlidingWindow(limit=1, window=60.0)
    window.take()
    assert window.free(1000.0) == 0
    window.hold(5.0)
    assert window.free(64.9) == 0
    assert window.free(65.0) == 1


def test_returned_slot_is_free_at_once() -> None:
    window = SlidingWindow(limit=1, window=60.0)
    window.take()
    window.give_back()
    assert window.free(0.0) == 1


def test_clock_that_steps_back_never_frees_a_slot_early() -> None:
    window = SlidingWindow(limit=2, window=60.0)
    window.take()
    window.take()
    window.hold(100.0)
    window.hold(40.0)
    assert window.free(159.9) == 0
    assert window.free(160.0) == 2


@pytest.mark.parametrize(
    ("nth", "at"),
    [(0, 10.0), (1, 65.0), (2, 66.0), (3, 70.0), (4, 70.0), (5, 125.0), (9, 130.0)],
)
def test_nth_slot_is_available_at_the_earliest_possible_time(nth: int, at: float) -> None:
    window = SlidingWindow(limit=5, window=60.0)
    for _ in range(4):
        window.take()
    window.hold(5.0)
    window.hold(6.0)
    if nth == 5:
        at = 10.0 + 60.0
    assert window.available_at(nth, 10.0) == at


def test_each_slot_expires_by_its_own_late_allowance() -> None:
    window = SlidingWindow(limit=4, window=60.0)
    for late in (30.0, 0.0, 10.0):
        window.take()
        window.hold(0.0, late)
    window.take()
    assert window.next_expiry(0.0) == 60.0
    # The one in flight may be answered now, and is then free before those that are held longer.
    assert [window.available_at(nth, 0.0) for nth in range(5)] == [60.0, 60.0, 70.0, 90.0, 120.0]
    assert [window.free(at) for at in (59.9, 60.0, 69.9, 70.0, 89.9, 90.0)] == [0, 1, 1, 2, 2, 3]


def test_not_before_counts_only_held_slots() -> None:
    window = SlidingWindow(limit=3, window=60.0)
    for answered_at in (0.0, 5.0):
        window.take()
        window.hold(answered_at)
    window.take()
    assert window.free(10.0) == 0
    assert window.not_before(0, 10.0) == 10.0  # a slot in flight may come back at any moment
    assert window.not_before(1, 10.0) == 60.0
    assert window.not_before(2, 10.0) == 65.0


def test_empty_window_has_no_expiry() -> None:
    assert SlidingWindow(5, 60.0).next_expiry(0.0) == math.inf


# --- the limiter


async def test_burst_up_to_the_limit_is_sent_at_once_and_the_rest_a_window_after_the_answers() -> (
    None
):
    limiter, log = SlidingWindowLimiter(limit=3, window=60.0), list[tuple[float, str]]()
    await asyncio.gather(*(send(limiter, log, str(i)) for i in range(7)))
    assert [round(at, 3) for at, _ in log] == [0, 0, 0, 60.1, 60.1, 60.1, 120.2]
    assert [name for _, name in log] == list("0123456")


async def test_slow_answer_delays_the_next_use_of_its_slot() -> None:
    limiter, log = SlidingWindowLimiter(limit=1, window=10.0), list[tuple[float, str]]()
    await asyncio.gather(send(limiter, log, "a", latency=25.0), send(limiter, log, "b"))
    assert [at for at, _ in log] == [0, 35.0]


async def test_unanswered_request_holds_its_slot_for_the_late_allowance() -> None:
    limiter = SlidingWindowLimiter(limit=2, window=60.0)
    given_up, answered = await limiter.acquire(CLOSE), await limiter.acquire(READ, bucket=LIST)
    await limiter.release(given_up, sent=True, late=30.0)
    await asyncio.sleep(5)
    await limiter.release(answered, sent=True)
    times: list[float] = []
    for _ in range(2):
        await limiter.acquire(CLOSE)
        times.append(now())
    assert times == [65.0, 90.0]


async def test_permit_of_a_local_limiter_never_expires() -> None:
    permit = await SlidingWindowLimiter(limit=1).acquire(CLOSE)
    await asyncio.sleep(1e6)
    assert permit.usable()


async def test_unsent_attempt_frees_its_slot_for_the_next_at_once() -> None:
    limiter = SlidingWindowLimiter(limit=1, window=60.0)
    permit = await limiter.acquire(CLOSE)
    waiter = asyncio.create_task(limiter.acquire(CLOSE))
    await asyncio.sleep(1)
    await limiter.release(permit, sent=False)
    await waiter
    assert now() == 1.0


async def test_queued_closes_go_before_reads_that_came_earlier() -> None:
    limiter, log = SlidingWindowLimiter(limit=2, window=10.0, reserve=0), list[tuple[float, str]]()
    async with asyncio.TaskGroup() as group:
        for i in range(4):
            group.create_task(send(limiter, log, f"read {i}", READ, latency=0))
        await asyncio.sleep(1)
        for i in range(2):
            group.create_task(send(limiter, log, f"close {i}", CLOSE, latency=0))
    assert log == [
        (0, "read 0"),
        (0, "read 1"),
        (10, "close 0"),
        (10, "close 1"),
        (20, "read 2"),
        (20, "read 3"),
    ]


async def test_reads_leave_the_reserve_to_closes() -> None:
    limiter, log = SlidingWindowLimiter(limit=20, window=60.0), list[tuple[float, str]]()
    async with asyncio.TaskGroup() as group:
        for i in range(30):
            group.create_task(send(limiter, log, f"read {i}", READ, latency=0))
        await asyncio.sleep(1)
        assert len(log) == 18
        group.create_task(send(limiter, log, "close", CLOSE, latency=0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert log[-1] == (1, "close")


@pytest.mark.parametrize(("limit", "reserve"), [(5, 0), (9, 0), (10, 1), (50, 5), (100, 10)])
async def test_default_reserve_is_a_tenth_of_the_limit_and_never_blocks_reads(
    limit: int, reserve: int
) -> None:
    limiter = SlidingWindowLimiter(limit=limit)
    assert limiter.reserve == reserve
    await limiter.acquire(READ)
    assert now() == 0.0


async def test_reads_pass_even_with_the_largest_reserve() -> None:
    limiter, log = SlidingWindowLimiter(limit=5, window=1.0, reserve=4), list[tuple[float, str]]()
    await asyncio.gather(*(send(limiter, log, str(i), READ, latency=0) for i in range(3)))
    assert [at for at, _ in log] == [0, 1, 2]


async def test_cancelled_waiter_uses_no_slot() -> None:
    limiter, log = SlidingWindowLimiter(limit=1, window=10.0), list[tuple[float, str]]()
    await send(limiter, log, "first", latency=0)
    waiters = [asyncio.create_task(send(limiter, log, f"gone {i}")) for i in range(5)]
    last = asyncio.create_task(send(limiter, log, "last"))
    await asyncio.sleep(1)
    for waiter in waiters:
        waiter.cancel()
    await last
    assert log == [(0, "first"), (10, "last")]


async def test_slot_granted_to_a_task_cancelled_at_the_same_moment_goes_to_the_next() -> None:
    limiter = SlidingWindowLimiter(limit=1, window=10.0)
    permit = await limiter.acquire(CLOSE)
    cancelled = asyncio.create_task(limiter.acquire(CLOSE))
    successor = asyncio.create_task(limiter.acquire(CLOSE))
    await asyncio.sleep(0)
    await limiter.release(permit, sent=False)  # grants it to `cancelled`
    cancelled.cancel()
    await successor
    assert now() == 0.0
    assert cancelled.cancelled()


async def test_reads_proceed_once_the_closes_ahead_of_them_are_cancelled() -> None:
    limiter = SlidingWindowLimiter(limit=2, window=10.0, reserve=0)
    await limiter.block(5.0)
    close = asyncio.create_task(limiter.acquire(CLOSE))
    read = asyncio.create_task(limiter.acquire(READ))
    await asyncio.sleep(1)
    close.cancel()
    await read
    assert now() == 5.0


async def test_nothing_is_sent_during_a_block_and_the_limit_applies_after_it() -> None:
    limiter, log = SlidingWindowLimiter(limit=2, window=10.0), list[tuple[float, str]]()
    await limiter.block(300.0)
    assert limiter.blocked_for() == 300.0
    await asyncio.gather(*(send(limiter, log, str(i), latency=0) for i in range(3)))
    assert [at for at, _ in log] == [300, 300, 310]
    assert limiter.blocked_for() == 0.0


async def test_shorter_block_does_not_end_a_longer_one() -> None:
    limiter = SlidingWindowLimiter()
    await limiter.block(300.0)
    await limiter.block(10.0)
    assert limiter.blocked_for() == 300.0


async def test_block_also_holds_calls_already_queued() -> None:
    limiter, log = SlidingWindowLimiter(limit=1, window=10.0), list[tuple[float, str]]()
    await send(limiter, log, "first", latency=0)
    waiter = asyncio.create_task(send(limiter, log, "second", latency=0))
    await asyncio.sleep(1)
    await limiter.block(60.0)
    await waiter
    assert log[-1] == (61, "second")


# --- the limit of an endpoint


async def test_endpoint_limit_applies_beside_the_general_limit() -> None:
    limiter, log = SlidingWindowLimiter(limit=100, window=60.0), list[tuple[float, str]]()
    await asyncio.gather(
        *(send(limiter, log, str(i), READ, latency=0, bucket=LIST) for i in range(5))
    )
    assert [at for at, _ in log] == [0, 0, 10, 10, 20]


async def test_call_waiting_for_its_endpoint_limit_does_not_block_those_behind_it() -> None:
    limiter, log = SlidingWindowLimiter(limit=100, window=60.0), list[tuple[float, str]]()
    lists = [send(limiter, log, f"list {i}", READ, latency=0, bucket=LIST) for i in range(3)]
    await asyncio.gather(*lists, send(limiter, log, "get", READ, latency=0))
    assert log == [(0, "list 0"), (0, "list 1"), (0, "get"), (10, "list 2")]


async def test_call_waiting_for_its_endpoint_limit_gets_the_general_slot_when_both_are_free() -> (
    None
):
    limiter, log = SlidingWindowLimiter(limit=3, window=15.0, reserve=0), list[tuple[float, str]]()
    lists = [send(limiter, log, f"list {i}", READ, latency=0, bucket=LIST) for i in range(4)]
    await asyncio.gather(*lists, send(limiter, log, "get", READ, latency=0))
    assert log == [(0, "list 0"), (0, "list 1"), (0, "get"), (15, "list 2"), (15, "list 3")]


# --- deadlines


async def test_call_without_a_slot_before_its_deadline_raises_not_sent_at_once_with_the_wait() -> (
    None
):
    limiter = SlidingWindowLimiter(limit=1, window=60.0)
    await limiter.release(await limiter.acquire(CLOSE), sent=True)
    with pytest.raises(RequestNotSentError, match=r"no slot .* comes free in 60\.0 s") as refusal:
        await limiter.acquire(CLOSE, deadline=now() + 59.0)
    assert now() == 0.0
    assert refusal.value.available_in == 60.0


async def test_deadline_is_not_refused_while_slots_in_flight_may_come_back() -> None:
    limiter = SlidingWindowLimiter(limit=2, window=60.0)
    answered, connecting = await limiter.acquire(CLOSE), await limiter.acquire(CLOSE)
    await limiter.release(answered, sent=True)
    close = asyncio.create_task(limiter.acquire(CLOSE, deadline=10.0))
    await asyncio.sleep(1)
    await limiter.release(connecting, sent=False)  # no connection: the slot comes back
    await close
    assert now() == 1.0


async def test_deadline_is_not_refused_because_of_queued_calls_that_may_be_cancelled() -> None:
    await acquire_behind_cancelled_queue(SlidingWindowLimiter(limit=1, window=60.0))
    assert now() == 60.0


async def test_refusal_before_the_deadline_estimates_the_wait_behind_the_queue() -> None:
    limiter = SlidingWindowLimiter(limit=1, window=60.0)
    await limiter.release(await limiter.acquire(CLOSE), sent=True)
    waiting = [asyncio.create_task(limiter.acquire(CLOSE)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(RequestNotSentError) as refusal:
        await limiter.acquire(CLOSE, deadline=59.0)
    assert now() == 0.0
    assert refusal.value.available_in == 180.0
    for task in waiting:
        task.cancel()


async def test_call_cancelled_at_its_deadline_uses_no_slot() -> None:
    limiter = SlidingWindowLimiter(limit=1, window=60.0)
    permit = await limiter.acquire(CLOSE)
    cancelled = asyncio.create_task(limiter.acquire(CLOSE, deadline=5.0))
    asyncio.get_running_loop().call_at(5.0, cancelled.cancel)
    await asyncio.wait({cancelled})
    assert cancelled.cancelled()
    del cancelled
    gc.collect()  # an exception never retrieved would be logged now
    await limiter.release(permit, sent=False)
    await limiter.acquire(CLOSE, deadline=6.0)
    assert now() == 5.0


async def test_slot_that_frees_at_the_deadline_is_used_or_passed_on() -> None:
    limiter = SlidingWindowLimiter(limit=1, window=10.0)
    await limiter.release(await limiter.acquire(CLOSE), sent=True)
    both = [asyncio.create_task(limiter.acquire(CLOSE, deadline=10.0)) for _ in range(2)]
    await asyncio.wait(both)
    assert now() == 10.0
    assert [task.exception() is None for task in both].count(True) <= 1
    for task in both:
        if task.exception() is None:
            await limiter.release(task.result(), sent=False)
    await limiter.acquire(CLOSE, deadline=10.0)


async def test_deadline_counts_the_reserve_for_reads_only() -> None:
    limiter = SlidingWindowLimiter(limit=10, window=60.0)
    for _ in range(9):
        await limiter.release(await limiter.acquire(READ), sent=True)
    with pytest.raises(RequestNotSentError):
        await limiter.acquire(READ, deadline=59.0)
    await limiter.acquire(CLOSE, deadline=59.0)


async def test_deadline_counts_a_block() -> None:
    limiter = SlidingWindowLimiter()
    await limiter.block(300.0)
    with pytest.raises(RequestNotSentError) as refusal:
        await limiter.acquire(CLOSE, deadline=299.0)
    assert refusal.value.available_in == 300.0


async def test_call_whose_expected_slot_does_not_free_raises_not_sent_at_its_deadline() -> None:
    limiter = SlidingWindowLimiter(limit=1, window=10.0)
    permit = await limiter.acquire(CLOSE)  # in flight: its answer takes longer than expected
    with pytest.raises(RequestNotSentError):
        await limiter.acquire(CLOSE, deadline=15.0)
    assert now() == 15.0
    await limiter.release(permit, sent=True)
    await limiter.acquire(CLOSE, deadline=30.0)
    assert now() == 25.0


# --- a long queue


async def fill(limiter: SlidingWindowLimiter, waiting: int) -> list[asyncio.Task[Permit]]:
    """Use up the endpoint's limit, and queue `waiting` more calls for it."""
    for _ in range(LIST.limit):
        await limiter.release(await limiter.acquire(READ, bucket=LIST), sent=True)
    queued = [
        asyncio.create_task(limiter.acquire(READ, bucket=LIST, deadline=1e6))
        for _ in range(waiting)
    ]
    await asyncio.sleep(1)
    return queued


@pytest.mark.parametrize("action", ["goes", "is refused", "leaves"])
async def test_cost_per_call_does_not_grow_with_the_queue(action: str) -> None:
    async def calls(waiting: int) -> int:
        limiter = SlidingWindowLimiter(limit=10)
        queued = await fill(limiter, waiting)
        if action == "is refused":
            for _ in range(8):
                await limiter.release(await limiter.acquire(CLOSE), sent=True)
        waiter = limiter.acquire(CLOSE, bucket=LIST if action == "leaves" else None, deadline=50.0)
        if action == "leaves":
            waiter.send(None)

        def go_on() -> None:
            with suppress(StopIteration, RequestNotSentError, asyncio.CancelledError):
                waiter.throw(asyncio.CancelledError) if action == "leaves" else waiter.send(None)

        made = count_calls(go_on)
        for task in queued:
            task.cancel()
        return made

    assert await calls(1000) <= 1.5 * await calls(10)  # the timer heap is a little deeper


# --- several event loops, and settings


def test_calls_in_flight_on_a_closed_event_loop_hold_their_slots_for_one_window() -> None:
    limiter = SlidingWindowLimiter(limit=3, window=0.2)

    async def go_on() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(RequestNotSentError):
            await limiter.acquire(CLOSE, deadline=loop.time() + 0.1)
        gone.clear()
        gc.collect()  # destroys the tasks of the closed loop
        async with asyncio.timeout(5):
            for _ in range(3):
                await limiter.acquire(CLOSE)

    gone = close_loop_with_pending_calls(limiter, calls=6, after=0.01, sent=False)
    asyncio.run(go_on())


def test_limiter_keeps_its_ledger_across_event_loops() -> None:
    limiter = SlidingWindowLimiter(limit=1, window=0.2)

    async def use() -> None:
        permit = await limiter.acquire(CLOSE)
        waiting = asyncio.create_task(limiter.acquire(CLOSE))
        await asyncio.sleep(0)
        waiting.cancel()
        await limiter.release(permit, sent=True)

    asyncio.run(use())
    asyncio.run(use())


def test_repr_of_a_limiter_shows_its_settings() -> None:
    limiter = SlidingWindowLimiter(limit=50, window=6.0, penalty=30.0)
    text = "SlidingWindowLimiter(limit=50, window=6.0, penalty=30.0, reserve=5)"
    assert repr(limiter) == text


@pytest.mark.parametrize(
    "settings",
    [
        {"limit": 0},
        {"limit": True},
        {"limit": 1.5},
        {"window": 0},
        {"window": math.inf},
        {"window": "60"},
        {"penalty": -1.0},
        {"penalty": True},
        {"reserve": -1},
        {"reserve": 100},
        {"reserve": 1.5},
    ],
)
def test_invalid_limiter_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        SlidingWindowLimiter(**settings)  # type: ignore[arg-type]


async def test_no_limit_never_waits_but_respects_blocks() -> None:
    limiter = NoLimit()
    for _ in range(1000):
        await limiter.release(await limiter.acquire(CLOSE), sent=True)
    assert now() == 0.0
    await limiter.block(5.0)
    with pytest.raises(RequestNotSentError):
        await limiter.acquire(CLOSE, deadline=4.0)
    assert isinstance(await limiter.acquire(CLOSE, deadline=6.0), Permit)
    assert now() == 5.0
