"""From a request to the decision what becomes of it, in one uninterrupted step, without sockets.

Every request takes the same way: it is counted, its key, signature and permission are checked,
the dice decide whether it meets a fault, the operation is carried out, the ledger takes it down.
"""

from __future__ import annotations

import itertools
import math
import uuid
from typing import TYPE_CHECKING

import attrs

from .answers import Answer, RefusalError, banned, error, html, limited, plan_refused
from .faults import Fault
from .ledger import RequestRecord
from .limits import Limiter, RateLimit
from .routes import Call, answer_of_another, match
from .signature import payloads, same

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .answers import LimitBody
    from .exchange import Exchange
    from .faults import Dice
    from .ledger import Ledger
    from .limits import Refusal
    from .routes import Permission, Route
    from .signature import Verifier

CUT = frozenset(
    {
        Fault.RESET_BEFORE,
        Fault.RESET_AFTER,
        Fault.SILENCE_BEFORE,
        Fault.SILENCE_AFTER,
        Fault.STALE_BEFORE,
    }
)
"""Faults that leave the caller without so much as a status line."""

_EARLY: Mapping[Fault, LimitBody] = {
    Fault.EARLY_429_TEXT: "text",
    Fault.EARLY_429_JSON: "json",
    Fault.EARLY_429_HTML: "html",
}
_UNAVAILABLE = html(503, "Service Unavailable")
_BAD_GATEWAY = html(502, "Bad Gateway")
_NO_SUCH_PAGE = html(404, "Not Found")
_GATEWAY_TIMEOUT = Answer(status=504, content_type="text/plain")
_PROXY = {
    Fault.UNAVAILABLE_BEFORE: _UNAVAILABLE,
    Fault.UNAVAILABLE_AFTER: _UNAVAILABLE,
    Fault.BAD_GATEWAY_BEFORE: _BAD_GATEWAY,
    Fault.BAD_GATEWAY_AFTER: _BAD_GATEWAY,
    Fault.GATEWAY_TIMEOUT_BEFORE: _GATEWAY_TIMEOUT,
    Fault.GATEWAY_TIMEOUT_AFTER: _GATEWAY_TIMEOUT,
    Fault.GATEWAY_404_BEFORE: _NO_SUCH_PAGE,
    Fault.GATEWAY_404_AFTER: _NO_SUCH_PAGE,
    Fault.DRIP_BEFORE: _BAD_GATEWAY,
}
"""What a proxy says when the API behind it does not answer; from the outside, when is unknown."""
_NOTHING = Answer(status=500)  # never sent: the connection is cut instead


@attrs.frozen(kw_only=True)
class Incoming:
    """A request as it came over the wire."""

    method: str
    target: bytes
    """Path and query, as raw as they came."""
    body: bytes
    api_key: str
    signature: str
    content_type: str


@attrs.frozen(kw_only=True)
class Access:
    """Who may come in, and what they may do."""

    api_key: str = attrs.field(repr=False)
    verify: Verifier = attrs.field(repr=False)
    permissions: frozenset[Permission]

    def denial(self, incoming: Incoming, route: Route) -> Answer | None:
        """Answer why the request may not have what it asks for; None if it may."""
        if not same(self.api_key, incoming.api_key):
            return error(401, "api_key_invalid_or_expired", "API key is invalid or expired")
        is_json = incoming.content_type.startswith("application/json")
        forms = payloads(incoming.target, incoming.body, is_json=is_json)
        if not any(self.verify(form, incoming.signature) for form in forms):
            return error(401, "signature_invalid", "Provided signature is invalid")
        if route.permission is not None and route.permission not in self.permissions:
            missing = f"API key has no permission {route.permission}"
            return error(403, "Forbidden", missing)
        return None


@attrs.frozen
class Decision:
    """What becomes of a request: the answer, and the fault that strikes it on its way out."""

    answer: Answer
    fault: Fault | None = None


