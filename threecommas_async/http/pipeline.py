"""The one way out: every request of this library leaves through `Pipeline.send`.

An attempt goes: slot of the rate limiter, place at the gate, a last look at the block, then the
request is built, signed and sent; its answer is classified, and a 429 or 418 blocks everyone
before anything else is done with it. Whether there is another attempt is for `retry` to say.
"""

from __future__ import annotations

import asyncio
import logging
import math
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from ..endpoint import Endpoint, Priority
from ..errors import (
    APIStatusError,
    Fate,
    RateLimitError,
    RequestNotSentError,
    ResponseDecodeError,
    ThreeCommasError,
)
from ..hooks import AttemptEnded, Blocked, Hook, emit
from ..logs import log
from ..ownership import Owner
from ..retry import RetryPolicy, Trace, next_delay
from .answer import BLOCKING_BODY_WITHIN, Answer
from .call import Call, QueryValue, Response, prepare
from .cancel_scope import CancelScope
from .exchange import Exchange
from .failures import (
    after_closing,
    after_deadline,
    blocked_meanwhile,
    closed_before,
    slot_too_late,
    stopped,
)
from .limiter import GuardedLimiter
from .refusals import refusal
from .request import Request, RequestFactory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import httpx

    from ..options import CallOptions
    from ..rate_limit import Permit, RateLimiter
    from .auth import SigningAuth
    from .gate import Gate

__all__ = ["Pipeline"]

T = TypeVar("T")

# Seconds for which the server may still come to count a request, where the attempt has no limit.
_STILL_COUNTED: Final = 60.0
# Seconds that a read on which a close hangs may take in all: it is made again rather than waited
# for. The slowest answer that was recorded took 7.3 s.
_LONGEST_LOOKUP: Final = 10.0
# Seconds after which a call that has a slot looks again whether the block is over.
_LOOK_AGAIN: Final = 1.0
# `aclose` gives calls so many turns of the event loop to end; the second half, with a pause in
# each, is for a limiter of the user's that takes its time.
_TURNS_TO_END: Final = 100


