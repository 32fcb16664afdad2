"""Pacing, on a virtual clock."""

import asyncio
import gc
import math
from contextlib import suppress

import pytest

from tests.effort import effort
from tests.limiters import closed_in_mid_run, outlast_a_crowd
from threecommas_async import ConfigurationError, RequestNotSentError, SlidingWindowLimiter
from threecommas_async.endpoint import Bucket, Priority
from threecommas_async.rate_limit.limiter import NoLimit, Permit, SlidingWindow

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


# --- the arithmetic


def test_a_slot_is_free_again_one_window_after_its_answer() -> None:
    window = SlidingWindow(limit=1, window=60.0)
    window.take()
    assert window.free(1000.0) == 0
    window.hold(5.0)
    assert window.free(64.9) == 0
    assert window.free(65.0) == 1


def test_a_slot_given_back_is_free_at_once() -> None:
    window = SlidingWindow(limit=1, window=60.0)
    window.take()
    window.give_back()
    assert window.free(0.0) == 1


def test_a_clock_that_steps_back_never_frees_a_slot_early() -> None:
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
def test_the_time_of_the_nth_slot_is_the_earliest_possible(nth: int, at: float) -> None:
    window = SlidingWindow(limit=5, window=60.0)
    for _ in range(4):
        window.take()
    window.hold(5.0)
    window.hold(6.0)
    if nth == 5:
        at = 10.0 + 60.0
    assert window.available_at(nth, 10.0) == at


def test_each_slot_comes_free_in_its_own_time_however_late_it_may_be_counted() -> None:
    window = SlidingWindow(limit=4, window=60.0)
    for late in (30.0, 0.0, 10.0):
        window.take()
        window.hold(0.0, late)
    window.take()
    assert window.next_expiry(0.0) == 60.0
    # The one under way may be answered now, and is then free before those that are held longer.
    assert [window.available_at(nth, 0.0) for nth in range(5)] == [60.0, 60.0, 70.0, 90.0, 120.0]
    assert [window.free(at) for at in (59.9, 60.0, 69.9, 70.0, 89.9, 90.0)] == [0, 1, 1, 2, 2, 3]


def test_what_is_certain_is_only_when_held_slots_come_free() -> None:
    window = SlidingWindow(limit=3, window=60.0)
    for answered_at in (0.0, 5.0):
        window.take()
        window.hold(answered_at)
    window.take()
    assert window.free(10.0) == 0
    assert window.not_before(0, 10.0) == 10.0  # what is under way may come back at any moment
    assert window.not_before(1, 10.0) == 60.0
    assert window.not_before(2, 10.0) == 65.0


def test_nothing_held_means_no_expiry() -> None:
    assert SlidingWindow(5, 60.0).next_expiry(0.0) == math.inf


# --- the limiter


async def test_a_burst_up_to_the_limit_goes_at_once_and_the_rest_a_window_after_the_answers() -> (
    None
):
    limiter, log = SlidingWindowLimiter(limit=3, window=60.0), list[tuple[float, str]]()
    await asyncio.gather(*(send(limiter, log, str(i)) for i in range(7)))
    assert [round(at, 3) for at, _ in log] == [0, 0, 0, 60.1, 60.1, 60.1, 120.2]
    assert [name for _, name in log] == list("0123456")


async def test_a_slow_answer_delays_the_slot_it_holds() -> None:
    limiter, log = SlidingWindowLimiter(limit=1, window=10.0), list[tuple[float, str]]()
    await asyncio.gather(send(limiter, log, "a", latency=25.0), send(limiter, log, "b"))
    assert [at for at, _ in log] == [0, 35.0]


async def test_a_request_without_an_answer_holds_its_slot_longer_by_what_it_may_still_take() -> (
    None
):
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


async def test_a_permit_of_this_process_may_be_used_however_old() -> None:
    permit = await SlidingWindowLimiter(limit=1).acquire(CLOSE)
    await asyncio.sleep(1e6)
    assert permit.usable()


