"""The gate: which calls get a connection, and in what order."""

import asyncio
import gc

import pytest

from tests.effort import count_calls
from threecommas_async.endpoint import Priority
from threecommas_async.http.gate import Gate

CLOSE, READ = Priority.CLOSE, Priority.NORMAL

# --- the gate


class Passage:
    """Calls at a gate, in the order in which they pass."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.passed: list[str] = []

    def come(self, name: str, priority: Priority, *, closing: bool) -> asyncio.Task[None]:
        return asyncio.create_task(self._through(name, priority, closing=closing))

    async def _through(self, name: str, priority: Priority, *, closing: bool) -> None:
        await self.gate.enter(priority, closing=closing)
        self.passed.append(name)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_hanging_reads_do_not_block_closes() -> None:
    passage = Passage(Gate(20, reserve=2))
    for i in range(25):
        priority = CLOSE if i % 2 else READ  # including those that a close depends on
        passage.come(f"read {i}", priority, closing=False)
    await settle()
    assert len(passage.passed) == 18
    for i in range(4):
        passage.come(f"close {i}", CLOSE, closing=True)
    await settle()
    assert passage.passed[18:] == ["close 0", "close 1"]
    for i in (2, 3):
        passage.gate.leave()
        await settle()
        assert passage.passed[-1] == f"close {i}"


async def test_gate_admits_closes_and_their_reads_in_order_of_arrival_before_other_reads() -> None:
    passage = Passage(Gate(2, reserve=1))
    passage.come("hangs", READ, closing=False)
    passage.come("first", CLOSE, closing=True)
    for name, priority, closing in (
        ("read", READ, False),
        ("urgent read", CLOSE, False),
        ("close", CLOSE, True),
        ("later urgent read", CLOSE, False),
        ("cancel", READ, True),
    ):
        passage.come(name, priority, closing=closing)
    await settle()
    for _ in range(6):
        passage.gate.leave()
        await settle()
    # An urgent read may not take the last connection, and blocks no close behind it.
    assert passage.passed[2:] == ["close", "cancel", "urgent read", "later urgent read", "read"]


async def test_cancelled_waiter_at_the_gate_loses_no_connection() -> None:
    passage = Passage(Gate(1))
    passage.come("first", CLOSE, closing=True)
    cancelled = [passage.come(f"cancelled {i}", CLOSE, closing=True) for i in range(3)]
    passage.come("successor", READ, closing=False)
    await settle()
    cancelled[0].cancel()
    await settle()
    passage.gate.leave()  # grants it to a call that is cancelled at the same moment
    cancelled[1].cancel()
    cancelled[2].cancel()
    await settle()
    assert passage.passed == ["first", "successor"]
    passage.gate.leave()
    async with asyncio.timeout(1):
        await passage.gate.enter(READ, closing=False)


@pytest.mark.parametrize("found", ["before", "meanwhile"])
def test_gate_has_all_its_connections_after_an_event_loop_was_closed(found: str) -> None:
    gate, passed = Gate(2), list[str]()

    async def through(name: str) -> None:
        await gate.enter(CLOSE, closing=True)
        try:
            passed.append(name)
            await asyncio.sleep(1000)
        finally:
            gate.leave()

    async def go_on() -> None:
        again = [asyncio.create_task(through(f"again {i}")) for i in range(3)]
        await settle()
        assert passed[2:] == ["again 0", "again 1"]
        callers.clear()
        gc.collect()  # destroys the tasks of the closed loop, whose `finally` leaves the gate
        again[0].cancel()
        await settle()
        assert passed[4:] == ["again 2"]

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, __: None)  # it would log the tasks that never end
    callers = [loop.create_task(through(f"gone {i}")) for i in range(4)]
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    if found == "before":
        callers.clear()
        gc.collect()
    asyncio.run(go_on())


def test_cost_of_leaving_the_gate_does_not_grow_with_the_queue() -> None:
    async def calls(waiting: int) -> int:
        gate = Gate(1)
        callers = [asyncio.ensure_future(gate.enter(READ, closing=False)) for _ in range(waiting)]
        await settle()
        for task in callers[1 : waiting // 2]:
            task.cancel()
        gate.leave()  # skips the cancelled ones, once
        return count_calls(gate.leave)

    assert asyncio.run(calls(1000)) <= asyncio.run(calls(10)) + 3
