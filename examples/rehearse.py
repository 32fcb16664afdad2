"""Close 60 trades of a sandbox that injects faults and restarts, and check the report.

Requires neither a key nor a network, only the extra `sandbox`.
"""

from __future__ import annotations

import asyncio
import sys

from threecommas_async import AsyncClient, SlidingWindowLimiter
from threecommas_async.sandbox import Faults, Sandbox

SPEED = 20.0
"""Factor by which the sandbox's clock, and with it the rate limit, is faster than real time."""


async def main() -> bool:
    """Return whether the report and the sandbox's ledger agree on every trade."""
    faults = Faults.mixed(0.3, silence=0.2, slow=0.2)
    async with Sandbox(trades=60, seed=7, time_scale=SPEED, faults=faults) as sandbox:
        async with AsyncClient(
            sandbox.api_key,
            secret=sandbox.secret,
            base_url=sandbox.base_url,
            rate_limiter=SlidingWindowLimiter(100, 60.0 / SPEED, 300.0 / SPEED),
        ) as client:
            batch = client.smart_trades.close_many(sandbox.trade_ids, deadline=30.0)
            closing = asyncio.ensure_future(batch)
            await asyncio.sleep(0.05)
            await sandbox.restart(downtime=0.2)  # while the closes are running
            report = await closing

        ledger = sandbox.ledger
        print("report:", {state.name: count for state, count in report.counts.items()})
        print(f"ledger: {len(ledger.applied)} closed in {len(ledger.requests)} requests,")
        print(f"        {len(ledger.repeated)} closed again, {len(ledger.breaches)} over the limit")
        reported = frozenset(outcome.trade_id for outcome in report if outcome.ok)
        return reported == ledger.applied and not ledger.repeated


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main()) else 1)
