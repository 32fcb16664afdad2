"""The server of the closing state machine: checks every request and outcome against its ledger.

It finishes what it has begun even if its caller leaves. Each call sends its number in the header
`X-Call`, so every request belongs to one call.
"""

import asyncio
import itertools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import httpx
from attrs import define, field
from hypothesis import event

from tests.closing.machine_faults import (
    BLOCK,
    REFUSALS,
    UNANSWERED,
    UNREADABLE,
    Fault,
    OddError,
)
from tests.support import Api, error
from threecommas_async import CloseBatch, CloseOutcome, CloseReport, CloseState, SmartTrade

Outcome = CloseOutcome[SmartTrade]
Report = CloseReport[SmartTrade]

TRADES = 6
LIMIT, WINDOW = 8, 10.0
TICK = 2.0**-20
"""Resolution of the virtual clock. A power of two, so that sums of such times are exact."""
SLACK = 1e-3

DEFINITE = {*CloseState} - {CloseState.UNKNOWN, CloseState.NOT_SENT, CloseState.REJECTED}
"""States that say what became of a trade."""
CLOSABLE = {"POST": "waiting_targets", "DELETE": "waiting_position"}
"""The status in which a request of this method can close a trade."""

KNOWN_VIOLATIONS = {
    "rejected although carried out late",
    "unknown although no close was unanswered",
    "cancelled before its tasks have ended",
    "already closed by an earlier round",  # another call closed it in between
}
"""Violations not yet fixed. Remove an entry once it is fixed, and the machine checks for it."""

PAIRS = ("USDT_BTC", "USDT_ETH")
UNKNOWN_CODE = "take_profit_move_pending"
"""A status code unknown to the client. It sounds like closing, but the trade is open."""

LAG_ALLOWANCE = 30.0
"""Seconds after an accepted close during which reads that show the trade open prove nothing."""
MAX_READ_AGE = 6.0
"""Maximum seconds between the read that showed an entry not filled and its cancel."""


@define(eq=False, repr=False)
class Request:
    """One request that reached the server. `sent` and `ended` count events, not seconds."""

    call: "Call"
    method: str
    trade_id: int | None
    sent: int
    ended: int | None = None
    """When it was over for its caller."""
    pending: bool = False
    """It may still be carried out."""
    refused: bool = False
    """Its caller was answered that it was not carried out."""
    accepted: bool = False
    """Its caller was answered that it was carried out."""
    missing: bool = False
    """Its caller was answered that there is no such trade."""
    accepted_at: float = -math.inf
    """When its caller was answered with a 2xx, parsable or not."""
    shown: frozenset[tuple[int, str]] = frozenset()
    """Trades, with the status that its answer showed to its caller."""

    def __repr__(self) -> str:
        return f"{self.method} {self.trade_id} of call {self.call.number}"

    @property
    def closes(self) -> bool:
        return self.method != "GET"


@define(eq=False)
class Call:
    """One call of the client: its arguments, its requests, its outcomes."""

    number: int
    kind: str
    ids: list[int]
    pair: str | None = None
    """The pair filter of a `close_all`."""
    client: int = 0
    """Number of the client that made it; clients do not know each other's closes."""
    task: "asyncio.Task[None] | None" = None
    batch: CloseBatch[SmartTrade] | None = None
    report: Report | None = None
    over: bool = False
    uninterrupted: bool = True
    """Neither cancelled nor closed, and without a deadline."""
    confirms: bool = False
    """It waits for confirmation before it reports that a close is accepted."""
    closed: bool = False
    """Its client has been closed: nothing may be sent any more."""
    stopped: bool = False
    """One of its closes got an answer that stops all others."""
    requests: list[Request] = field(factory=list[Request])
    attempts: Counter[int] = field(factory=Counter[int])
    outcomes: dict[int, Outcome] = field(factory=dict[int, Outcome])
    reported: list[Outcome] = field(factory=list[Outcome])
    """The outcomes it has reported, in order."""

    @property
    def reported_ids(self) -> list[int]:
        """The ids it has reported, in order."""
        return [outcome.trade_id for outcome in self.reported]

    def closes(self, trade_id: int | None) -> list[Request]:
        return [r for r in self.requests if r.closes and r.trade_id == trade_id]

    def seen(self, trade_id: int, after: int | None) -> set[str]:
        """Return the statuses of a trade in the reads sent after that event."""
        reads = [r for r in self.requests if after is not None and r.sent > after]
        return {status for r in reads for shown, status in r.shown if shown == trade_id}