async def test_an_attempt_that_was_not_sent_frees_its_slot_for_the_next_at_once() -> None:
    limiter = SlidingWindowLimiter(limit=1, window=60.0)
    permit = await limiter.acquire(CLOSE)
    waiter = asyncio.create_task(limiter.acquire(CLOSE))
    await asyncio.sleep(1)
    await limiter.release(permit, sent=False)
    await waiter
    assert now() == 1.0


async def test_waiting_closes_go_before_reads_that_came_earlier() -> None:
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
async def test_the_reserve_is_a_tenth_and_never_shuts_reads_out(limit: int, reserve: int) -> None:
    limiter = SlidingWindowLimiter(limit=limit)
    assert limiter.reserve == reserve
    await limiter.acquire(READ)
    assert now() == 0.0


async def test_reads_pass_even_with_the_largest_reserve() -> None:
    limiter, log = SlidingWindowLimiter(limit=5, window=1.0, reserve=4), list[tuple[float, str]]()
    await asyncio.gather(*(send(limiter, log, str(i), READ, latency=0) for i in range(3)))
    assert [at for at, _ in log] == [0, 1, 2]


async def test_a_cancelled_waiter_burns_no_slot() -> None:
    limiter, log = SlidingWindowLimiter(limit=1, window=10.0), list[tuple[float, str]]()
    await send(limiter, log, "first", latency=0)
    waiters = [asyncio.create_task(send(limiter, log, f"gone {i}")) for i in range(5)]
    last = asyncio.create_task(send(limiter, log, "last"))
    await asyncio.sleep(1)
    for waiter in waiters:
        waiter.cancel()
    await last
    assert log == [(0, "first"), (10, "last")]


async def test_a_slot_granted_to_a_task_cancelled_in_the_same_moment_goes_to_the_next() -> None:
    limiter = SlidingWindowLimiter(limit=1, window=10.0)
    permit = await limiter.acquire(CLOSE)
    doomed = asyncio.create_task(limiter.acquire(CLOSE))
    heir = asyncio.create_task(limiter.acquire(CLOSE))
    await asyncio.sleep(0)
    await limiter.release(permit, sent=False)  # grants it to `doomed`
    doomed.cancel()
    await heir
    assert now() == 0.0
    assert doomed.cancelled()


async def test_reads_go_on_as_soon_as_the_closes_ahead_of_them_give_up() -> None:
    limiter = SlidingWindowLimiter(limit=2, window=10.0, reserve=0)
    await limiter.block(5.0)
    close = asyncio.create_task(limiter.acquire(CLOSE))
    read = asyncio.create_task(limiter.acquire(READ))
    await asyncio.sleep(1)
    close.cancel()
    await read
    assert now() == 5.0


async def test_nothing_leaves_before_a_block_is_over_and_then_all_that_may() -> None:
    limiter, log = SlidingWindowLimiter(limit=2, window=10.0), list[tuple[float, str]]()
    await limiter.block(300.0)
    assert limiter.blocked_for() == 300.0
    await asyncio.gather(*(send(limiter, log, str(i), latency=0) for i in range(3)))
    assert [at for at, _ in log] == [300, 300, 310]
    assert limiter.blocked_for() == 0.0


async def test_a_shorter_block_does_not_end_a_longer_one() -> None:
    limiter = SlidingWindowLimiter()
    await limiter.block(300.0)
    await limiter.block(10.0)
    assert limiter.blocked_for() == 300.0


async def test_a_block_that_comes_while_others_wait_holds_them_too() -> None:
    limiter, log = SlidingWindowLimiter(limit=1, window=10.0), list[tuple[float, str]]()
    await send(limiter, log, "first", latency=0)
    waiter = asyncio.create_task(send(limiter, log, "second", latency=0))
    await asyncio.sleep(1)
    await limiter.block(60.0)
    await waiter
    assert log[-1] == (61, "second")


# --- an endpoint's own limit


