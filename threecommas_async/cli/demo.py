"""`threecommas demo`: a crash, rehearsed; `threecommas sandbox`: a place to rehearse one's own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from threecommas_async import AsyncClient
from threecommas_async.sandbox import Sandbox

from .audit import audit
from .closing import close_shown
from .pace import WatchedLimiter
from .render import report_data, report_table
from .screen import Exit, Screen
from .session import Session

if TYPE_CHECKING:
    from threecommas_async import CloseReport, SmartTrade

__all__ = ["demo", "serve"]

_LIMIT, _WINDOW, _PENALTY = 100, 60.0, 300.0
"""The documented limit: requests, seconds, seconds."""
_LATENCY = (0.02, 0.08)
"""Seconds that an answer takes, as over the internet."""


async def demo(screen: Screen, *, trades: int, seed: int, speed: float) -> int:
    """Close every trade of a sandbox, and hold the report against what the server did."""
    limiter = WatchedLimiter(_LIMIT, _WINDOW / speed, _PENALTY / speed)
    async with Sandbox(trades=trades, seed=seed, time_scale=speed, latency=_LATENCY) as sandbox:
        screen.say(
            f"An embedded 3Commas at {sandbox.base_url} with {trades} open SmartTrades; "
            f"it allows {_LIMIT} requests per {_WINDOW / speed:g} s."
        )

        def tell(report: CloseReport[SmartTrade]) -> int:
            seconds = asyncio.get_running_loop().time() - began
            found = audit(report, sandbox.ledger, limit=_LIMIT)
            ok = found.ok and len(report) == trades
            screen.result(
                {
                    **report_data(report),
                    "ok": ok,
                    "seconds": round(seconds, 1),
                    "ledger": found.data(),
                },
                report_table(report),
                found.table(),
            )
            screen.say(f"{found.carried_out} of {trades} trades closed in {seconds:.1f} s.")
            return Exit.OK if ok else Exit.NOT_ALL

        async with AsyncClient(
            sandbox.api_key,
            secret=sandbox.secret,
            base_url=sandbox.base_url,
            rate_limiter=limiter,
        ) as client:
            session = Session(screen, client, limiter)
            ids = [trade.id async for trade in client.smart_trades.list(status="active")]
            screen.say(f"The market turns: closing all {len(ids)} at market, all at once.")
            began = asyncio.get_running_loop().time()
            return tell(await close_shown(session, ids, interrupted=tell))


async def serve(screen: Screen, *, trades: int, seed: int, speed: float, port: int) -> int:
    """Serve a sandbox until Ctrl-C."""
    async with Sandbox(trades=trades, seed=seed, time_scale=speed, port=port) as sandbox:
        settings = {
            "THREECOMMAS_BASE_URL": sandbox.base_url,
            "THREECOMMAS_API_KEY": sandbox.api_key,
            "THREECOMMAS_API_SECRET": sandbox.secret,
        }
        lines = "\n".join(f"export {name}={value}" for name, value in settings.items())
        screen.result(settings, lines)
        if speed != 1:
            screen.say(
                "Its clock runs faster, so your limiter has to be "
                f"SlidingWindowLimiter({_LIMIT}, {_WINDOW / speed:g}, {_PENALTY / speed:g})."
            )
        screen.say(f"{trades} SmartTrades are open. Ctrl-C ends it.")
        with suppress(asyncio.CancelledError):  # Ctrl-C: how it is meant to end
            await asyncio.Event().wait()
        ledger = sandbox.ledger
        screen.say(
            f"Served {len(ledger.requests)} requests; {len(ledger.applied)} trades were "
            f"closed, {ledger.count(status=429)} requests were refused with 429."
        )
    return Exit.OK
