"""Calls in the `finally` of a cancelled task: a bot that closes its trades on the way out."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from tests.support import Api, client_of, states
from threecommas_async import AsyncClient, CloseState, OutcomeUnknownError, ThreeCommasError

pytestmark = pytest.mark.looptime


async def run_in_finally_of_cancelled_task(last_act: Callable[[], Awaitable[None]]) -> None:
    """Run `last_act` in the `finally` of a task that has been cancelled."""

    came_to_its_end = False

    async def bot() -> None:
        nonlocal came_to_its_end
        try:
            await asyncio.sleep(1e6)
        finally:
            await last_act()
            came_to_its_end = True

    task = asyncio.create_task(bot())
    await asyncio.sleep(0.01)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert came_to_its_end


def silent_client() -> AsyncClient:
    """Return a client whose server takes longer than an attempt may take."""
    return client_of(Api([1, 2], latency=1e6), attempt_timeout=5.0)


async def test_attempt_timeout_in_a_cancelled_task_raises_outcome_unknown() -> None:
    async def last_act() -> None:
        async with silent_client() as client:
            with pytest.raises(OutcomeUnknownError, match="5 s"):
                await client.smart_trades.get(1)
            with pytest.raises(OutcomeUnknownError):
                await client.smart_trades.close_by_market(1)

    await run_in_finally_of_cancelled_task(last_act)


async def test_close_many_in_a_cancelled_task_reports_an_outcome_for_every_trade() -> None:
    async def last_act() -> None:
        async with silent_client() as client:
            report = await client.smart_trades.close_many([1, 2])
            assert states(report) == {1: CloseState.UNKNOWN, 2: CloseState.UNKNOWN}
            assert {type(outcome.error) for outcome in report} == {OutcomeUnknownError}

    await run_in_finally_of_cancelled_task(last_act)


async def test_aclose_during_a_call_in_a_cancelled_task_raises_a_client_error() -> None:
    async def last_act() -> None:
        async with silent_client() as client:
            asyncio.get_running_loop().call_later(
                1, lambda: closing.append(asyncio.ensure_future(client.aclose()))
            )
            with pytest.raises(ThreeCommasError, match="the client was closed"):
                await client.smart_trades.get(1)

    closing: list[asyncio.Future[None]] = []
    await run_in_finally_of_cancelled_task(last_act)
    assert closing


async def test_second_cancellation_of_a_task_is_not_swallowed() -> None:
    after: list[str] = []

    async def bot() -> None:
        async with silent_client() as client:
            try:
                await asyncio.sleep(1e6)
            finally:
                await client.smart_trades.get(1)
                after.append("went on")

    task = asyncio.create_task(bot())
    for _ in range(2):
        await asyncio.sleep(0.1)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not after
