"""Soak test: close thousands of trades with faults injected into a third of the requests.

``python -m benchmarks.soak --trades 10000 --faults 0.3`` (or ``make soak``) starts the sandbox in
its own process and closes all its trades with four calls: one is cancelled, one has a deadline, one
runs to the end, one waits until all trades are closed. Reads get faults, too, and lag; now and then
a 429 blocks all requests, as if another client had used up the limit; the server is restarted
halfway. Every outcome of every call is compared with the ledger of the sandbox; the exit status is
1 if one contradicts it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import platform
import resource
import shlex
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import attrs

from threecommas_async import (
    AsyncClient,
    CloseOutcome,
    CloseReport,
    CloseState,
    SlidingWindowLimiter,
    SmartTrade,
)
from threecommas_async.sandbox import Faults, RateLimit, Sandbox
from threecommas_async.speed import FastTransport

PAGE = Path(__file__).resolve().parent.parent / "docs" / "soak.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
PACKAGES = ("threecommas-async", "httpx", "httpcore", "attrs", "cattrs", "aiohttp", "httptools")

TIMEOUT = 0.4
SETTLE_TIME = 0.15
"""Seconds to wait after a call for the server to finish abandoned requests."""

Outcome = CloseOutcome[SmartTrade]
Report = CloseReport[SmartTrade]


@attrs.frozen(kw_only=True)
class Options:
    """Options of the command line."""

    trades: int
    faults: float
    seed: int
    limit: int
    window: float
    speed: bool

    @property
    def command(self) -> str:
        numbers = {name: value for name, value in attrs.asdict(self).items() if name != "speed"}
        words = [f"--{name} {value:g}" for name, value in numbers.items()]
        words += ["--speed"] if self.speed else []
        return shlex.join(shlex.split(f"python -m benchmarks.soak {' '.join(words)}"))


# --- the server process


@attrs.frozen
class Address:
    """URL and credentials of the server, and the ids to close."""

    base_url: str
    api_key: str
    secret: str
    trade_ids: tuple[int, ...]


@attrs.frozen(kw_only=True)
class ServerState:
    """Snapshot of the ledger of the server."""

    applied: frozenset[int]
    state: dict[int, str]
    repeated: int
    requests: Counter[str]
    faults: Counter[str]
    largest_window: int
    breaches: int
    connections: int
    memory: int


def serve(options: Options, pipe: Connection) -> None:
    """Run the server until the command "end"."""
    asyncio.run(_serve(options, pipe))


async def _serve(options: Options, pipe: Connection) -> None:
    sandbox = Sandbox(
        trades=options.trades,
        failing=options.trades // 100,
        seed=options.seed,
        faults=faults_of(options.faults),
        # Requests in flight when a 429 is injected cannot be held back, so do not ban for them.
        rate_limit=RateLimit(requests=options.limit, window=options.window, ban_after=10_000),
        latency=(0.0, 0.05),
    )
    async with sandbox:
        ids = sandbox.trade_ids
        pipe.send(Address(sandbox.base_url, sandbox.api_key, sandbox.secret, ids))
        while (command := await asyncio.to_thread(pipe.recv)) != "end":
            if command == "restart":
                await sandbox.restart(downtime=0.2)
            pipe.send(_snapshot(sandbox, options.window))


def faults_of(share: float) -> Faults:
    """Return all faults that a client can recover from, at equal rates, and rare blocks."""
    mixed = sum(rate > 0 for rate in Faults.mixed(1.0).rates.values())
    each = share / (mixed + 6)
    return attrs.evolve(
        Faults.mixed(each * mixed, silence=1.0, slow=0.2, closes_only=False),
        # Misleading answers, which `mixed` does not include.
        gateway_404_before=each,
        gateway_404_after=each,
        drip_before=each,
        drip_after=each,
        wrong_id_before=each,
        wrong_id_after=each,
        drip=0.1,
        read_lag=0.5,
        early_429_text=1e-4,
        early_429_json=1e-4,
        early_429_html=1e-4,
        block=1.0,
    )


def _snapshot(sandbox: Sandbox, window: float) -> ServerState:
    ledger = sandbox.ledger
    injected = [record.fault for record in ledger.requests if record.fault is not None]
    return ServerState(
        applied=ledger.applied,
        state={trade.id: trade.state for trade in ledger.trades.values()},
        repeated=len(ledger.repeated),
        requests=Counter("close" if r.closes else r.operation for r in ledger.requests),
        faults=Counter(fault.value for fault in injected),
        largest_window=ledger.max_in_window(window),
        breaches=len(ledger.breaches),
        connections=ledger.peak_connections,
        memory=_peak_memory(),
    )


def _peak_memory() -> int:
    """Return the peak resident memory of this process in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


