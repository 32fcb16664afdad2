"""Closing as a state machine: calls, faults, time and cancellations in any order.

Everything runs in virtual time against a server in memory (`closing_server`) that goes on with what
it has begun when its caller leaves, and may carry a close out long after it left its caller without
an answer. What is checked, at every request and for every outcome:

**When may a close of x be POSTed again?** (G3) For each earlier POST of x that reached the server,
by whichever call of the client, one of these has to hold when the next one leaves:

1. The earlier one was refused: its caller was answered 4xx, other than 408.
2. A read that was sent after the earlier one had ended for its caller, and that has been answered,
   showed x open and closable.
3. The two belong to different calls, and the client knew what became of x: the earlier one was
   answered 201, a read after it showed x in whatever state, or a call has reported x as closing,
   closed or not found. Whoever asks for a close of that asks anew, and the server refuses.

And for 30 s after the client was answered 2xx, understood or not, or has reported a close that was
in question as accepted, 2 and 3 do not count: reads may lag behind.

Nothing else: an earlier one that is still in flight, that lost its answer, or whose caller was
cancelled, forbids the next. So a call POSTs again what it has closed only where the close was
carried out after a read (1 and 2 leave no other way): too late for any client to know. That is
allowed and counted, see `pytest --hypothesis-show-statistics`.

**What may be reported?** (G2) One outcome for every id, in order, at any moment. ACCEPTED, CLOSED
and FAILED only for what was carried out; ALREADY_CLOSED only for what another call carried out;
NOT_SENT, NOT_FOUND and REJECTED only where no POST of this call was carried out or still can be;
UNKNOWN only where some POST of x, of this call or another, was not refused. Held against the books
when it is said, and once more in the end.

**Further:** no call sends anything after its end or closes anything after 401, 418 or a refused
plan, ends later than a second after its deadline, or waits when it is cancelled; no task runs on;
no window sees more than the limit (G4); nothing is sent during a block (G5); and once nothing goes
wrong any more, all calls end and the next closes the rest.
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
    Foreign,
    UnreliableLimiter,
    close_faults,
    read_faults,
)
from tests.closing.machine_server import (
    CLOSABLE,
    LIMIT,
    PAIRS,
    SLACK,
    TICK,
    TOLD,
    TOLERATED,
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
    """Each rule does one thing; time passes in `time_passes` alone."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = looptime.new_event_loop(
            start=0, resolution=TICK, noop_cycles=IDLE_TURNS, _enabled=True
        )
        self.server = Server()
        self.foreign = Foreign()
        self.clients = 0
        self.limiter = UnreliableLimiter(self.foreign, LIMIT, WINDOW, reserve=1)
        self.client = self.new_client()
        self.closed: list[AsyncClient] = []
        self.log = logging.getLogger("threecommas_async")
        self.log.addFilter(self.foreign.filter)

    def new_client(self) -> AsyncClient:
        self.clients += 1
        return client_of(
            self.server,
            limiter=self.limiter,
            max_connections=3,
            retry=RetryPolicy(attempts=3),
            timeout=httpx.Timeout(connect=5.0, read=30.0, write=10.0, pool=None),
            hooks=[self.foreign.hook],
        )

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        self.loop.run_until_complete(work)

    @property
    def running(self) -> list[Call]:
        return [call for call in self.server.calls if not call.over]

    # --- the server

    @initialize(failing=st.booleans(), pending=st.integers(0, 2))
    def some_trades_differ(self, *, failing: bool, pending: int) -> None:
        self.server.failing = {1: "Insufficient balance"} if failing else {}
        for trade_id in range(TRADES, TRADES - pending, -1):
            self.server.status[trade_id] = CLOSABLE["DELETE"]

    @rule(trade_id=trade_ids, faults=close_faults)
    def closes_will_fail(self, trade_id: int, faults: list[Fault]) -> None:
        self.server.close_faults.setdefault(trade_id, []).extend(faults)

    @rule(answer=st.sampled_from(UNREADABLE), lag=lags)
    def all_closes_are_answered_unreadably(self, answer: str, lag: float) -> None:
        """Once each, with reads that lag: together they come about too seldom by themselves."""
        self.server.lag = lag
        for trade_id in self.server.status:
            self.server.close_faults.setdefault(trade_id, []).append(Fault(answer))

    @rule(faults=read_faults)
    def reads_will_fail(self, faults: list[Fault]) -> None:
        self.server.read_faults.extend(faults)

    @rule(trade_id=trade_ids)
    def a_position_is_entered(self, trade_id: int) -> None:
        async def enter() -> None:
            self.server.remember()
            if self.server.status[trade_id] == CLOSABLE["DELETE"]:
                self.server.status[trade_id] = CLOSABLE["POST"]
                self.server.entered_at[trade_id] = self.loop.time()
            self.server.remember()

        self.run(enter())

    @rule(trade_id=trade_ids, ignores_filters=st.booleans())
    def listings_are_odd(self, *, trade_id: int, ignores_filters: bool) -> None:
        self.server.codes_unheard_of ^= {trade_id}
        self.server.ignores_filters = ignores_filters

    @rule(lag=lags)
    def reads_lag(self, lag: float) -> None:
        self.server.lag = lag

    @rule(moods=st.lists(st.sampled_from([None, *Foreign.MOODS]), max_size=12))
    def foreign_code_will_raise(self, moods: list[type[BaseException] | None]) -> None:
        self.foreign.moods.extend(moods)

    @rule()
    def the_client_is_closed(self) -> None:
        """Another one follows it: of a block it knows what the limiter has taken down."""
        calls = [call for call in self.running if call.client == self.clients]

        async def close() -> None:
            before = self.loop.time()
            await self.client.aclose()
            assert self.loop.time() - before < SLACK, "closing the client waits for something"
            for call in calls:
                call.closed, call.undisturbed = True, False
            self.client = self.new_client()
            self.server.blocked_until[self.clients] = before + self.limiter.blocked_for()

        self.run(close())

    # --- the client

    @rule(
        these=st.lists(ids, min_size=1, max_size=9),
        confirm=st.booleans(),
        deadline=deadlines,
        iterate=st.none() | st.sampled_from([0, 1, 2, 99]),
    )
    def close_many(
        self, *, these: list[int], confirm: bool, deadline: float | None, iterate: int | None
    ) -> None:
        """`iterate`: how many outcomes to take before the loop is left; None to await it."""
        options = {"confirm": confirm, "deadline": deadline}
        self.start("close_many", these, self._many, options, iterate=iterate)

    @rule(
        these=st.lists(ids, min_size=1, max_size=5),
        deadline=deadlines,
        iterate=st.none() | st.sampled_from([0, 1, 99]),
    )
    def cancel_many(self, *, these: list[int], deadline: float | None, iterate: int | None) -> None:
        options = {"deadline": deadline}
        self.start("cancel_many", these, self._many, options, iterate=iterate)

    @precondition(lambda self: any(call.report for call in self.server.calls))
    @rule(data=st.data(), deadline=deadlines)
    def close_leftovers(self, data: st.DataObject, deadline: float | None) -> None:
        reports = [call.report for call in self.server.calls if call.report]
        these = list(data.draw(st.sampled_from(reports[-3:]), label="report").leftovers)
        self.close_many(these=these, confirm=False, deadline=deadline, iterate=None)

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
    def a_moment_passes(self, seconds: float) -> None:
        self.time_passes(seconds)

    @rule(seconds=st.sampled_from([2.0, 8.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule(turns=st.integers(1, 12))
    def the_loop_turns(self, turns: int) -> None:
        """A little, so that a cancellation comes at every place there is."""
        for _ in range(turns):
            self.run(asyncio.sleep(0))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), wait=st.booleans())
    def cancel(self, *, data: st.DataObject, wait: bool) -> None:
        call = data.draw(st.sampled_from(self.running), label="call")
        assert call.task is not None
        call.undisturbed = False
        call.task.cancel()
        before = self.loop.time()
        if wait or "cancelled without waiting" in TOLERATED:
            self.run(asyncio.wait({call.task}))
        assert self.loop.time() - before < SLACK, "a cancelled call waits for something"

    @precondition(lambda self: any(call.batch for call in self.running))
    @rule(data=st.data())
    def look_at_the_report(self, data: st.DataObject) -> None:
        calls = [call for call in self.running if call.batch]
        call = data.draw(st.sampled_from(calls), label="call")

        async def look() -> None:
            assert call.batch is not None
            self.server.judge_report(call, call.batch.report)

        self.run(look())

    # --- how a call is made

    def start(
        self, kind: str, these: list[int], work: Work, options: dict[str, Any], **how: Any
    ) -> None:
        call = Call(len(self.server.calls), kind, these, options.get("pair"), self.clients)
        self.server.calls.append(call)
        call.undisturbed = options["deadline"] is None
        call.confirms = options.get("confirm", False)
        options["extra_headers"] = {"X-Call": str(call.number)}

        async def run() -> None:
            try:
                await work(call, options, **how)
            except Exception as defect:  # noqa: BLE001 - a defect of the package, or in here
                self.server.wrong.append(f"{kind} {call.number}: {defect!r}")

        def ended(_: object) -> None:
            call.over = True

        call.task = self.loop.create_task(run(), name=f"call {call.number}")
        call.task.add_done_callback(ended)

    def hear(self, call: Call) -> Callable[[Outcome], None]:
        def hear(outcome: Outcome) -> None:
            self.server.hear(call, outcome)
            self.foreign.act()

        return hear

    async def _many(self, call: Call, options: dict[str, Any], *, iterate: int | None) -> None:
        began, check = self.loop.time(), self.server.check
        verb = getattr(self.client.smart_trades, call.kind)
        batch = verb(call.ids, on_outcome=self.hear(call), **options)
        try:
            await self._to_the_end(call, batch, iterate)
        finally:
            check(len(call.heard) in {0, len(call.outcomes)}, call, f"{call.heard} was heard")
        deadline: float | None = options["deadline"]
        late = self.loop.time() - began - (deadline or 0.0)
        check(deadline is None or late <= 1.0, call, f"{late} s after its deadline")

    async def _to_the_end(
        self, call: Call, batch: CloseBatch[SmartTrade], iterate: int | None
    ) -> None:
        """Await or iterate; in the end its report says what was heard of each id last."""
        call.batch = batch
        check, all_heard = self.server.check, True
        try:
            if iterate is None:
                await batch
                return
            given: list[Outcome] = []
            async for outcome in batch:
                given.append(outcome)
                if len(given) > iterate:
                    break
            check(given == call.told[: len(given)], call, f"gave {given}")
            if len(given) > iterate:
                self.server.judge_report(call, batch.report)
                call.closed = True  # nothing leaves after this moment
                call.undisturbed, all_heard = False, False
                await asyncio.sleep(0.01)
                all_heard = True
        finally:
            call.report = batch.report
            self.server.judge_report(call, call.report)
            told = {outcome.trade_id: outcome for outcome in call.report}
            if call.heard and all_heard:  # else it was cancelled before it began
                check(told == call.outcomes, call, f"{told}, but {call.outcomes} was heard")
            call.outcomes = told

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
            self.server.hear(call, CloseOutcome(trade_id, state, attempts=attempts))

    async def _close_all(self, call: Call, options: dict[str, Any], *, iterate: int | None) -> None:
        server = self.server
        before = server.seen_open()
        batch = self.client.smart_trades.close_all(on_outcome=self.hear(call), **options)
        try:
            await self._to_the_end(call, batch, iterate)
        except ThreeCommasError:
            server.check(not call.attempts, call, "it raised, and yet it closed")
        left = {i for i in before if call.pair in {None, pair_of(i)}} - server.accepted.keys()
        all_well = batch.report.ok
        server.check(not (all_well and left), call, f"all is well, and {left} are open")

    # --- what always holds

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert not self.server.wrong, "\n".join(self.server.wrong)

    @invariant()
    def nothing_runs_on_by_itself(self) -> None:
        if not self.running:
            names = {task.get_name() for task in asyncio.all_tasks(self.loop)}
            assert names <= {"server"}, names

    def teardown(self) -> None:
        try:
            self._end_well()
        finally:
            for task in (left := asyncio.all_tasks(self.loop)):
                task.cancel()
            self.run(asyncio.wait(left) if left else asyncio.sleep(0))
            self.run(self.client.aclose())
            self.loop.close()
            self.log.removeFilter(self.foreign.filter)

    def _end_well(self) -> None:
        """Let what is to go wrong do so, then nothing: all calls end, one more closes the rest."""
        server = self.server
        self.time_passes(seconds=60.0)
        self.nothing_is_wrong()
        self.foreign.moods.clear()
        server.lag = 0.0
        server.codes_unheard_of.clear()
        server.read_faults.clear()
        server.close_faults.clear()
        self.time_passes(seconds=1000.0)
        assert not self.running, "some calls do not end"
        for trade_id in server.status:
            self.a_position_is_entered(trade_id=trade_id)
        self.close_many(these=[*server.status], confirm=True, deadline=None, iterate=None)
        self.time_passes(seconds=1000.0)
        assert {outcome.state for outcome in server.calls[-1].outcomes.values()} <= TOLD

        async def look_back() -> None:
            for call in server.calls:
                for outcome in call.outcomes.values():
                    server.judge(call, outcome)

        self.run(look_back())
        self.nothing_is_wrong()
        assert not asyncio.all_tasks(self.loop)


TestClosing = pytest.mark.slow(Closing.TestCase)
TestClosing.settings = settings(
    max_examples=int(os.environ.get("CLOSING_EXAMPLES", "60")),
    # The suite repeats the same sequences; new ones are for the soak to find.
    derandomize="CLOSING_EXAMPLES" not in os.environ,
    # Shrinking takes minutes. Without it a run ends at the first failure.
    phases=[Phase.generate] if os.environ.get("CLOSING_SHRINK") == "0" else [*Phase],
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
