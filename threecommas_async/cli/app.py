"""The application: top-level commands, registration of the others, and how commands are run."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

from .. import __version__
from ..sandbox import Sandbox
from . import deals, sandbox_commands, trades
from .faults import parse_faults
from .options import ConnectionOptions, Flag, Fraction, NonNegativeInt, PositiveInt
from .output import ExitStatus, Output
from .session import UsageError, run_with_session, validate_key

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["app", "run", "run_blocking"]

_HELP_EPILOGUE = """\
The key comes from the environment, or from a file (`--env-file`), never from an argument:
THREECOMMAS_API_KEY with THREECOMMAS_API_SECRET or THREECOMMAS_PRIVATE_KEY, and, if wanted,
THREECOMMAS_BASE_URL and THREECOMMAS_MODE.

Exit status: 0 all closed or all well, 1 something is not, 2 usage, 3 credentials, 130 interrupted,
143 terminated.
"""

TimeScale = Annotated[float, Parameter(validator=Number(gt=0))]
FaultRates = Annotated[list[str] | None, Parameter(metavar="KIND=RATE", show_default=False)]

_DEFAULT_CONNECTION = ConnectionOptions()

app: App = App(
    name="threecommas",
    help="Close 3Commas SmartTrades and deals at market: hundreds at once, each exactly once.",
    help_epilogue=_HELP_EPILOGUE,
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
    trades: PositiveInt = 250,
    faults: Fraction = 0.0,
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
    output = Output(as_json=json)
    return await sandbox_commands.run_demo(
        output, trades=trades, seed=seed, speed=speed, faults=faults
    )


@app.command
async def sandbox(  # noqa: PLR0913 - options of a command
    *,
    trades: NonNegativeInt = 250,
    pending: NonNegativeInt = 0,
    deals: NonNegativeInt = 0,
    faults: Fraction = 0.0,
    fault: FaultRates = None,
    seed: int = 7,
    time_scale: TimeScale = 1.0,
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
    embedded = Sandbox(
        trades=trades,
        pending=pending,
        deals=deals,
        faults=parse_faults(faults, fault or ()),
        seed=seed,
        time_scale=time_scale,
        port=port,
    )
    return await sandbox_commands.serve(Output(as_json=json), embedded, speed=time_scale)


@app.command
async def validate(*, connection: ConnectionOptions = _DEFAULT_CONNECTION) -> int:
    """Check that 3Commas accepts the key and its signatures."""
    return await run_with_session(connection, validate_key)


async def run(arguments: Sequence[str]) -> int:
    """Run the command given by the arguments, and return its exit status."""
    try:
        status = await app.run_async(
            list(arguments),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except (CycloptsError, UsageError) as error:
        Output(as_json="--json" in arguments).fail(f"{error} See threecommas --help.")
        return ExitStatus.USAGE
    return ExitStatus.OK if status is None else int(status)  # None after --help and --version


def run_blocking(arguments: Sequence[str]) -> int:
    """Run a command in a new event loop, and return its exit status.

    Ctrl-C (SIGINT) and SIGTERM cancel the command, which then reports what is known so far. A
    SIGINT that is ignored at the start stays ignored: that is how a shell starts background jobs,
    for which a Ctrl-C at the terminal is not meant.
    """
    try:
        return asyncio.run(_cancelled_by_sigterm(arguments))
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    except asyncio.CancelledError:
        return ExitStatus.TERMINATED


async def _cancelled_by_sigterm(arguments: Sequence[str]) -> int:
    command = asyncio.ensure_future(run(arguments))
    with suppress(NotImplementedError):  # Windows event loops handle no signals
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, command.cancel)
    return await command
