"""Handle a request synchronously and without I/O.

In order: count it against the limits, check key, signature and permission, choose a fault, execute
the operation, record it in the ledger.
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
    from .faults import FaultInjector
    from .ledger import Ledger
    from .limits import Refusal
    from .routes import Permission, Route
    from .signature import Verifier

NO_RESPONSE = frozenset(
    {
        Fault.RESET_BEFORE,
        Fault.RESET_AFTER,
        Fault.SILENCE_BEFORE,
        Fault.SILENCE_AFTER,
        Fault.STALE_BEFORE,
    }
)
"""Faults with which the client does not even get a status line."""

_EARLY_429_BODIES: Mapping[Fault, LimitBody] = {
    Fault.EARLY_429_TEXT: "text",
    Fault.EARLY_429_JSON: "json",
    Fault.EARLY_429_HTML: "html",
}
_UNAVAILABLE = html(503, "Service Unavailable")
_BAD_GATEWAY = html(502, "Bad Gateway")
_PROXY_NOT_FOUND = html(404, "Not Found")
_GATEWAY_TIMEOUT = Answer(status=504, content_type="text/plain")
_PROXY_ANSWERS = {
    Fault.UNAVAILABLE_BEFORE: _UNAVAILABLE,
    Fault.UNAVAILABLE_AFTER: _UNAVAILABLE,
    Fault.BAD_GATEWAY_BEFORE: _BAD_GATEWAY,
    Fault.BAD_GATEWAY_AFTER: _BAD_GATEWAY,
    Fault.GATEWAY_TIMEOUT_BEFORE: _GATEWAY_TIMEOUT,
    Fault.GATEWAY_TIMEOUT_AFTER: _GATEWAY_TIMEOUT,
    Fault.GATEWAY_404_BEFORE: _PROXY_NOT_FOUND,
    Fault.GATEWAY_404_AFTER: _PROXY_NOT_FOUND,
    Fault.DRIP_BEFORE: _BAD_GATEWAY,
}
"""Answers of a proxy; the client cannot tell whether the API behind it got the request."""
_NO_ANSWER = Answer(status=500)  # never sent: the connection is closed or reset instead


@attrs.frozen(kw_only=True)
class IncomingRequest:
    """A request as it was received."""

    method: str
    target: bytes
    """Path and query as received, not decoded."""
    body: bytes
    api_key: str
    signature: str
    content_type: str


@attrs.frozen(kw_only=True)
class Access:
    """The accepted credentials and their permissions."""

    api_key: str = attrs.field(repr=False)
    verify: Verifier = attrs.field(repr=False)
    permissions: frozenset[Permission]

    def denial(self, request: IncomingRequest, route: Route) -> Answer | None:
        """Return the error if the request is not authorized, else None."""
        if not same(self.api_key, request.api_key):
            return error(401, "api_key_invalid_or_expired", "API key is invalid or expired")
        is_json = request.content_type.startswith("application/json")
        forms = payloads(request.target, request.body, is_json=is_json)
        if not any(self.verify(form, request.signature) for form in forms):
            return error(401, "signature_invalid", "Provided signature is invalid")
        if route.permission is not None and route.permission not in self.permissions:
            missing = f"API key has no permission {route.permission}"
            return error(403, "Forbidden", missing)
        return None


@attrs.frozen
class Decision:
    """The answer to a request, and the fault to inject when it is sent."""

    answer: Answer
    fault: Fault | None = None


class Gateway:
    """Entry point for all requests."""

    def __init__(
        self,
        *,
        exchange: Exchange,
        ledger: Ledger,
        access: Access,
        rate_limit: RateLimit | None,
        injector: FaultInjector,
    ) -> None:
        self._exchange = exchange
        self._clock = exchange.clock
        self._ledger = ledger
        self._access = access
        self._limiter = Limiter(rate_limit)
        self._body_settings = rate_limit or RateLimit()
        self._bodies = itertools.cycle(self._body_settings.bodies)
        self._injector = injector
        self._faults = injector.faults

    def decide(self, request: IncomingRequest) -> Decision:
        """Execute a request that has just arrived; return the answer and the fault."""
        now = self._clock.now()
        path, _, query = request.target.decode(errors="replace").partition("?")
        route, id_ = match(request.method, path)
        operation = "" if route is None else route.operation
        refusal = self._limiter.arrive(now, operation)
        if refusal is not None:
            decision = Decision(self._refused(refusal))
        elif route is None:
            decision = Decision(error(404, "not_found", "Not Found"))
        else:
            call = Call(id=id_, query=query, body=request.body, now=now, as_of=now)
            decision = self._admit(request, route, call)
        request_id = str(uuid.UUID(int=len(self._ledger.requests) + 1))
        self._ledger.record(
            RequestRecord(
                time=now,
                method=request.method,
                path=path,
                query=query,
                operation=operation,
                closes=route is not None and route.closes,
                trade_id=id_,
                status=None if decision.fault in NO_RESPONSE else decision.answer.status,
                cause=None if refusal is None else refusal.cause,
                fault=decision.fault,
                applied=decision.answer.applied,
                request_id=request_id,
            )
        )
        headers = {**decision.answer.headers, "X-Request-Id": request_id}
        return attrs.evolve(decision, answer=attrs.evolve(decision.answer, headers=headers))

    def _admit(self, request: IncomingRequest, route: Route, call: Call) -> Decision:
        denial = self._access.denial(request, route)
        if denial is not None:
            return Decision(denial)
        fault = self._injector.draw(call.id, closes=route.closes)
        if fault is None or fault.applied:
            return self._execute(route, call, fault)
        answer = self._answer_unexecuted(fault, route, call)
        return Decision(answer, fault) if answer else self._execute(route, call, None)

    def _execute(self, route: Route, call: Call, fault: Fault | None) -> Decision:
        try:
            answer = route.handler(self._exchange, call)
        except RefusalError as refusal:
            return Decision(refusal.answer)
        if self._faults.read_lag and route.method == "GET":
            return self._stale_read(route, call, answer)
        if fault is None or not answer.applied:  # only a close that was carried out gets a fault
            return Decision(answer)
        corrupted = self._corrupt(fault, route, call, answer)
        return Decision(corrupted, fault) if corrupted else Decision(answer)

    def _stale_read(self, route: Route, call: Call, fresh: Answer) -> Decision:
        """Answer a read with an earlier state; a fault only if the state has changed since."""
        then = attrs.evolve(call, as_of=call.now - self._faults.read_lag)
        late = route.handler(self._exchange, then)
        return Decision(late, None if late == fresh else Fault.READ_LAG)

    def _refused(self, refusal: Refusal) -> Answer:
        if refusal.status == 418:  # noqa: PLR2004
            return banned(self._clock.next_whole_second(refusal.until))
        return self._limited(next(self._bodies), refusal.until)

    def _limited(self, form: LimitBody, until: float) -> Answer:
        retry_after = None
        if form in self._body_settings.retry_after:
            retry_after = math.ceil(self._clock.real(until - self._clock.now()))
        return limited(form, self._clock.next_whole_second(until), retry_after)

    def _answer_unexecuted(self, fault: Fault, route: Route, call: Call) -> Answer | None:
        """Return the answer to a request that is not executed; None if the fault does not apply."""
        if fault in _EARLY_429_BODIES:
            until = call.now + self._faults.block
            self._limiter.block(until)
            return self._limited(_EARLY_429_BODIES[fault], until)
        if fault is Fault.BAN:
            until = call.now + self._faults.ban_for
            self._limiter.ban(until)
            return banned(self._clock.next_whole_second(until))
        if fault is Fault.PLAN_REFUSAL:
            return plan_refused()
        if fault is Fault.WRONG_ID_BEFORE:
            return answer_of_another(self._exchange, route, call)
        return _PROXY_ANSWERS.get(fault, _NO_ANSWER)

    def _corrupt(self, fault: Fault, route: Route, call: Call, answer: Answer) -> Answer | None:
        """Return the answer to an executed request with the fault applied to status and body.

        None if the fault does not apply. `delivery.py` applies the faults of the connection.
        """
        if fault in _PROXY_ANSWERS:
            return attrs.evolve(_PROXY_ANSWERS[fault], applied=answer.applied)
        if fault is Fault.GARBAGE_AFTER:
            return attrs.evolve(answer, body=b"<!-- upstream: ok -->\xff\xfe")
        if fault is Fault.WRONG_TYPE_AFTER:
            return attrs.evolve(answer, body=b'"ok"' if answer.applied[0] % 2 else b"[]")
        if fault is Fault.WRONG_ID_AFTER:
            another = answer_of_another(self._exchange, route, call)
            return another and attrs.evolve(another, applied=answer.applied)
        return answer