async def test_an_endpoints_own_limit_is_kept_beside_the_general_one() -> None:
    limiter, log = SlidingWindowLimiter(limit=100, window=60.0), list[tuple[float, str]]()
    await asyncio.gather(
        *(send(limiter, log, str(i), READ, latency=0, bucket=LIST) for i in range(5))
    )
    assert [at for at, _ in log] == [0, 0, 10, 10, 20]


async def test_one_held_up_by_its_own_limit_does_not_hold_up_those_behind_it() -> None:
    limiter, log = SlidingWindowLimiter(limit=100, window=60.0), list[tuple[float, str]]()
    lists = [send(limiter, log, f"list {i}", READ, latency=0, bucket=LIST) for i in range(3)]
    await asyncio.gather(*lists, send(limiter, log, "get", READ, latency=0))
    assert log == [(0, "list 0"), (0, "list 1"), (0, "get"), (10, "list 2")]


async def test_one_held_up_by_its_own_limit_takes_the_general_slot_when_both_are_free() -> None:
    limiter, log = SlidingWindowLimiter(limit=3, window=15.0, reserve=0), list[tuple[float, str]]()
    lists = [send(limiter, log, f"list {i}", READ, latency=0, bucket=LIST) for i in range(4)]
    await asyncio.gather(*lists, send(limiter, log, "get", READ, latency=0))
    assert log == [(0, "list 0"), (0, "list 1"), (0, "get"), (15, "list 2"), (15, "list 3")]


# --- deadlines


async def test_what_cannot_be_sent_in_time_is_refused_at_once_and_told_when_it_could() -> None:
    limiter = SlidingWindowLimiter(limit=1, window=60.0)
    await limiter.release(await limiter.acquire(CLOSE), sent=True)
    with pytest.raises(RequestNotSentError, match=r"no slot .* comes free in 60\.0 s") as refusal:
        await limiter.acquire(CLOSE, deadline=now() + 59.0)
    assert now() == 0.0
    assert refusal.value.available_in == 60.0


async def test_a_deadline_is_not_refused_while_slots_under_way_may_still_come_back() -> None:
    limiter = SlidingWindowLimiter(limit=2, window=60.0)
    answered, connecting = await limiter.acquire(CLOSE), await limiter.acquire(CLOSE)
    await limiter.release(answered, sent=True)
    close = asyncio.create_task(limiter.acquire(CLOSE, deadline=10.0))
    await asyncio.sleep(1)
    await limiter.release(connecting, sent=False)  # no connection: it gives its slot back
    await close
    assert now() == 1.0


async def test_a_deadline_is_not_refused_because_of_those_ahead_for_they_may_leave() -> None:
    await outlast_a_crowd(SlidingWindowLimiter(limit=1, window=60.0))
    assert now() == 60.0


async def test_who_is_refused_is_told_what_to_expect_with_those_ahead() -> None:
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


async def test_who_is_cancelled_as_its_deadline_comes_burns_no_slot() -> None:
    limiter = SlidingWindowLimiter(limit=1, window=60.0)
    permit = await limiter.acquire(CLOSE)
    doomed = asyncio.create_task(limiter.acquire(CLOSE, deadline=5.0))
    asyncio.get_running_loop().call_at(5.0, doomed.cancel)
    await asyncio.wait({doomed})
    assert doomed.cancelled()
    del doomed
    gc.collect()  # an error that nobody took would be told now
    await limiter.release(permit, sent=False)
    await limiter.acquire(CLOSE, deadline=6.0)
    assert now() == 5.0


async def test_a_slot_that_comes_at_the_deadline_is_taken_or_passed_on() -> None:
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


async def test_a_deadline_counts_the_reserve_for_reads_only() -> None:
    limiter = SlidingWindowLimiter(limit=10, window=60.0)
    for _ in range(9):
        await limiter.release(await limiter.acquire(READ), sent=True)
    with pytest.raises(RequestNotSentError):
        await limiter.acquire(READ, deadline=59.0)
    await limiter.acquire(CLOSE, deadline=59.0)


async def test_a_deadline_counts_a_block() -> None:
    limiter = SlidingWindowLimiter()
    await limiter.block(300.0)
    with pytest.raises(RequestNotSentError) as refusal:
        await limiter.acquire(CLOSE, deadline=299.0)
    assert refusal.value.available_in == 300.0


