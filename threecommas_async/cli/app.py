"""The commands and their options. What each one does is in the module it calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

from threecommas_async import __version__

from . import demo as demos
from . import trades as smart_trades
from .screen import Exit, Screen
from .session import Connection, Flag, with_client

if TYPE_CHECKING:
    from collections.abc import Sequence

    from threecommas_async.resources.smart_trades import SmartTradeFilters

__all__ = ["app", "run", "start"]

_KEYS = """\
The key comes from the environment, or from a file (`--env-file`), never from an argument:
THREECOMMAS_API_KEY with THREECOMMAS_API_SECRET or THREECOMMAS_PRIVATE_KEY, and, if wanted,
THREECOMMAS_BASE_URL and THREECOMMAS_MODE.

Exit status: 0 all closed or all well, 1 something is not, 2 usage, 3 credentials.
"""

Count = Annotated[int, Parameter(validator=Number(gte=1))]
Speed = Annotated[float, Parameter(validator=Number(gt=0))]
TradeId = Annotated[int, Parameter(validator=Number(gt=0))]
Status = Literal["active", "all", "finished", "successfully_finish", "cancelled", "failed"]

_USUAL, _CAREFULLY = Connection(), smart_trades.Closing()

app = App(
    name="threecommas",
    help="Close 3Commas SmartTrades at market: hundreds at once, each exactly once.",
    help_epilogue=_KEYS,
    help_format="plaintext",
    default_parameter=Parameter(negative=()),
    version=__version__,
    suppress_keyboard_interrupt=False,
)
trades = App(name="trades", help="List, show and close SmartTrades.")
app.command(trades)


@app.command
async def demo(
    *,
    trades: Count = 250,
    seed: int = 7,
    real_time: Flag = False,
    json: Flag = False,
) -> int:
    """Close 250 trades of an embedded 3Commas, and check the result against its ledger.

    Needs no key. Its clock runs ten times as fast as the real one.

    Args:
        trades: trades to open and close.
        seed: another seed makes other trades.
        real_time: run on the real clock, 100 requests per 60 s.
        json: print the result as JSON.
    """
    speed = 1.0 if real_time else 10.0
    return await demos.demo(Screen(as_json=json), trades=trades, seed=seed, speed=speed)


@app.command
async def sandbox(
    *,
    trades: Count = 250,
    seed: int = 7,
    time_scale: Speed = 1.0,
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 0,
    json: Flag = False,
) -> int:
    """Serve an embedded 3Commas on this machine until Ctrl-C, to test a bot against.

    Prints its address and its throw-away key as lines to paste into a shell.

    Args:
        trades: SmartTrades that are open.
        seed: another seed makes other trades.
        time_scale: how many times as fast as the real one its clock runs.
        port: port to listen on; 0 for a free one.
        json: print address and key as JSON.
    """
    screen = Screen(as_json=json)
    return await demos.serve(screen, trades=trades, seed=seed, speed=time_scale, port=port)


@app.command
async def validate(*, connection: Connection = _USUAL) -> int:
    """Check that 3Commas accepts the key and its signatures."""
    return await with_client(connection, smart_trades.validate)


@trades.command(name="list")
async def list_trades(
    *,
    status: Status = "active",
    account_id: TradeId | None = None,
    pair: str | None = None,
    connection: Connection = _USUAL,
) -> int:
    """List trades, all pages of them.

    Args:
        status: which ones.
        account_id: only those of this account.
        pair: only this pair, as in USDT_BTC.
        connection: how to reach 3Commas.
    """
    filters: SmartTradeFilters = {"status": status}
    if account_id is not None:
        filters["account_id"] = account_id
    if pair is not None:
        filters["pair"] = pair
    return await with_client(connection, lambda s: smart_trades.show_all(s, filters))


@trades.command
async def show(trade_id: TradeId, /, *, connection: Connection = _USUAL) -> int:
    """Show one trade.

    Args:
        trade_id: its id.
        connection: how to reach 3Commas.
    """
    return await with_client(connection, lambda s: smart_trades.show(s, trade_id))


@trades.command
async def close(
    trade_ids: list[TradeId],
    /,
    *,
    how: smart_trades.Closing = _CAREFULLY,
    connection: Connection = _USUAL,
) -> int:
    """Close trades at market, each exactly once, and tell what became of each.

    Ctrl-C sends nothing more and tells what is known so far.

    Args:
        trade_ids: ids of the trades.
        how: how to close.
        connection: how to reach 3Commas.
    """
    return await with_client(connection, lambda s: smart_trades.close(s, trade_ids, how))


async def run(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name, and return its exit status."""
    try:
        status = await app.run_async(
            list(arguments),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except CycloptsError as error:
        Screen(as_json="--json" in arguments).fail(f"{error} See threecommas --help.")
        return Exit.USAGE
    return Exit.OK if status is None else int(status)  # None: it was --help or --version


def start(arguments: Sequence[str]) -> int:
    """Run a command from outside of any event loop."""
    try:
        return asyncio.run(run(arguments))
    except KeyboardInterrupt:  # what there was to tell, the command has told
        return Exit.INTERRUPTED
