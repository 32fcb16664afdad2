"""Close the trades given on the command line, and print each outcome as soon as it is known.

    python watch_outcomes.py 12345678 12345679

After the deadline nothing more is sent, and outcomes still unknown are printed as such.
"""

from __future__ import annotations

import asyncio
import sys

from threecommas_async import AsyncClient, CloseReport, CloseState, SmartTrade

DEADLINE = 600.0
"""Seconds after which nothing more is sent."""


async def close_and_print(client: AsyncClient, ids: list[int]) -> CloseReport[SmartTrade]:
    """Close trades, wait until they are closed, and print each outcome."""
    batch = client.smart_trades.close_many(ids, confirm=True, deadline=DEADLINE)
    async for outcome in batch:
        line = f"{outcome.elapsed:6.1f} s  {outcome.trade_id}  {outcome.state.name}"
        if outcome.trade is not None:
            line += f"  {outcome.trade.profit.volume} {outcome.trade.pair}"
        print(line if outcome.error is None else f"{line}  {outcome.error}")
    return batch.report


async def main() -> int:
    """Return 0 if all are closed, 1 if one is not, 2 if an outcome is unknown."""
    async with AsyncClient.from_env() as client:
        report = await close_and_print(client, [int(text) for text in sys.argv[1:]])
    if report.counts[CloseState.UNKNOWN]:
        return 2
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
