"""`threecommas demo`: a crash, rehearsed; `threecommas sandbox`: a place to rehearse one's own."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from ..sandbox import Faults, Sandbox
from .audit import audit
from .closing import shown
from .faults import struck
from .pace import WatchedLimiter
from .render import report_data, report_table
from .screen import Exit, Screen
from .session import opened

if TYPE_CHECKING:
    from .. import CloseReport, SmartTrade
    from ..client import ClientSettings

__all__ = ["demo", "serve"]

_LIMIT, _WINDOW, _PENALTY = 100, 60.0, 300.0
"""The documented limit: requests, seconds, seconds."""
_LATENCY = (0.02, 0.08)
"""Seconds that an answer takes, as over the internet."""
_PATIENCE = 2.0
"""Seconds that the client waits for an answer where there are faults: nobody watches 30 s of it."""
_SLOW, _SILENCE = 0.5 * _PATIENCE, 1.5 * _PATIENCE
"""Seconds that an answer is late, and that a connection stays open without one."""


async def demo(screen: Screen, *, trades: int, seed: int, speed: float, faults: float = 0.0) -> int:
    """Close every trade of a sandbox, and hold the report against what the server did."""
    limiter = WatchedLimiter(_LIMIT, _WINDOW / speed, _PENALTY / speed)
    async with Sandbox(
        trades=trades,
        seed=seed,
        time_scale=speed,
        latency=_LATENCY,
        faults=Faults.mixed(faults, slow=_SLOW, silence=_SILENCE),
    ) as sandbox:
        screen.say(
            f"An embedded 3Commas at {sandbox.base_url}: {trades} open SmartTrades, "
            f"{_LIMIT} requests per {_WINDOW / speed:g} s."
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
            through = f", through {sum(found.faults.values())} faults" if faults else ""
            screen.say(
                f"{found.carried_out} of {trades} trades closed in {seconds:.1f} s{through}."
            )
            return Exit.OK if ok else Exit.NOT_ALL

        settings: ClientSettings = {"secret": sandbox.secret, "base_url": sandbox.base_url}
        if faults:
            settings["timeout"] = _PATIENCE
            screen.say(
                f"{faults:.0%} of the closes meet a fault, "
                "some before and some after they are carried out."
            )
        async with opened(screen, limiter, sandbox.api_key, **settings) as session:
            close_many = session.client.smart_trades.close_many
            active = session.client.smart_trades.list(status="active")
            ids = [trade.id async for trade in active]
            screen.say(f"The market turns: closing all {len(ids)} at market, all at once.")
            began = asyncio.get_running_loop().time()
            report = await shown(
                session, ids, lambda saw: close_many(ids, on_outcome=saw), interrupted=tell
            )
            return tell(report)


async def serve(screen: Screen, sandbox: Sandbox, *, speed: float) -> int:
    """Serve a sandbox until Ctrl-C."""
    async with sandbox:
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
        deaf = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as in the background
        how = f"kill {os.getpid()}" if deaf else "Ctrl-C"
        screen.say(f"{_population(sandbox)} {how} ends it.")
        with suppress(asyncio.CancelledError):  # how it is meant to end
            await asyncio.Event().wait()
        _tell_served(screen, sandbox)
    return Exit.OK


def _population(sandbox: Sandbox) -> str:
    parts = [f"{len(sandbox.trade_ids)} SmartTrades are open"]
    if sandbox.pending_ids:
        parts.append(f"{len(sandbox.pending_ids)} more are not entered")
    if sandbox.deal_ids:
        parts.append(f"bot {sandbox.bot_id} has {len(sandbox.deal_ids)} deals open")
    return f"{', '.join(parts)}."


def _tell_served(screen: Screen, sandbox: Sandbox) -> None:
    ledger, faults = sandbox.ledger, struck(sandbox.ledger)
    screen.say(
        f"Served {len(ledger.requests)} requests; {len(ledger.applied)} trades were "
        f"closed, {ledger.count(status=429)} requests were refused with 429."
    )
    if ledger.repeated:
        screen.say(f"Closes sent again after being accepted: {len(ledger.repeated)}.")
    if faults:
        counted = (f"{count} {fault.value}" for fault, count in faults.items())
        screen.say(f"{sum(faults.values())} faults were injected: {', '.join(counted)}.")
