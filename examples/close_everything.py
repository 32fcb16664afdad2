"""Close every open SmartTrade at market, and print those that could not be closed.

Shows what it would close, and stops there unless `--yes` is given. The key comes from the
environment: THREECOMMAS_API_KEY and THREECOMMAS_API_SECRET (or THREECOMMAS_PRIVATE_KEY).
"""

from __future__ import annotations

import asyncio
import sys

from threecommas_async import AsyncClient

DEADLINE = 600.0
"""Seconds after which nothing more is sent."""


async def close_everything(client: AsyncClient, *, yes: bool) -> bool:
    """Close all open trades; return whether each is known to be closing or closed."""
    if not yes:
        plan = await client.smart_trades.close_all(dry_run=True)
        for outcome in plan:
            if (trade := outcome.trade) is not None:
                print(f"{trade.id} {trade.pair} {trade.status.code} {trade.profit.percent} %")
        print(f"{len(plan)} trades would be closed. Add --yes to close them.")
        return False

    report = await client.smart_trades.close_all(confirm=True, deadline=DEADLINE)
    for outcome in report:
        if not outcome.ok:
            print(f"{outcome.trade_id} {outcome.state.name}: {outcome.error}")
    if report.unlisted is not None:
        print(f"There may be others: {report.unlisted}")
    counts = {state.name: count for state, count in report.counts.items()}
    print(f"{len(report)} trades: {counts}")
    return report.ok


async def main() -> bool:
    """Close everything with the key from the environment."""
    async with AsyncClient.from_env() as client:
        return await close_everything(client, yes="--yes" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main()) else 1)