class Server(Api):
    """Keeps a ledger, and checks every request and every outcome against it."""

    def __init__(self) -> None:
        super().__init__(range(1, TRADES + 1))
        self.calls: list[Call] = []
        self.close_faults: dict[int, list[Fault]] = {}
        self.read_faults: list[Fault] = []
        self.carried_out_by: dict[int, Call] = {}
        self.violations: list[str] = []
        """Violations. The client would take an assertion raised here for a lost connection."""
        self.lag = 0.0
        """Seconds by which reads lag behind what was carried out."""
        self.entered_at: dict[int, float] = {}
        self.unknown_codes: set[int] = set()
        """Open trades that reads show with an unknown code."""
        self.ignores_filters = False
        self._history: dict[int, list[tuple[float, str]]] = {}
        self._missing: set[tuple[int, int]] = set()
        """Pairs (call, trade) where the last read of the call did not find the trade."""
        self._reported_accepted: set[tuple[int, int]] = set()
        """Pairs (client, trade) where a call has reported that the close is accepted."""
        self._found_accepted_at: dict[tuple[int, int], float] = {}
        """Time of the last such report by a call that had just found it out."""
        self._settled_at_event: dict[int, int] = {}
        """Event number of the last report of a trade's definite state."""
        self._events = itertools.count()
        self._arrivals: list[float] = []
        self.blocked_until: dict[int, float] = {}
        """Time until which each client knows that nothing may be sent."""

    def check(self, holds: object, call: Call, what: str) -> None:
        if not holds:
            self.violations.append(f"{call.kind} (call {call.number}) at {_now():.3f}: {what}")

    # --- requests

    async def __call__(self, http: httpx.Request) -> httpx.Response:
        try:
            return await self._answer(http)
        except (httpx.TransportError, OddError, asyncio.CancelledError):
            raise
        except Exception as defect:
            self.violations.append(f"a defect of this server: {defect!r}")
            raise

    async def _answer(self, http: httpx.Request) -> httpx.Response:
        call = self.calls[int(http.headers["X-Call"])]
        name = http.url.path.removesuffix("/close_by_market").rsplit("/", 1)[1]
        trade_id = int(name) if name.isdecimal() else None
        faults = self.read_faults
        if http.method != "GET" and trade_id is not None:
            call.attempts[trade_id] += 1
            faults = self.close_faults.get(trade_id, [])
        fault = faults.pop(0) if faults else Fault()
        if fault.answer == "no connection":
            raise httpx.ConnectError("refused")
        request = Request(call, http.method, trade_id, next(self._events))
        request.pending = request.closes
        self._check_request(request)
        call.requests.append(request)
        serving = asyncio.create_task(self._serve(http, request, fault), name="server")
        try:
            answer = await asyncio.shield(serving)
        finally:
            request.ended = next(self._events)
        if isinstance(answer, Exception):
            raise answer
        if fault.answer in {"418", "429", "429 in an odd charset"}:
            self.blocked_until[call.client] = _now() + BLOCK
        call.stopped |= request.closes and fault.answer in {"401", "418", "plan"}
        if fault.answer not in UNANSWERED:
            request.refused, request.accepted = answer.is_client_error, answer.is_success
            request.accepted_at = _now() if answer.is_success else -math.inf
            request.missing = fault.answer in {"404", "missing"} and answer.status_code == 404
            request.shown = _statuses(answer) if not request.closes else request.shown
        if fault.answer in UNREADABLE and request.method == "POST":
            request.accepted_at = _now()
        return answer

    async def _serve(
        self, http: httpx.Request, request: Request, fault: Fault
    ) -> httpx.Response | Exception:
        """Answer, and carry out or not, even if the caller has left."""
        await asyncio.sleep(0.1)
        answer: httpx.Response | Exception
        if fault.answer in {*UNANSWERED, *REFUSALS}:
            answer = {**UNANSWERED, **REFUSALS}[fault.answer]()
            exists = request.trade_id in self.status
            if fault.answer in REFUSALS or fault.applied == "never" or not exists:
                request.pending = False
            elif request.closes and fault.applied == "now":
                self._carry_out(request)
            elif request.closes:
                loop = asyncio.get_running_loop()
                loop.call_later(fault.delay, self._carry_out, request)
        elif request.closes:
            answer = self._carry_out(request)
        else:
            answer = await self._read_with_lag(http, request, fault)
        slow = fault.delay if fault.answer == "right" else 0.0
        await asyncio.sleep(30.0 if fault.answer == "silence" else 0.1 + slow)
        return answer

    async def _read_with_lag(
        self, http: httpx.Request, request: Request, fault: Fault
    ) -> httpx.Response:
        trade_id = request.trade_id
        if trade_id is None:
            if self.ignores_filters:
                http = httpx.Request("GET", http.url.copy_remove_param("pair"))
            return self._with_lag(lambda: self._list(http))
        reader = request.call.number, trade_id
        if fault.answer == "missing" and reader not in self._missing:
            self._missing.add(reader)  # its next read finds it
            return error(404, "not_found")
        self._missing.discard(reader)
        if trade_id not in self.status:
            return await self._read(trade_id)
        return self._with_lag(lambda: httpx.Response(200, json=self.trade(trade_id)))

    def _with_lag(self, read: Callable[[], httpx.Response]) -> httpx.Response:
        """Answer a read with the state of `lag` seconds ago."""
        self.remember()
        true, accepted = self.status.copy(), self.accepted.copy()
        if self.lag:
            then = _now() - self.lag
            for trade_id, history in self._history.items():
                self.status[trade_id] = next(s for at, s in reversed(history) if at <= then)
            self.accepted.clear()  # otherwise `trade` would bring it up to date
        self.status |= {
            trade_id: UNKNOWN_CODE
            for trade_id in self.unknown_codes
            if self.status[trade_id] == CLOSABLE["POST"]
        }
        try:
            return read()
        finally:
            self.status |= true
            self.accepted |= accepted

    def trade(self, trade_id: int) -> dict[str, Any]:
        return {**super().trade(trade_id), "pair": pair_of(trade_id)}

    def remember(self) -> None:
        """Record what has changed, for reads that lag."""
        for trade_id in self.status:
            self.trade(trade_id)  # brings its status up to date
            history = self._history.setdefault(trade_id, [(-1e9, self.status[trade_id])])
            if history[-1][1] != self.status[trade_id]:
                history.append((_now(), self.status[trade_id]))

    def seen_open(self) -> set[int]:
        """Return the trades that are open, for lagging reads as well."""
        self.remember()
        then = _now() - self.lag
        return {
            trade_id
            for trade_id, history in self._history.items()
            if {status for at, status in history[-1:] if at <= then} == {CLOSABLE["POST"]}
        }

    def _carry_out(self, request: Request) -> httpx.Response:
        self.remember()
        request.pending = False
        trade_id = request.trade_id or 0
        if request.method == "DELETE" and self.status[trade_id] == CLOSABLE["DELETE"]:
            self.status[trade_id] = CLOSABLE["POST"]  # for a moment: a cancel ends it as well
        answer = self.apply(trade_id)
        if answer.is_success:
            self.carried_out_by[trade_id] = request.call
        self.remember()
        return answer

    def _check_request(self, request: Request) -> None:
        call, trade_id = request.call, request.trade_id
        self.check(not call.over, call, "a request after its end")
        self.check(not call.closed, call, "a request after its client was closed")
        self.check(not (call.stopped and request.closes), call, "a close after it was stopped")
        blocked = _now() < self.blocked_until.get(call.client, 0.0) - SLACK
        self.check(not blocked, call, "a request during a block")
        self._arrivals = [at for at in self._arrivals if at > _now() - WINDOW + SLACK] + [_now()]
        self.check(len(self._arrivals) <= LIMIT, call, "a request above the limit")
        if request.method == "DELETE" and trade_id is not None:
            since = _now() - self.entered_at.get(trade_id, math.inf)
            self.check(
                since <= MAX_READ_AGE + self.lag, call, f"a cancel of a filled entry: {request}"
            )
        if request.closes and trade_id is not None:
            meant = call.pair in {None, pair_of(trade_id)}
            self.check(meant, call, f"{request}, which the filter leaves out")
            for earlier in [post for other in self.calls for post in other.closes(trade_id)]:
                self._check_repeat(request, trade_id, earlier)

    def _check_repeat(self, request: Request, trade_id: int, earlier: Request) -> None:
        """Check the rule in the docstring of `test_closing_machine`."""
        if earlier.call.client != request.call.client:
            return
        reported = (request.call.client, trade_id) in self._reported_accepted
        # A call that was cancelled with an unreadable answer in hand may not have known it.
        reported |= not earlier.accepted and earlier.call.uninterrupted
        reported &= earlier.method == "POST"  # a cancelled entry may have been filled all the same
        known_at = earlier.accepted_at if reported else -math.inf
        if earlier.method == "POST":
            known_at = max(
                known_at, self._found_accepted_at.get((request.call.client, trade_id), -math.inf)
            )
        too_early = _now() < known_at + LAG_ALLOWANCE - SLACK
        self.check(not too_early, request.call, f"{request} after its close was accepted")
        calls = [c for c in self.calls if c.client == request.call.client]
        seen = set[str]().union(*(c.seen(trade_id, earlier.ended) for c in calls))
        allowed = earlier.refused or CLOSABLE[request.method] in seen
        if earlier.call is not request.call:
            allowed |= earlier.accepted or self._settled_at_event.get(trade_id, -1) > earlier.sent
            allowed |= bool(seen)
        self.check(allowed, request.call, f"{request} after {earlier}, without a read")
        if earlier.call is request.call and self.carried_out_by.get(trade_id) is earlier.call:
            event("late double: carried out after the read that showed it open")

    # --- outcomes

    def record(self, call: Call, outcome: Outcome) -> None:
        """Record an outcome at the moment a call reports it."""
        call.outcomes[outcome.trade_id] = outcome
        call.reported.append(outcome)
        if outcome.state is CloseState.ACCEPTED:
            self._reported_accepted.add((call.client, outcome.trade_id))
            if call.kind == "close_many" and not call.confirms:
                self._found_accepted_at[call.client, outcome.trade_id] = _now()
        if outcome.state in DEFINITE:
            self._settled_at_event[outcome.trade_id] = next(self._events)
        accepted = any(post.accepted for post in call.closes(outcome.trade_id))
        lost = outcome.state is CloseState.UNKNOWN and accepted and call.uninterrupted
        self.check(not lost, call, f"{outcome}, though a close was accepted")
        self.check_outcome(call, outcome)

    def check_outcome(self, call: Call, outcome: Outcome) -> None:
        """Check an outcome against the current state of the ledger."""
        trade_id = outcome.trade_id
        done, mine = trade_id in self.accepted, self.carried_out_by.get(trade_id) is call
        status = self.trade(trade_id)["status"]["basic_type"] if trade_id in self.status else ""
        pending = any(request.pending for request in call.closes(trade_id))
        posts = [post for other in self.calls for post in other.closes(trade_id)]
        unlisted = [post for post in posts if post.call.kind != "close_all"]
        # `cancel_many` reads each trade first, so nothing has shown before that the trade exists.
        cancels = [other for other in self.calls if other.kind == "cancel_many"]
        unlisted += [read for c in cancels for read in c.requests if read.trade_id == trade_id]
        truths = {
            CloseState.ACCEPTED: done,
            CloseState.CLOSED: done and status == "panic_sold",
            CloseState.FAILED: done and status == "failed",
            CloseState.ALREADY_CLOSED: done and not mine,
            CloseState.NOT_FOUND: not status or any(post.missing for post in unlisted),
            CloseState.NOT_SENT: not mine and not pending,
            CloseState.REJECTED: not mine and not pending,
            CloseState.UNKNOWN: any(not post.refused for post in posts),
        }
        if "rejected although carried out late" in KNOWN_VIOLATIONS and outcome.attempts > 1:
            truths[CloseState.REJECTED] = True
        if "already closed by an earlier round" in KNOWN_VIOLATIONS and call.kind == "close_all":
            truths[CloseState.ALREADY_CLOSED] = done
        if "unknown although no close was unanswered" in KNOWN_VIOLATIONS:
            truths[CloseState.UNKNOWN] = True
        truth = f"{status=} {done=} {mine=} {pending=}"
        self.check(truths[outcome.state], call, f"{outcome}, but {truth}")
        if call.kind in {"close_many", "cancel_many"}:
            self.check(outcome.attempts == call.attempts[trade_id], call, f"attempts: {outcome}")

    def check_report(self, call: Call, report: Report) -> None:
        order = [outcome.trade_id for outcome in report]
        known = list(dict.fromkeys(order if call.kind == "close_all" else call.ids))
        self.check(order == known, call, f"not one outcome each: {order}")
        for outcome in report:
            self.check_outcome(call, outcome)


def pair_of(trade_id: int) -> str:
    return PAIRS[trade_id % 2]


def _now() -> float:
    return asyncio.get_running_loop().time()


def _statuses(answer: httpx.Response) -> frozenset[tuple[int, str]]:
    if not answer.is_success:
        return frozenset()
    found: Any = answer.json()
    trades = cast("list[dict[str, Any]]", found if isinstance(found, list) else [found])
    return frozenset((trade["id"], trade["status"]["basic_type"]) for trade in trades)
