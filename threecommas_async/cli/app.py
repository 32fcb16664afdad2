"""The command line as a whole: the commands that need no trade, and those of the other modules."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

from .. import __version__
from ..sandbox import Sandbox
from . import deals, trades
from . import demo as demos
from .faults import made_of
from .options import Count, Flag, Rate, Whole
from .screen import Exit, Screen
from .session import Connection, UsageError, validated, with_client

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["app", "run", "start"]

_KEYS = """\
The key comes from the environment, or from a file (`--env-file`), never from an argument:
THREECOMMAS_API_KEY with THREECOMMAS_API_SECRET or THREECOMMAS_PRIVATE_KEY, and, if wanted,
THREECOMMAS_BASE_URL and THREECOMMAS_MODE.

Exit status: 0 all closed or all well, 1 something is not, 2 usage, 3 credentials, 130 interrupted,
143 terminated.
"""

Speed = Annotated[float, Parameter(validator=Number(gt=0))]
Kinds = Annotated[list[str] | None, Parameter(metavar="KIND=RATE", show_default=False)]

_USUAL = Connection()

app = App(
    name="threecommas",
    help="Close 3Commas SmartTrades and deals at market: hundreds at once, each exactly once.",
    help_epilogue=_KEYS,
    help_format="markdown",
    default_parameter=Parameter(negative=()),
    version=__version__,
    suppress_keyboard_interrupt=False,
)
app.command(trades.app)
app.command(deals.app)


@app.command
async def demo(
    *,
    trades: Count = 250,
    faults: Rate = 0.0,
    seed: int = 7,
    real_time: Flag = False,
    json: Flag = False,
) -> int:
    """Close 250 trades of an embedded 3Commas, and check the result against its ledger.

    Needs no key. Its clock runs ten times as fast as the real one.

    With --faults it is a hostile one: requests are met by resets, silence, 502, half answers and
    more, some before the close is carried out and some after. A trade counts as closed once
    3Commas is known to have accepted its close, for that is what faults put in doubt; the time
    that the exchange takes to sell is not waited for.

    Args:
        trades: Trades to open and close.
        faults: Share of the closes that are met by a fault, 0 to 1; each trade by two at most.
        seed: Another seed makes other trades and other faults.
        real_time: Run on the real clock, 100 requests per 60 s.
        json: Print the result as JSON.
    """
    speed = 1.0 if real_time else 10.0
    screen = Screen(as_json=json)
    return await demos.demo(screen, trades=trades, seed=seed, speed=speed, faults=faults)


@app.command
async def sandbox(  # noqa: PLR0913 - the options of a command
    *,
    trades: Whole = 250,
    pending: Whole = 0,
    deals: Whole = 0,
    faults: Rate = 0.0,
    fault: Kinds = None,
    seed: int = 7,
    time_scale: Speed = 1.0,
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 0,
    json: Flag = False,
) -> int:
    """Serve an embedded 3Commas on this machine until Ctrl-C, to test a bot against.

    Prints its address and its throw-away key as lines to paste into a shell, and at the end what
    it has seen.

    Kinds of faults: reset_before, reset_after, silence_before, silence_after, stale_before,
    stale_after, unavailable_before, unavailable_after, bad_gateway_before, bad_gateway_after,
    gateway_timeout_before, gateway_timeout_after, truncated_after, garbage_after,
    wrong_type_after, slow_after. Before means that the close is left undone, after that it has been
    carried out.

    Only by name: gateway_404_before, gateway_404_after, drip_before, drip_after, wrong_id_before,
    wrong_id_after, early_429_text, early_429_json, early_429_html, plan_refusal, ban. And
    read_lag, which takes seconds of the sandbox's clock instead of a rate: all reads and lists lag
    behind the closes by so much.

    Args:
        trades: SmartTrades that are open.
        pending: SmartTrades whose entry is not filled.
        deals: Open deals of a DCA bot.
        faults: Share of the closes that are met by a fault, 0 to 1; of all kinds but those that
            have to be named.
        fault: Share of the closes that are met by this kind, as in reset_after=0.1; repeatable.
        seed: Another seed makes other trades and other faults.
        time_scale: How many times as fast as the real one its clock runs.
        port: Port to listen on; 0 for a free one.
        json: Print address and key as JSON.
    """
    served = Sandbox(
        trades=trades,
        pending=pending,
        deals=deals,
        faults=made_of(faults, fault or ()),
        seed=seed,
        time_scale=time_scale,
        port=port,
    )
    return await demos.serve(Screen(as_json=json), served, speed=time_scale)


@app.command
async def validate(*, connection: Connection = _USUAL) -> int:
    """Check that 3Commas accepts the key and its signatures."""
    return await with_client(connection, validated)


async def run(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name, and return its exit status."""
    try:
        status = await app.run_async(
            list(arguments),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except (CycloptsError, UsageError) as error:
        Screen(as_json="--json" in arguments).fail(f"{error} See threecommas --help.")
        return Exit.USAGE
    return Exit.OK if status is None else int(status)  # None: it was --help or --version


def start(arguments: Sequence[str]) -> int:
    """Run a command from outside of any event loop.

    Ctrl-C (SIGINT) and SIGTERM let it tell what there is to tell and end. A SIGINT that was ignored
    when the program began stays so: a shell starts what is to run on in the background like that,
    and what runs in the foreground is meant by a Ctrl-C.
    """
    try:
        return asyncio.run(_until_terminated(arguments))
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except asyncio.CancelledError:
        return Exit.TERMINATED


async def _until_terminated(arguments: Sequence[str]) -> int:
    command = asyncio.ensure_future(run(arguments))
    with suppress(NotImplementedError):  # Windows, whose loop takes no signals
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, command.cancel)
    return await command
