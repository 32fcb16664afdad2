"""`threecommas demo`: close the trades of a sandbox; `threecommas sandbox`: serve one."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from ..sandbox import Faults, Sandbox
from .audit import audit
from .closing import run_with_progress
from .faults import injected_faults
from .limiter import TrackingLimiter
from .output import ExitStatus, Output
from .render import report_data, report_table
from .session import open_session

if TYPE_CHECKING:
    from .. import CloseReport, SmartTrade
    from ..client import ClientSettings

__all__ = ["run_demo", "serve"]

_LIMIT, _WINDOW, _PENALTY = 100, 60.0, 300.0
"""The documented rate limit: requests, seconds per window, seconds of a block."""
_LATENCY = (0.02, 0.08)
"""Range of response times in seconds, as over the internet."""
_TIMEOUT = 2.0
"""Seconds that the client waits for an answer when faults are injected; 30 is long for a demo."""
_SLOW, _SILENCE = 0.5 * _TIMEOUT, 1.5 * _TIMEOUT
"""Seconds of delay of a slow answer, and until a silent connection is closed."""


async def run_demo(
    output: Output, *, trades: int, seed: int, speed: float, faults: float = 0.0
) -> int:
    """Close every trade of a sandbox, and compare the report with what the server did."""
    limiter = TrackingLimiter(_LIMIT, _WINDOW / speed, _PENALTY / speed)
    async with Sandbox(
        trades=trades,
        seed=seed,
        time_scale=speed,
        latency=_LATENCY,
        faults=Faults.mixed(faults, slow=_SLOW, silence=_SILENCE),
    ) as sandbox:
        output.message(
            f"An embedded 3Commas at {sandbox.base_url}: {trades} open SmartTrades, "
            f"{_LIMIT} requests per {_WINDOW / speed:g} s."
        )

        def show_result(report: CloseReport[SmartTrade]) -> int:
            seconds = asyncio.get_running_loop().time() - began
            result = audit(report, sandbox.ledger, limit=_LIMIT)
            ok = result.ok and len(report) == trades
            output.result(
                {
                    **report_data(report),
                    "ok": ok,
                    "seconds": round(seconds, 1),
                    "ledger": result.data(),
                },
                report_table(report),
                result.table(),
            )
            through = f", through {sum(result.faults.values())} faults" if faults else ""
            output.message(
                f"{result.carried_out} of {trades} trades closed in {seconds:.1f} s{through}."
            )
            return ExitStatus.OK if ok else ExitStatus.NOT_ALL

        settings: ClientSettings = {"secret": sandbox.secret, "base_url": sandbox.base_url}
        if faults:
            settings["timeout"] = _TIMEOUT
            output.message(
                f"{faults:.0%} of the closes meet a fault, "
                "some before and some after they are carried out."
            )
        async with open_session(output, limiter, sandbox.api_key, **settings) as session:
            close_many = session.client.smart_trades.close_many
            active = session.client.smart_trades.list(status="active")
            ids = [trade.id async for trade in active]
            output.message(f"The market turns: closing all {len(ids)} at market, all at once.")
            began = asyncio.get_running_loop().time()
            report = await run_with_progress(
                session,
                ids,
                lambda record: close_many(ids, on_outcome=record),
                interrupted=show_result,
            )
            return show_result(report)


async def serve(output: Output, sandbox: Sandbox, *, speed: float) -> int:
    """Serve a sandbox until Ctrl-C."""
    async with sandbox:
        settings = {
            "THREECOMMAS_BASE_URL": sandbox.base_url,
            "THREECOMMAS_API_KEY": sandbox.api_key,
            "THREECOMMAS_API_SECRET": sandbox.secret,
        }
        lines = "\n".join(f"export {name}={value}" for name, value in settings.items())
        output.result(settings, lines)
        if speed != 1:
            output.message(
                "Its clock runs faster, so your limiter has to be "
                f"SlidingWindowLimiter({_LIMIT}, {_WINDOW / speed:g}, {_PENALTY / speed:g})."
            )
        ignores_ctrl_c = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # a background job
        way_to_end = f"kill {os.getpid()}" if ignores_ctrl_c else "Ctrl-C"
        output.message(f"{_describe_entities(sandbox)} {way_to_end} ends it.")
        with suppress(asyncio.CancelledError):  # Ctrl-C is the normal end
            await asyncio.Event().wait()
        _show_served(output, sandbox)
    return ExitStatus.OK


def _describe_entities(sandbox: Sandbox) -> str:
    parts = [f"{len(sandbox.trade_ids)} SmartTrades are open"]
    if sandbox.pending_ids:
        parts.append(f"{len(sandbox.pending_ids)} more are not entered")
    if sandbox.deal_ids:
        parts.append(f"bot {sandbox.bot_id} has {len(sandbox.deal_ids)} deals open")
    return f"{', '.join(parts)}."


def _show_served(output: Output, sandbox: Sandbox) -> None:
    ledger, faults = sandbox.ledger, injected_faults(sandbox.ledger)
    closed_deals = len(ledger.applied.intersection(sandbox.deal_ids))
    closed = f"{len(ledger.applied) - closed_deals} trades"
    if sandbox.deal_ids:
        closed += f" and {closed_deals} deals"
    output.message(
        f"Served {len(ledger.requests)} requests; {closed} were closed, "
        f"{ledger.count(status=429)} requests were refused with 429."
    )
    if ledger.repeated:
        output.message(f"Closes sent again after being accepted: {len(ledger.repeated)}.")
    if faults:
        counted = (f"{count} {fault.value}" for fault, count in faults.items())
        output.message(f"{sum(faults.values())} faults were injected: {', '.join(counted)}.")