class Gateway:
    """The one way in."""

    def __init__(
        self,
        *,
        exchange: Exchange,
        ledger: Ledger,
        access: Access,
        rate_limit: RateLimit | None,
        dice: Dice,
    ) -> None:
        self._exchange = exchange
        self._clock = exchange.clock
        self._ledger = ledger
        self._access = access
        self._limiter = Limiter(rate_limit)
        self._forms = rate_limit or RateLimit()
        self._bodies = itertools.cycle(self._forms.bodies)
        self._dice = dice
        self._faults = dice.faults

    def decide(self, incoming: Incoming) -> Decision:
        """Decide what becomes of a request that has just arrived, and do it."""
        now = self._clock.now()
        path, _, query = incoming.target.decode(errors="replace").partition("?")
        route, id_ = match(incoming.method, path)
        operation = "" if route is None else route.operation
        refusal = self._limiter.arrive(now, operation)
        if refusal is not None:
            decision = Decision(self._refused(refusal))
        elif route is None:
            decision = Decision(error(404, "not_found", "Not Found"))
        else:
            call = Call(id=id_, query=query, body=incoming.body, now=now, as_of=now)
            decision = self._admit(incoming, route, call)
        request_id = str(uuid.UUID(int=len(self._ledger.requests) + 1))
        self._ledger.record(
            RequestRecord(
                time=now,
                method=incoming.method,
                path=path,
                query=query,
                operation=operation,
                closes=route is not None and route.closes,
                trade_id=id_,
                status=None if decision.fault in CUT else decision.answer.status,
                cause=None if refusal is None else refusal.cause,
                fault=decision.fault,
                applied=decision.answer.applied,
                request_id=request_id,
            )
        )
        headers = {**decision.answer.headers, "X-Request-Id": request_id}
        return attrs.evolve(decision, answer=attrs.evolve(decision.answer, headers=headers))

    def _admit(self, incoming: Incoming, route: Route, call: Call) -> Decision:
        denial = self._access.denial(incoming, route)
        if denial is not None:
            return Decision(denial)
        fault = self._dice.throw(call.id, closes=route.closes)
        if fault is None or fault.applied:
            return self._carry_out(route, call, fault)
        undone = self._before(fault, route, call)
        return Decision(undone, fault) if undone else self._carry_out(route, call, None)

    def _carry_out(self, route: Route, call: Call, fault: Fault | None) -> Decision:
        try:
            answer = route.handler(self._exchange, call)
        except RefusalError as refusal:
            return Decision(refusal.answer)
        if self._faults.read_lag and route.method == "GET":
            return self._lagging(route, call, answer)
        if fault is None or not answer.applied:  # nothing was carried out: no such fault to have
            return Decision(answer)
        spoiled = self._after(fault, route, call, answer)
        return Decision(spoiled, fault) if spoiled else Decision(answer)

    def _lagging(self, route: Route, call: Call, fresh: Answer) -> Decision:
        """Answer a read as of some time ago; a fault only if things stood differently then."""
        then = attrs.evolve(call, as_of=call.now - self._faults.read_lag)
        late = route.handler(self._exchange, then)
        return Decision(late, None if late == fresh else Fault.READ_LAG)

    def _refused(self, refusal: Refusal) -> Answer:
        if refusal.status == 418:  # noqa: PLR2004
            return banned(self._clock.next_whole_second(refusal.until))
        return self._limited(next(self._bodies), refusal.until)

    def _limited(self, form: LimitBody, until: float) -> Answer:
        retry_after = None
        if form in self._forms.retry_after:
            retry_after = math.ceil(self._clock.real(until - self._clock.now()))
        return limited(form, self._clock.next_whole_second(until), retry_after)

    def _before(self, fault: Fault, route: Route, call: Call) -> Answer | None:
        """Answer a request that the fault leaves undone; None if there is no such fault to have."""
        if fault in _EARLY:
            until = call.now + self._faults.block
            self._limiter.block(until)
            return self._limited(_EARLY[fault], until)
        if fault is Fault.BAN:
            until = call.now + self._faults.ban_for
            self._limiter.ban(until)
            return banned(self._clock.next_whole_second(until))
        if fault is Fault.PLAN_REFUSAL:
            return plan_refused()
        if fault is Fault.WRONG_ID_BEFORE:
            return answer_of_another(self._exchange, route, call)
        return _PROXY.get(fault, _NOTHING)

    def _after(self, fault: Fault, route: Route, call: Call, answer: Answer) -> Answer | None:
        """Spoil the answer to a request that was carried out, as far as its bytes are concerned.

        None if there is no such fault to have.
        """
        if fault in _PROXY:
            return attrs.evolve(_PROXY[fault], applied=answer.applied)
        if fault is Fault.GARBAGE_AFTER:
            return attrs.evolve(answer, body=b"<!-- upstream: ok -->\xff\xfe")
        if fault is Fault.WRONG_TYPE_AFTER:
            return attrs.evolve(answer, body=b'"ok"' if answer.applied[0] % 2 else b"[]")
        if fault is Fault.WRONG_ID_AFTER:
            another = answer_of_another(self._exchange, route, call)
            return another and attrs.evolve(another, applied=answer.applied)
        return answer