class Pipeline:
    """Sends requests. See the module's text for the way they take."""

    def __init__(  # noqa: PLR0913 - the parts of the way out, each from the client
        self,
        *,
        http: httpx.AsyncClient,
        base_url: httpx.URL,
        auth: SigningAuth,
        limiter: RateLimiter,
        gate: Gate,
        retry: RetryPolicy,
        timeout: httpx.Timeout,
        attempt_timeout: float | None,
        max_response_bytes: int,
        headers: Mapping[str, str],
        hooks: Sequence[Hook],
    ) -> None:
        self.retry = retry
        self.closed = False
        self._requests = RequestFactory(http, base_url, headers, timeout)
        self._prefix = base_url.raw_path.rstrip(b"/").decode("ascii")
        self._auth = auth
        self._calls = CancelScope()
        self._exchange = Exchange(http, auth, self._calls, max_response_bytes)
        self._limiter = GuardedLimiter(limiter, self._calls)
        self._gate = gate
        self._timeout = timeout
        self._attempt_timeout = attempt_timeout
        self._hooks = tuple(hooks)
        self._owner = Owner("the client")

    async def send(  # noqa: PLR0913 - the parts of a request, by name
        self,
        endpoint: Endpoint[T],
        *,
        path: Mapping[str, str | int] | None = None,
        query: Mapping[str, QueryValue] | None = None,
        json: object = None,
        options: CallOptions | None = None,
        trace: Trace | None = None,
        priority: Priority | None = None,
        entity_id: int | None = None,
        slot_within: float | None = None,
    ) -> Response[T]:
        """Send one call, again where that is safe, and return its parsed answer.

        Args:
            endpoint: the operation.
            path: values of its path parameters.
            query: query parameters; None values are left out.
            json: a JSON body.
            options: the options of a call.
            trace: takes down what happens; for whoever may have to cancel the call.
            priority: who goes first; default: the endpoint's own.
            entity_id: the entity that the answer has to be about.
            slot_within: seconds within which a slot is needed, after which the request would come
                too late; it does not shorten the wait for the answer.

        Raises:
            ConfigurationError: made in another process, or in use on another event loop.
            InvalidRequestError: an argument that cannot be sent.
            RequestNotSentError: nothing left; also when the deadline leaves no time for it.
            OutcomeUnknownError: no answer that could be understood.
            ResponseDecodeError: a 2xx whose body could not be understood, or is about another
                entity.
            APIStatusError: the server answered with an error status.
        """
        options = options or {}
        if self._owner.enter():
            self._calls.forget()
            self._exchange.forget()
        call = prepare(
            self._prefix,
            endpoint,
            path=path or {},
            query=query or {},
            json=json,
            options=options,
            priority=priority,
            entity_id=entity_id,
            slot_within=slot_within,
        )
        trace = trace or Trace()
        deadline = options.get("deadline")
        if self.closed:
            raise after_closing(call, trace)
        if deadline is not None and not deadline:
            raise after_deadline(call, trace, deadline)  # not even the first step is in time
        task = self._calls.enter()
        try:
            if deadline is None:
                return await self._attempts(call, trace, None)
            async with asyncio.timeout(deadline) as limit:
                return await self._attempts(call, trace, limit.when())
        except TimeoutError:
            pass  # raised below, outside, so that no other error is attached
        except asyncio.CancelledError:
            if not self._calls.caused(task):
                raise
        finally:
            self._calls.leave(task)
        raise self._cut_short(call, trace, deadline)

    def _cut_short(self, call: Call[T], trace: Trace, deadline: float | None) -> ThreeCommasError:
        """Return the error of a call that was ended by its deadline or with the client."""
        trace.unknown |= trace.in_flight and call.unsafe
        if self.closed or deadline is None:
            return after_closing(call, trace)
        return after_deadline(call, trace, deadline)

    async def aclose(self) -> None:
        """End all calls that are under way: after this nothing is sent."""
        self.closed = True
        for turn in range(_TURNS_TO_END):
            if not self._calls:
                return
            self._calls.end_all()
            await asyncio.sleep(0 if turn < _TURNS_TO_END // 2 else 0.01)

    async def _attempts(self, call: Call[T], trace: Trace, deadline: float | None) -> Response[T]:
        """Make attempts until one is done or the policy gives up."""
        attempts = refusals = 0
        refused: RateLimitError | None = None
        slot_by = math.inf
        if call.slot_within is not None:
            slot_by = asyncio.get_running_loop().time() + call.slot_within
        while True:
            try:
                return await self._attempt(call, trace, deadline, slot_by)
            except RateLimitError as error:
                refusals += 1
                failure: ThreeCommasError = error
                refused = error
            except ThreeCommasError as error:
                attempts += 1
                failure = error
            delay = next_delay(self.retry, call.endpoint.safety, failure, attempts, refusals)
            if delay is None or trace.final:
                break
            await asyncio.sleep(delay)
        if isinstance(failure, RequestNotSentError) and failure is not trace.last_error:
            # "No slot in time" after a 429 is the 429: it says why, and until when.
            raise refused or trace.explain(failure)
        raise failure

    async def _attempt(
        self, call: Call[T], trace: Trace, deadline: float | None, slot_by: float
    ) -> Response[T]:
        """Wait for a slot and a place, then make one attempt."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        if slot_by < math.inf:
            deadline = min(slot_by, math.inf if deadline is None else deadline)
        closing = call.unsafe and call.priority <= Priority.CLOSE
        pause: float | None = None
        while True:
            if pause is not None:
                await asyncio.sleep(pause)
            permit = await self._limiter.acquire(call.priority, call.endpoint.bucket, deadline)
            sent, still_counted = False, 0.0
            try:
                await self._gate.enter(call.priority, closing=closing)
                try:
                    if too_late := self._too_late(call, trace, slot_by):
                        raise trace.explain(too_late)
                    if not self._limiter.may_send(permit):
                        # A 429 came in while this one stood at the gate. A limiter that gives out
                        # slots all the same may not keep everybody else from their turns.
                        pause = min(self._limiter.held_for(), _LOOK_AGAIN)
                        continue
                    request = self._requests.make(call)
                    request.on_head = self._see_head
                    request.check = partial(self._kept_back, call, trace, slot_by, permit)
                    trace.leave()
                    waited = loop.time() - began
                    longest = self._longest(call)
                    sent, still_counted = True, longest or _STILL_COUNTED
                    answer = await self._carry(call, request, longest)
                    sent = not isinstance(answer, RequestNotSentError)
                    if isinstance(answer, (Answer, ResponseDecodeError)):
                        still_counted = 0.0
                    result = await self._understand(call, request, answer)
                finally:
                    self._gate.leave()
            finally:
                await self._limiter.release(permit, sent=sent, late=still_counted)
            # Not before: whoever is cancelled with an answer in hand has not delivered it.
            if isinstance(result, Response):
                trace.in_flight = False
            else:
                trace.fail(result)
            self._tell(call, trace, result, waited, loop.time() - began - waited)
            if isinstance(result, Response):
                return result
            raise result

    def redact(self, text: str) -> str:
        """Return a server's text without the key that it may have echoed, see `SigningAuth`."""
        return self._auth.redact(text)

    def _too_late(self, call: Call[T], trace: Trace, slot_by: float) -> RequestNotSentError | None:
        """Return why an attempt may not leave any more; None while it may."""
        if self.closed:
            return closed_before(call)
        if trace.final:
            return stopped(call)
        if slot_by < asyncio.get_running_loop().time():
            return slot_too_late(call)
        return None

    def _kept_back(
        self, call: Call[T], trace: Trace, slot_by: float, permit: Permit
    ) -> RequestNotSentError | None:
        """Return why an attempt whose connection is made may not leave; None where it may."""
        if too_late := self._too_late(call, trace, slot_by):
            return too_late
        return None if self._limiter.may_send(permit) else blocked_meanwhile(call)

    def _see_head(self, head: Answer) -> None:
        if head.blocks:
            self._limiter.hold(BLOCKING_BODY_WITHIN)

    def _longest(self, call: Call[T]) -> float | None:
        """Return how many seconds one attempt may take in all; None without a limit."""
        longest = self._longest_of_any(call)
        if call.priority is Priority.IN_QUESTION and not call.unsafe:
            return min(longest or math.inf, _LONGEST_LOOKUP)
        return longest

    def _longest_of_any(self, call: Call[T]) -> float | None:
        if self._attempt_timeout is not None:
            return self._attempt_timeout
        if call.timeout is not None:
            return 3 * call.timeout
        phases = (self._timeout.connect, self._timeout.write, self._timeout.read)
        return None if None in phases else sum(phase for phase in phases if phase is not None)

    async def _carry(
        self, call: Call[T], request: Request, longest: float | None
    ) -> Answer | ThreeCommasError:
        try:
            return await self._exchange.send(call, request, longest)
        except asyncio.CancelledError:
            if request.head is not None and request.head.blocks:
                await self._understand(call, request, request.head)  # a 429 blocks all the same
            raise

    async def _understand(
        self, call: Call[T], request: Request, answer: Answer | ThreeCommasError
    ) -> Response[T] | ThreeCommasError:
        """Turn an answer into data or an error; after a 429 or 418, block everyone first."""
        if isinstance(answer, ThreeCommasError):
            return answer
        if answer.fate is Fate.DONE:
            return await self._exchange.understand(call, request, answer)
        bucket = call.endpoint.bucket
        # Which of the two limits was met, nobody says: the longer refusal may be in force.
        penalty = max(self._limiter.penalty, bucket.penalty if bucket else 0.0)
        redacted = self._exchange.redacted(answer, request)
        error, block = refusal(call, redacted, penalty=penalty)
        if block is not None:
            await self._block(error, block.seconds)
        if answer.blocks:
            self._limiter.let_go()
        return error

    async def _block(self, error: APIStatusError, seconds: float) -> None:
        if await self._limiter.block(seconds):
            log.warning("nothing is sent for %.0f s: %s", seconds, error)
        emit(self._hooks, Blocked(status_code=error.status_code, seconds=seconds))

    def _tell(
        self,
        call: Call[T],
        trace: Trace,
        result: Response[T] | ThreeCommasError,
        waited: float,
        elapsed: float,
    ) -> None:
        if not self._hooks and not log.isEnabledFor(logging.DEBUG):
            return
        fate = Fate.DONE if isinstance(result, Response) else result.fate
        status_code: int | None = getattr(result, "status_code", None)
        log.debug(
            "%s %s: %s, status %s, waited %.3f s, took %.3f s",
            *(call.endpoint.method, call.path, fate.value, status_code, waited, elapsed),
        )
        if self._hooks:
            event = AttemptEnded(
                method=call.endpoint.method,
                path=call.path,
                attempt=trace.attempts,
                fate=fate,
                status_code=status_code,
                waited=waited,
                elapsed=elapsed,
                error=None if isinstance(result, Response) else result,
            )
            emit(self._hooks, event)