async def test_a_slot_that_does_not_come_in_time_after_all_is_refused_at_the_deadline() -> None:
    limiter = SlidingWindowLimiter(limit=1, window=10.0)
    permit = await limiter.acquire(CLOSE)  # on its way: its answer takes longer than anyone knew
    with pytest.raises(RequestNotSentError):
        await limiter.acquire(CLOSE, deadline=15.0)
    assert now() == 15.0
    await limiter.release(permit, sent=True)
    await limiter.acquire(CLOSE, deadline=30.0)
    assert now() == 25.0


# --- a crowd


async def fill(limiter: SlidingWindowLimiter, waiting: int) -> list[asyncio.Task[Permit]]:
    """Use up the list's own limit, and let so many more stand in line for it."""
    for _ in range(LIST.limit):
        await limiter.release(await limiter.acquire(READ, bucket=LIST), sent=True)
    crowd = [
        asyncio.create_task(limiter.acquire(READ, bucket=LIST, deadline=1e6))
        for _ in range(waiting)
    ]
    await asyncio.sleep(1)
    return crowd


@pytest.mark.parametrize("deed", ["goes", "is refused", "leaves"])
async def test_what_is_done_for_one_does_not_grow_with_those_who_wait(deed: str) -> None:
    async def calls(waiting: int) -> int:
        limiter = SlidingWindowLimiter(limit=10)
        crowd = await fill(limiter, waiting)
        if deed == "is refused":
            for _ in range(8):
                await limiter.release(await limiter.acquire(CLOSE), sent=True)
        waiter = limiter.acquire(CLOSE, bucket=LIST if deed == "leaves" else None, deadline=50.0)
        if deed == "leaves":
            waiter.send(None)

        def go_on() -> None:
            with suppress(StopIteration, RequestNotSentError, asyncio.CancelledError):
                waiter.throw(asyncio.CancelledError) if deed == "leaves" else waiter.send(None)

        made = effort(go_on)
        for task in crowd:
            task.cancel()
        return made

    assert await calls(1000) <= 1.5 * await calls(10)  # the heap of the timers is a little deeper


# --- life beyond one loop, and settings


def test_what_was_under_way_on_an_event_loop_closed_in_mid_run_holds_its_slots_a_window() -> None:
    limiter = SlidingWindowLimiter(limit=3, window=0.2)

    async def go_on() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(RequestNotSentError):
            await limiter.acquire(CLOSE, deadline=loop.time() + 0.1)
        gone.clear()
        gc.collect()  # what is left over of the loop before comes to its end
        async with asyncio.timeout(5):
            for _ in range(3):
                await limiter.acquire(CLOSE)

    gone = closed_in_mid_run(limiter, calls=6, after=0.01, sent=False)
    asyncio.run(go_on())


def test_a_limiter_outlives_an_event_loop_and_keeps_its_books() -> None:
    limiter = SlidingWindowLimiter(limit=1, window=0.2)

    async def use() -> None:
        permit = await limiter.acquire(CLOSE)
        waiting = asyncio.create_task(limiter.acquire(CLOSE))
        await asyncio.sleep(0)
        waiting.cancel()
        await limiter.release(permit, sent=True)

    asyncio.run(use())
    asyncio.run(use())


def test_its_text_tells_the_settings() -> None:
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
def test_settings_that_cannot_work_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        SlidingWindowLimiter(**settings)  # type: ignore[arg-type]


async def test_without_a_limit_nobody_waits_but_blocks_are_kept() -> None:
    limiter = NoLimit()
    for _ in range(1000):
        await limiter.release(await limiter.acquire(CLOSE), sent=True)
    assert now() == 0.0
    await limiter.block(5.0)
    with pytest.raises(RequestNotSentError):
        await limiter.acquire(CLOSE, deadline=4.0)
    assert isinstance(await limiter.acquire(CLOSE, deadline=6.0), Permit)
    assert now() == 5.0
