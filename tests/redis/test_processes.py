"""Several processes on one real Redis; the sandbox checks what they sent."""

import asyncio
import json
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any

import pytest

from threecommas_async import RequestNotSentError
from threecommas_async.endpoint import Priority
from threecommas_async.redis import RedisLimiter
from threecommas_async.sandbox import RateLimit, Sandbox

CLOSE = Priority.CLOSE
WORKER = str(Path(__file__).with_name("worker.py"))


async def start(action: str, settings: dict[str, Any], **arguments: object) -> Process:
    texts = json.dumps(settings), json.dumps(arguments)
    return await asyncio.create_subprocess_exec(
        sys.executable, WORKER, action, *texts, stdin=PIPE, stdout=PIPE
    )


async def result(process: Process) -> Any:
    out, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(out.splitlines()[-1])


@pytest.mark.slow
async def test_processes_that_share_a_redis_close_200_trades_within_the_limit(
    url: str, key: str
) -> None:
    limit, window = 60, 0.6
    settings = {"redis": url, "limit": limit, "window": window, "key": key}
    async with Sandbox(
        trades=200,
        rate_limit=RateLimit(requests=limit, window=window),
        latency=(0.0, 0.05),
    ) as sandbox:
        caller = {
            "api_key": sandbox.api_key,
            "secret": sandbox.secret,
            "base_url": sandbox.base_url,
        }
        parts = [sandbox.trade_ids[i::2] for i in range(2)]
        closers = [await start("close", settings, sandbox=caller, ids=part) for part in parts]
        counts = [await result(closer) for closer in closers]
        ledger = sandbox.ledger
        assert ledger.max_in_window(window) <= limit
        assert ledger.breaches == []
        assert ledger.applied == set(sandbox.trade_ids)
        assert ledger.repeated == []
        assert counts == [{"ACCEPTED": 100}, {"ACCEPTED": 100}]
        assert ledger.count() == 240


@pytest.mark.slow
async def test_slots_of_a_killed_process_come_free_late_not_early(url: str, key: str) -> None:
    lease, window = 0.3, 0.3
    settings: dict[str, Any] = {
        "redis": url,
        "limit": 3,
        "window": window,
        "lease": lease,
        "key": key,
    }
    process = await start("hold", settings, slots=3)
    assert process.stdout
    assert await process.stdout.readline() == b"held\n"
    async with RedisLimiter(**settings) as limiter:
        waiter = asyncio.create_task(limiter.acquire(CLOSE))
        await asyncio.sleep(2 * (lease + window))
        assert not waiter.done()  # the process is alive and renews its lease
        process.kill()
        killed = time.monotonic()
        permit = await waiter
        assert time.monotonic() - killed >= window
        assert time.monotonic() - killed < 20 * (lease + window)
        await limiter.release(permit, sent=False)
    await process.communicate()


async def test_permits_expire_while_their_process_is_stopped(url: str, key: str) -> None:
    lease, window, slots = 0.4, 0.2, 40
    settings: dict[str, Any] = {
        "redis": url,
        "limit": slots,
        "window": window,
        "lease": lease,
        "key": key,
    }
    process = await start("use_later", settings, slots=slots)
    assert process.stdout
    assert process.stdin
    assert await process.stdout.readline() == b"held\n"
    process.send_signal(signal.SIGSTOP)
    async with RedisLimiter(**settings) as limiter:
        # Its permits have expired, so this limiter gets all slots.
        permits = [await limiter.acquire(CLOSE) for _ in range(slots)]
        process.send_signal(signal.SIGCONT)
        process.stdin.write(b"\n")
        await process.stdin.drain()
        for permit in permits:
            await limiter.release(permit, sent=False)
        assert await result(process) == 0


async def test_a_block_of_one_process_applies_to_another(url: str, key: str) -> None:
    await result(await start("block", {"redis": url, "key": key}, seconds=300.0))
    async with RedisLimiter(url, key=key) as limiter:
        with pytest.raises(RequestNotSentError) as refusal:
            await limiter.acquire(CLOSE, deadline=asyncio.get_running_loop().time() + 10)
        assert 200 < limiter.blocked_for() <= 300
    assert refusal.value.available_in == pytest.approx(limiter.blocked_for(), abs=5)
