"""Closing as a state machine: calls, faults, time and cancellations in any order.

Everything runs in virtual time against an in-memory server (`machine_server`). It finishes what
it has begun even if its caller leaves, and may carry out a close long after the caller has gone
without an answer. The machine checks every request and every outcome:

**When may a close of x be POSTed again?** (G3) For each earlier POST of x by any call of the client
that reached the server, one of these must hold when the next POST is sent:

1. The earlier POST was refused: its caller was answered 4xx, other than 408.
2. A read showed x open and closable, was sent after the earlier POST had ended for its caller, and
   has been answered.
3. The POSTs belong to different calls, and the client knew what became of x: the earlier POST was
   answered 201, a later read showed x in any state, or a call has reported x as closing, closed or
   not found. The new call then asks for a new close, which the server refuses.

For 30 s after the client was answered 2xx, parsable or not, or has reported an unknown close as
accepted, rules 2 and 3 do not apply: reads may lag.

Otherwise the next POST is forbidden: while the earlier one is in flight, or if its answer was lost
or its caller cancelled. So a call repeats a close that was carried out only if it was carried out
after a read (rules 1 and 2 leave no other way), which no client can know. That is allowed and
counted, see `pytest --hypothesis-show-statistics`.

**What may be reported?** (G2) One outcome for every id, in order, at any moment. ACCEPTED, CLOSED
and FAILED only if the close was carried out; ALREADY_CLOSED only if another call carried it out;
NOT_SENT, NOT_FOUND and REJECTED only if no POST of this call was carried out or still can be;
UNKNOWN only if some POST of x, of this call or another, was not refused. Outcomes are checked
against the ledger when they are reported, and once more at the end.

**Further:** no call sends anything after its end, closes anything after a 401, a 418 or a plan
limit, ends later than one second after its deadline, or waits when it is cancelled; no task
outlives the calls; no window exceeds the limit (G4); nothing is sent during a block (G5); and once
all faults have passed, all calls end and the next call closes the rest.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import httpx
import looptime
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.closing.machine_faults import (
    UNREADABLE,
    Fault,
    UnreliableLimiter,
    UserCode,
    close_faults,
    read_faults,
)
from tests.closing.machine_server import (
    CLOSABLE,
    DEFINITE,
    KNOWN_VIOLATIONS,
    LIMIT,
    PAIRS,
    SLACK,
    TICK,
    TRADES,
    WINDOW,
    Call,
    Outcome,
    Server,
    pair_of,
)
from tests.support import IDLE_TURNS, client_of
from threecommas_async import (
    AsyncClient,
    CloseBatch,
    CloseFailedError,
    CloseOutcome,
    CloseState,
    NotFoundError,
    OutcomeUnknownError,
    RequestNotSentError,
    RetryPolicy,
    SmartTrade,
    ThreeCommasError,
)

ids = st.integers(1, TRADES + 2)  # the last two do not exist
trade_ids = st.integers(1, TRADES)
lags = st.sampled_from([0.0, 2.0, 9.0, 25.0])
deadlines = st.none() | st.sampled_from([0.0, 0.2, 1.0, 5.0, 30.0])
Work = Callable[..., Awaitable[None]]


class Closing(RuleBasedStateMachine):
    """Each rule does one thing; time passes only in `time_passes`."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = looptime.new_event_loop(
            start=0, resolution=TICK, noop_cycles=IDLE_TURNS, _enabled=True
        )
        self.server = Server()
        self.user_code = UserCode()
        self.clients = 0
        self.limiter = UnreliableLimiter(self.user_code, LIMIT, WINDOW, reserve=1)
        self.client = self.new_client()
        self.closed: list[AsyncClient] = []
        self.log = logging.getLogger("threecommas_async")
        self.log.addFilter(self.user_code.filter)

    def new_client(self) -> AsyncClient:
        self.clients += 1
        return client_of(
            self.server,
            limiter=self.limiter,
            max_connections=3,
            retry=RetryPolicy(attempts=3),
            timeout=httpx.Timeout(connect=5.0, read=30.0, write=10.0, pool=None),
            hooks=[self.user_code.hook],
        )

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        self.loop.run_until_complete(work)

    @property
    def running(self) -> list[Call]:
        return [call for call in self.server.calls if not call.over]

    # --- the server

    @initialize(failing=st.booleans(), pending=st.integers(0, 2))
    def set_up_trades(self, *, failing: bool, pending: int) -> None:
        self.server.failing = {1: "Insufficient balance"} if failing else {}
        for trade_id in range(TRADES, TRADES - pending, -1):
            self.server.status[trade_id] = CLOSABLE["DELETE"]

    @rule(trade_id=trade_ids, faults=close_faults)
    def add_close_faults(self, trade_id: int, faults: list[Fault]) -> None:
        self.server.close_faults.setdefault(trade_id, []).extend(faults)

    @rule(answer=st.sampled_from(UNREADABLE), lag=lags)
    def make_all_closes_unreadable(self, answer: str, lag: float) -> None:
        """Add such a fault per trade, with lagging reads: random draws combine them too rarely."""
        self.server.lag = lag
        for trade_id in self.server.status:
            self.server.close_faults.setdefault(trade_id, []).append(Fault(answer))

    @rule(faults=read_faults)
    def add_read_faults(self, faults: list[Fault]) -> None:
        self.server.read_faults.extend(faults)

    @rule(trade_id=trade_ids)
    def enter_position(self, trade_id: int) -> None:
        async def enter() -> None:
            self.server.remember()
            if self.server.status[trade_id] == CLOSABLE["DELETE"]:
                self.server.status[trade_id] = CLOSABLE["POST"]
                self.server.entered_at[trade_id] = self.loop.time()
            self.server.remember()

        self.run(enter())

    @rule(trade_id=trade_ids, ignores_filters=st.booleans())
    def distort_listings(self, *, trade_id: int, ignores_filters: bool) -> None:
        self.server.unknown_codes ^= {trade_id}
        self.server.ignores_filters = ignores_filters

    @rule(lag=lags)
    def set_read_lag(self, lag: float) -> None:
        self.server.lag = lag

    @rule(errors=st.lists(st.sampled_from([None, *UserCode.ERRORS]), max_size=12))
    def add_user_code_errors(self, errors: list[type[BaseException] | None]) -> None:
        self.user_code.errors.extend(errors)

    @rule()
    def close_the_client(self) -> None:
        """Replace the client; the new one knows only the block that the limiter has recorded."""
        calls = [call for call in self.running if call.client == self.clients]

        async def close() -> None:
            before = self.loop.time()
            await self.client.aclose()
            assert self.loop.time() - before < SLACK, "closing the client waits for something"
            for call in calls:
                call.closed, call.uninterrupted = True, False
            self.client = self.new_client()
            self.server.blocked_until[self.clients] = before + self.limiter.blocked_for()

        self.run(close())

    # --- the client

    @rule(
        chosen=st.lists(ids, min_size=1, max_size=9),
        confirm=st.booleans(),
        deadline=deadlines,
        iterate=st.none() | st.sampled_from([0, 1, 2, 99]),
    )
    def close_many(
        self, *, chosen: list[int], confirm: bool, deadline: float | None, iterate: int | None
    ) -> None:
        """Take `iterate` outcomes and leave the loop; await the batch if it is None."""
        options = {"confirm": confirm, "deadline": deadline}
        self.start("close_many", chosen, self._many, options, iterate=iterate)

    @rule(
        chosen=st.lists(ids, min_size=1, max_size=5),
        deadline=deadlines,
        iterate=st.none() | st.sampled_from([0, 1, 99]),
    )
    def cancel_many(
        self, *, chosen: list[int], deadline: float | None, iterate: int | None
    ) -> None:
        options = {"deadline": deadline}
        self.start("cancel_many", chosen, self._many, options, iterate=iterate)

    @precondition(lambda self: any(call.report for call in self.server.calls))
    @rule(data=st.data(), deadline=deadlines)
    def close_leftovers(self, data: st.DataObject, deadline: float | None) -> None:
        reports = [call.report for call in self.server.calls if call.report]
        chosen = list(data.draw(st.sampled_from(reports[-3:]), label="report").leftovers)
        self.close_many(chosen=chosen, confirm=False, deadline=deadline, iterate=None)

    @rule(trade_id=ids, deadline=deadlines)
    def close_by_market(self, trade_id: int, deadline: float | None) -> None:
        options = {"deadline": deadline}
        self.start("close_by_market", [trade_id], self._close_by_market, options)

    @rule(
        pending=st.sampled_from(["leave", "cancel"]),
        pair=st.sampled_from([None, *PAIRS]),
        confirm=st.booleans(),
        deadline=deadlines,
        iterate=st.none() | st.sampled_from([0, 2, 99]),
    )
    def close_all(
        self,
        *,
        pending: str,
        pair: str | None,
        confirm: bool,
        deadline: float | None,
        iterate: int | None,
    ) -> None:
        options = {"pending": pending, "pair": pair, "confirm": confirm, "deadline": deadline}
        self.start("close_all", [], self._close_all, options, iterate=iterate)

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.25, 0.7]))
    def pass_a_moment(self, seconds: float) -> None:
        self.pass_time(seconds)

    @rule(seconds=st.sampled_from([2.0, 8.0, 40.0]))
    def pass_time(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule(turns=st.integers(1, 12))
    def turn_the_loop(self, turns: int) -> None:
        """Run a few loop iterations, so that a cancellation can hit every await."""
        for _ in range(turns):
            self.run(asyncio.sleep(0))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), wait=st.booleans())
    def cancel(self, *, data: st.DataObject, wait: bool) -> None:
        call = data.draw(st.sampled_from(self.running), label="call")
        assert call.task is not None
        call.uninterrupted = False
        call.task.cancel()
        before = self.loop.time()
        if wait or "cancelled before its tasks have ended" in KNOWN_VIOLATIONS:
            self.run(asyncio.wait({call.task}))
        assert self.loop.time() - before < SLACK, "a cancelled call waits for something"

    @precondition(lambda self: any(call.batch for call in self.running))
    @rule(data=st.data())
    def check_a_running_report(self, data: st.DataObject) -> None:
        calls = [call for call in self.running if call.batch]
        call = data.draw(st.sampled_from(calls), label="call")

        async def look() -> None:
            assert call.batch is not None
            self.server.check_report(call, call.batch.report)

        self.run(look())

    # --- running a call

    def start(
        self, kind: str, chosen: list[int], work: Work, options: dict[str, Any], **how: Any
    ) -> None:
        call = Call(len(self.server.calls), kind, chosen, options.get("pair"), self.clients)
        self.server.calls.append(call)
        call.uninterrupted = options["deadline"] is None
        call.confirms = options.get("confirm", False)
        options["extra_headers"] = {"X-Call": str(call.number)}

        async def run() -> None:
            try:
                await work(call, options, **how)
            except Exception as defect:  # noqa: BLE001 - a defect of the package or of this test
                self.server.violations.append(f"{kind} {call.number}: {defect!r}")

        def ended(_: object) -> None:
            call.over = True

        call.task = self.loop.create_task(run(), name=f"call {call.number}")
        call.task.add_done_callback(ended)

    def record(self, call: Call) -> Callable[[Outcome], None]:
        def record(outcome: Outcome) -> None:
            self.server.record(call, outcome)
            self.user_code.raise_next()

        return record

    async def _many(self, call: Call, options: dict[str, Any], *, iterate: int | None) -> None:
        began, check = self.loop.time(), self.server.check
        verb = getattr(self.client.smart_trades, call.kind)
        batch = verb(call.ids, on_outcome=self.record(call), **options)
        try:
            await self._consume(call, batch, iterate)
        finally:
            check(
                len(call.reported_ids) in {0, len(call.outcomes)},
                call,
                f"reported {call.reported_ids}",
            )
        deadline: float | None = options["deadline"]
        late = self.loop.time() - began - (deadline or 0.0)
        check(deadline is None or late <= 1.0, call, f"{late} s after its deadline")

    async def _consume(
        self, call: Call, batch: CloseBatch[SmartTrade], iterate: int | None
    ) -> None:
        """Await or iterate the batch; its report must agree with the last outcome of each id."""
        call.batch = batch
        check, all_recorded = self.server.check, True
        try:
            if iterate is None:
                await batch
                return
            given: list[Outcome] = []
            async for outcome in batch:
                given.append(outcome)
                if len(given) > iterate:
                    break
            check(given == call.reported[: len(given)], call, f"gave {given}")
            if len(given) > iterate:
                self.server.check_report(call, batch.report)
                call.closed = True  # nothing is sent after this moment
                call.uninterrupted, all_recorded = False, False
                await asyncio.sleep(0.01)
                all_recorded = True
        finally:
            call.report = batch.report
            self.server.check_report(call, call.report)
            reported = {outcome.trade_id: outcome for outcome in call.report}
            if call.reported_ids and all_recorded:  # otherwise it was cancelled before it began
                check(reported == call.outcomes, call, f"{reported}, not {call.outcomes}")
            call.outcomes = reported

    async def _close_by_market(self, call: Call, options: dict[str, Any]) -> None:
        (trade_id,) = call.ids
        state = CloseState.ACCEPTED
        try:
            await self.client.smart_trades.close_by_market(trade_id, **options)
        except asyncio.CancelledError:
            sent = any(not post.refused for post in call.closes(trade_id))
            state = CloseState.UNKNOWN if sent else CloseState.NOT_SENT
            raise
        except OutcomeUnknownError:
            state = CloseState.UNKNOWN
        except CloseFailedError:
            state = CloseState.FAILED
        except NotFoundError:
            state = CloseState.NOT_FOUND
        except RequestNotSentError:
            state = CloseState.NOT_SENT
        except ThreeCommasError:
            state = CloseState.REJECTED
        finally:
            attempts = call.attempts[trade_id]
            self.server.record(call, CloseOutcome(trade_id, state, attempts=attempts))

    async def _close_all(self, call: Call, options: dict[str, Any], *, iterate: int | None) -> None:
        server = self.server
        before = server.seen_open()
        batch = self.client.smart_trades.close_all(on_outcome=self.record(call), **options)
        try:
            await self._consume(call, batch, iterate)
        except ThreeCommasError:
            server.check(not call.attempts, call, "it raised after it had closed")
        left = {i for i in before if call.pair in {None, pair_of(i)}} - server.accepted.keys()
        is_ok = batch.report.ok
        server.check(not (is_ok and left), call, f"the report is ok, but {left} are open")

    # --- invariants

    @invariant()
    def no_violation(self) -> None:
        assert not self.server.violations, "\n".join(self.server.violations)

    @invariant()
    def no_task_outlives_the_calls(self) -> None:
        if not self.running:
            names = {task.get_name() for task in asyncio.all_tasks(self.loop)}
            assert names <= {"server"}, names

    def teardown(self) -> None:
        try:
            self._drain_and_close_all()
        finally:
            for task in (left := asyncio.all_tasks(self.loop)):
                task.cancel()
            self.run(asyncio.wait(left) if left else asyncio.sleep(0))
            self.run(self.client.aclose())
            self.loop.close()
            self.log.removeFilter(self.user_code.filter)

    def _drain_and_close_all(self) -> None:
        """Let the remaining faults happen, end all calls, then close the remaining trades."""
        server = self.server
        self.pass_time(seconds=60.0)
        self.no_violation()
        self.user_code.errors.clear()
        server.lag = 0.0
        server.unknown_codes.clear()
        server.read_faults.clear()
        server.close_faults.clear()
        self.pass_time(seconds=1000.0)
        assert not self.running, "some calls do not end"
        for trade_id in server.status:
            self.enter_position(trade_id=trade_id)
        self.close_many(chosen=[*server.status], confirm=True, deadline=None, iterate=None)
        self.pass_time(seconds=1000.0)
        assert {outcome.state for outcome in server.calls[-1].outcomes.values()} <= DEFINITE

        async def look_back() -> None:
            for call in server.calls:
                for outcome in call.outcomes.values():
                    server.check_outcome(call, outcome)

        self.run(look_back())
        self.no_violation()
        assert not asyncio.all_tasks(self.loop)


TestClosing = pytest.mark.slow(Closing.TestCase)
TestClosing.settings = settings(
    max_examples=int(os.environ.get("CLOSING_EXAMPLES", "60")),
    # The suite repeats the same sequences; the soak looks for new ones.
    derandomize="CLOSING_EXAMPLES" not in os.environ,
    # Shrinking takes minutes. With CLOSING_SHRINK=0 a run ends at the first failure.
    phases=[Phase.generate] if os.environ.get("CLOSING_SHRINK") == "0" else [*Phase],
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