@attrs.frozen
class Server:
    """Handle of the server process."""

    address: Address
    _pipe: Connection

    async def ask(self, command: str) -> ServerState:
        await asyncio.to_thread(self._pipe.send, command)
        answer: ServerState = await asyncio.to_thread(self._pipe.recv)
        return answer


@contextlib.contextmanager
def running_server(options: Options) -> Generator[Server]:
    context = multiprocessing.get_context("spawn")
    pipe, other_end = context.Pipe()
    process = context.Process(target=serve, args=(options, other_end), daemon=True)
    process.start()
    try:
        address: Address = pipe.recv()
        yield Server(address, pipe)
        pipe.send("end")
        process.join(10)
    finally:
        process.kill()
        process.join()


# --- the calls


@attrs.frozen
class CallResult:
    """Result of one call."""

    name: str
    ids: int
    counts: dict[str, int]
    seconds: float
    contradictions: list[str]


def contradictions(
    ids: Sequence[int], report: Report, before: ServerState, after: ServerState
) -> Iterator[str]:
    """Yield the outcomes that contradict the server states before and after the call."""
    if [outcome.trade_id for outcome in report] != list(ids):
        yield f"{len(ids)} ids, and {len(report)} outcomes, or in another order"
    for outcome in report:
        if not _is_true(outcome, before, after):
            yield f"{outcome}, but it is {after.state[outcome.trade_id]}"


def _is_true(outcome: Outcome, before: ServerState, after: ServerState) -> bool:
    trade_id = outcome.trade_id
    done, state = trade_id in after.applied, after.state[trade_id]
    match outcome.state:
        case CloseState.ACCEPTED:
            return done
        case CloseState.CLOSED:
            return done and state == "panic_sold"
        case CloseState.FAILED:
            return done and state == "failed"
        case CloseState.ALREADY_CLOSED:
            return trade_id in before.applied
        case CloseState.UNKNOWN:
            return True
        case _:  # not sent, rejected, not found: this call closed nothing
            return trade_id in before.applied or not done


@attrs.define
class Soak:
    """Makes the calls in sequence, each with the ids that the previous one left."""

    options: Options
    server: Server
    client: AsyncClient
    state: ServerState
    results: list[CallResult] = attrs.Factory(list["CallResult"])
    restarting: asyncio.Task[ServerState] | None = None

    async def run(self) -> None:
        ids = self.server.address.trade_ids
        third = len(ids) / 3
        left = await self._call("cancelled on the way", ids, self._cancelled)
        seconds = max(1.0, third / self.options.limit * self.options.window)
        left = await self._call(
            "with a deadline", left, lambda ids: self._close_many(ids, deadline=seconds)
        )
        left = await self._call(
            "to the end, with a restart", left, lambda ids: self._close_many(ids, restart=True)
        )
        while left and len(self.results) < 8:
            left = await self._call("what was left over", left, self._close_many)
        wait = self.client.smart_trades.wait_until_closed
        await self._call("until all is closed", ids, lambda ids: wait(ids, timeout=300))

    async def _call(
        self, name: str, ids: Sequence[int], call: Callable[[Sequence[int]], Awaitable[Report]]
    ) -> tuple[int, ...]:
        """Make a call, check its report, and return the ids to close again."""
        began, before = time.monotonic(), self.state
        report = await call(ids)
        seconds = time.monotonic() - began
        await asyncio.sleep(SETTLE_TIME)
        self.state = await self.server.ask("state")
        contradicting = list(contradictions(ids, report, before, self.state))
        counts = {state.name: count for state, count in sorted(report.counts.items(), key=str)}
        self.results.append(CallResult(name, len(ids), counts, seconds, contradicting))
        summary = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        wrong = f"{len(contradicting)} contradictions"
        log(f"{name}: {len(ids):,} ids, {summary}, {wrong}, {seconds:.0f} s")
        # Without the failed ones: closing these again does not help.
        again = {CloseState.UNKNOWN, CloseState.NOT_SENT}
        return tuple(outcome.trade_id for outcome in report if outcome.state in again)

    async def _close_many(
        self, ids: Sequence[int], *, deadline: float | None = None, restart: bool = False
    ) -> Report:
        known = 0

        def on_outcome(_: Outcome) -> None:
            nonlocal known
            known += 1
            if restart and known == len(ids) // 2:
                self.restarting = asyncio.ensure_future(self.server.ask("restart"))

        report = await self.client.smart_trades.close_many(
            ids, deadline=deadline, on_outcome=on_outcome
        )
        if self.restarting is not None:
            await self.restarting
        return report

    async def _cancelled(self, ids: Sequence[int]) -> Report:
        """Cancel the call when a third of the outcomes is known."""

        known = 0

        def on_outcome(_: Outcome) -> None:
            nonlocal known
            known += 1
            if known == len(ids) // 3:
                closing.cancel()

        batch = self.client.smart_trades.close_many(ids, on_outcome=on_outcome)
        closing = asyncio.ensure_future(batch)
        await asyncio.wait({closing})
        return batch.report


async def soak(options: Options, server: Server) -> Soak:
    """Close all trades of the server."""
    address = server.address
    limiter = SlidingWindowLimiter(options.limit, options.window)
    async with AsyncClient(
        address.api_key,
        secret=address.secret,
        base_url=address.base_url,
        rate_limiter=limiter,
        timeout=TIMEOUT,
        transport=FastTransport() if options.speed else None,
    ) as client:
        run = Soak(options, server, client, await server.ask("state"))
        await run.run()
    return run


# --- the report


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, [":--", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def figures(run: Soak, seconds: float) -> dict[str, int | str]:
    """Return the figures of the report."""
    state, options = run.state, run.options
    closes, lists = state.requests["close"], state.requests["list_smart_trades"]
    total = state.requests.total()
    return {
        "trades": options.trades,
        "requests": total,
        "closes POSTed": closes,
        "trades read by themselves": total - closes - lists,
        "list pages read": lists,
        "faults injected": state.faults.total(),
        "outcomes that contradict the ledger": sum(
            len(result.contradictions) for result in run.results
        ),
        "closes POSTed again after they had been carried out": state.repeated,
        "trades not closed in the end": options.trades - len(state.applied),
        f"largest rolling window of {options.window:g} s, of {options.limit} allowed": (
            state.largest_window
        ),
        "requests refused for being too many": state.breaches,
        "connections at a time": state.connections,
        "seconds": round(seconds),
        "peak memory of the client, MB": _peak_memory(),
        "peak memory of the server, MB": state.memory,
    }


def passed(run: Soak) -> bool:
    """Return whether every trade was closed once, within the limit and as reported."""
    state = run.state
    wrong = any(result.contradictions for result in run.results)
    all_closed = len(state.applied) == run.options.trades
    return all_closed and not wrong and not state.repeated and not state.breaches


def markdown(run: Soak, seconds: float) -> str:
    """Return the report as Markdown."""
    found = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    states = [s.name for s in CloseState if any(s.name in result.counts for result in run.results)]
    calls = [
        [
            result.name,
            f"{result.ids:,}",
            *(f"{result.counts.get(state, 0):,}" for state in states),
            str(len(result.contradictions)),
            f"{result.seconds:.0f}",
        ]
        for result in run.results
    ]
    return "\n\n".join(
        [
            f"- Date: {datetime.now(UTC).date()}; command: `{run.options.command}`",
            f"- Python {platform.python_version()} on {platform.system()}; {found}",
            table(
                ["", "result"],
                [
                    [name, f"{value:,}" if isinstance(value, int) else value]
                    for name, value in figures(run, seconds).items()
                ],
            ),
            table(["call", "ids", *states, "contradictions", "seconds"], calls),
            table(
                ["fault", "struck"],
                [[f"`{name}`", f"{count:,}"] for name, count in sorted(run.state.faults.items())],
            ),
        ]
    )


def write(page: Path, result: str) -> None:
    """Write the report between the markers of a page."""
    text = page.read_text(encoding="utf-8")
    before, after = text.index(BEGIN) + len(BEGIN), text.index(END)
    page.write_text(f"{text[:before]}\n\n{result}\n\n{text[after:]}", encoding="utf-8")


def log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def parse_arguments(given: Sequence[str] | None) -> tuple[Options, Path | None]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--trades", type=int, default=10_000, metavar="N")
    parser.add_argument(
        "--faults",
        type=float,
        default=0.3,
        metavar="SHARE",
        help="share of the requests that get a fault (0.3)",
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--limit", type=int, default=200, help="requests in a window (200)")
    parser.add_argument("--window", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--speed", action="store_true", help="use the transport of the extra speed")
    parser.add_argument(
        "--markdown", type=Path, nargs="?", const=PAGE, metavar="FILE", help="docs/soak.md"
    )
    options: dict[str, Any] = vars(parser.parse_args(given))
    page: Path | None = options.pop("markdown")
    return Options(**options), page


def main(given: Sequence[str] | None = None) -> int:
    """Run the soak, print and optionally write the report; return 1 if it did not pass."""
    options, page = parse_arguments(given)
    began = time.monotonic()
    with running_server(options) as server:
        run = asyncio.run(soak(options, server))
    text = markdown(run, time.monotonic() - began)
    print(text)
    if page is not None:
        write(page, text)
    for result in run.results:
        for contradiction in result.contradictions[:20]:
            log(f"{result.name}: {contradiction}")
    return 0 if passed(run) else 1


if __name__ == "__main__":
    sys.exit(main())
