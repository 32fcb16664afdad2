"""The way of every request of this library: `Pipeline.send`.

For each attempt it acquires a slot of the rate limiter, passes the gate, and checks that nothing
forbids sending any more. Then `exchange` signs and sends the request and reads its answer. A 429 or
418 blocks all calls before anything else is done with it. Whether another attempt follows is
decided in `retry`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

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
from .answer import BLOCKING_BODY_TIMEOUT, Answer
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
from .guarded_limiter import GuardedLimiter
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

# Seconds in which the server may still count an unanswered request, if the attempt has no timeout.
_DEFAULT_LATE: Final = 60.0
# Maximum seconds for a read that a close depends on: repeating it is faster than waiting for it.
# The slowest answer recorded took 7.3 s.
_LOOKUP_TIMEOUT: Final = 10.0
# Maximum seconds that a limiter may need to set a block; nothing is sent meanwhile.
_MAX_TIME_TO_BLOCK: Final = 5.0
# Maximum seconds after which a blocked call tries again.
_RECHECK_INTERVAL: Final = 1.0
# Iterations of the event loop that `aclose` gives calls to end. Each of the second half waits a
# little, for a limiter of the user's that is slow to give up.
_CLOSE_ITERATIONS: Final = 100


class _Attempt(Generic[T]):
    """The state of one attempt, which also has to be right if the attempt is cancelled."""

    __slots__ = ("call", "late", "pause", "sent", "slot_by", "started", "trace", "waited")

    def __init__(self, call: Call[T], trace: Trace, slot_by: float, started: float) -> None:
        self.call = call
        self.trace = trace
        self.slot_by = slot_by
        self.started = started
        self.waited = 0.0
        """Seconds from the start until the request was sent."""
        self.pause: float | None = None
        """Seconds to wait before the next try, if nothing may be sent now."""
        self.sent = False
        """Whether the request may have left."""
        self.late = 0.0
        """Seconds in which the server may still count the request, see `RateLimiter.release`."""


class Pipeline:
    """Sends the requests of one client, see the module's docstring."""

    def __init__(  # noqa: PLR0913 - its parts, by name
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
        self.closed: bool = False
        self._requests = RequestFactory(http, base_url, headers, timeout)
        self._prefix = base_url.raw_path.rstrip(b"/").decode("ascii")
        self._auth = auth
        self._calls = CancelScope()
        self._limiter = GuardedLimiter(limiter, self._calls)
        pause = partial(self._limiter.pause, BLOCKING_BODY_TIMEOUT + _MAX_TIME_TO_BLOCK)
        self._exchange = Exchange(http, auth, self._calls, max_response_bytes, on_refusal=pause)
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
        """Send one call, repeat it if that is safe and necessary, and return its parsed answer.

        Args:
            endpoint: the operation.
            path: values of its path parameters.
            query: query parameters; None values are left out.
            json: a JSON body.
            options: the options of a call.
            trace: records what happens, for a caller that may have to cancel the call.
            priority: who goes first; default: the endpoint's own.
            entity_id: id that the answer must have.
            slot_within: maximum seconds to wait for a slot; it does not limit the wait for the
                answer.

        Raises:
            ConfigurationError: made in another process, or in use on another event loop.
            InvalidRequestError: an argument that cannot be sent.
            RequestNotSentError: nothing was sent, for example before the deadline.
            OutcomeUnknownError: the request may have left and was not answered.
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
            # asyncio.timeout(0) cancels only at the first await that suspends: too late.
            raise after_deadline(call, trace, deadline)
        task = self._calls.enter()
        try:
            if deadline is None:
                return await self._attempts(call, trace, None)
            async with asyncio.timeout(deadline) as limit:
                return await self._attempts(call, trace, limit.when())
        except TimeoutError:
            pass  # our error is raised below, so that this one is not attached to it
        except asyncio.CancelledError:
            if not self._calls.absorb(task):
                raise
        finally:
            self._calls.leave(task)
        raise self._interrupted(call, trace, deadline)

    def _interrupted(self, call: Call[T], trace: Trace, deadline: float | None) -> ThreeCommasError:
        """Return the error of a call that its deadline or `aclose` has ended."""
        trace.unknown |= trace.in_flight and call.unsafe
        if self.closed or deadline is None:
            return after_closing(call, trace)
        return after_deadline(call, trace, deadline)

    async def aclose(self) -> None:
        """End all calls that are under way; nothing is sent any more."""
        self.closed = True
        for iteration in range(_CLOSE_ITERATIONS):
            if not self._calls:
                return
            self._calls.cancel_all()
            await asyncio.sleep(0 if iteration < _CLOSE_ITERATIONS // 2 else 0.01)

    async def _attempts(self, call: Call[T], trace: Trace, deadline: float | None) -> Response[T]:
        """Make attempts until one succeeds or the retry policy gives up."""
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
            # If there is no slot in time after a 429, raise the 429: it says why, and until when.
            raise refused or trace.explain(failure)
        raise failure

    async def _attempt(
        self, call: Call[T], trace: Trace, deadline: float | None, slot_by: float
    ) -> Response[T]:
        """Wait for a slot and the gate, then make one attempt.

        Args:
            call: what to send.
            trace: records what happens.
            deadline: event loop time at which the call ends; None without one.
            slot_by: event loop time by which a slot is needed.
        """
        loop = asyncio.get_running_loop()
        attempt = _Attempt(call, trace, slot_by, loop.time())
        if slot_by < math.inf:
            deadline = min(slot_by, math.inf if deadline is None else deadline)
        closing = call.unsafe and call.priority <= Priority.CLOSE
        result: Response[T] | ThreeCommasError | None = None
        while result is None:
            if attempt.pause is not None:
                await asyncio.sleep(attempt.pause)
            permit = await self._limiter.acquire(call.priority, call.endpoint.bucket, deadline)
            try:
                await self._gate.enter(call.priority, closing=closing)
                try:
                    result = await self._send_with(permit, attempt)
                finally:
                    self._gate.leave()
            finally:
                await self._limiter.release(permit, sent=attempt.sent, late=attempt.late)
        # Only now: a call that is cancelled above has not delivered its answer.
        if isinstance(result, Response):
            trace.in_flight = False
        else:
            trace.fail(result)
        self._report(attempt, result, loop.time() - attempt.started - attempt.waited)
        if isinstance(result, Response):
            return result
        raise result

    async def _send_with(
        self, permit: Permit, attempt: _Attempt[T]
    ) -> Response[T] | ThreeCommasError | None:
        """Send the request with this permit; None if nothing may be sent with it now.

        Raises:
            RequestNotSentError: the attempt must not be made any more.
        """
        call = attempt.call
        if error := self._obsolete(attempt):
            raise attempt.trace.explain(error)
        if not self._limiter.may_send(permit):
            # A block has begun since the slot was acquired, or the permit has expired. Free slot
            # and gate before the next try: others must not wait for a call that cannot be sent.
            attempt.pause = min(self._limiter.silent_for(), _RECHECK_INTERVAL)
            return None
        request = self._requests.make(call)
        request.check = partial(self._check_before_sending, attempt, permit)
        attempt.trace.leave()
        attempt.waited = asyncio.get_running_loop().time() - attempt.started
        timeout = self._attempt_timeout_of(call)
        attempt.sent, attempt.late = True, timeout or _DEFAULT_LATE
        answer = await self._exchange_request(call, request, timeout)
        attempt.sent = not isinstance(answer, RequestNotSentError)
        if isinstance(answer, (Answer, ResponseDecodeError)):
            attempt.late = 0.0
        return await self._interpret(call, request, answer)

    def blocked_for(self) -> float:
        """Return the seconds for which nothing is sent because the server refused everything."""
        return self._limiter.blocked_for()

    def redact(self, text: str) -> str:
        """Return a server's text without the key that it may have echoed, see `SigningAuth`."""
        return self._auth.redact(text)

    def _obsolete(self, attempt: _Attempt[T]) -> RequestNotSentError | None:
        """Return an error if the attempt must not be made any more."""
        if self.closed:
            return closed_before(attempt.call)
        if attempt.trace.final:
            return stopped(attempt.call)
        if attempt.slot_by < asyncio.get_running_loop().time():
            return slot_too_late(attempt.call)
        return None

    def _check_before_sending(
        self, attempt: _Attempt[T], permit: Permit
    ) -> RequestNotSentError | None:
        """Return an error if the request must not be sent over its new connection any more."""
        if error := self._obsolete(attempt):
            return error
        return None if self._limiter.may_send(permit) else blocked_meanwhile(attempt.call)

    def _attempt_timeout_of(self, call: Call[T]) -> float | None:
        """Return the maximum seconds of one attempt; None without a limit."""
        if self._attempt_timeout is not None:
            timeout = self._attempt_timeout
        elif call.timeout is not None:
            timeout = 3 * call.timeout  # connect, write and read
        else:
            phases = (self._timeout.connect, self._timeout.write, self._timeout.read)
            timeout = sum(math.inf if phase is None else phase for phase in phases)
        if call.priority is Priority.IN_DOUBT and not call.unsafe:
            timeout = min(timeout, _LOOKUP_TIMEOUT)
        return timeout if timeout < math.inf else None

    async def _exchange_request(
        self, call: Call[T], request: Request, timeout: float | None
    ) -> Answer | ThreeCommasError:
        try:
            return await self._exchange.send(call, request, timeout)
        except asyncio.CancelledError:
            if request.head is not None and request.head.blocks:
                await self._interpret(call, request, request.head)  # for the block that it sets
            raise

    async def _interpret(
        self, call: Call[T], request: Request, answer: Answer | ThreeCommasError
    ) -> Response[T] | ThreeCommasError:
        """Turn an answer into data or an error; after a 429 or 418, block all calls first."""
        if isinstance(answer, ThreeCommasError):
            return answer
        if answer.fate is Fate.DONE:
            return await self._exchange.parse(call, request, answer)
        bucket = call.endpoint.bucket
        # The answer does not say which of the two limits was exceeded: assume the longer penalty.
        penalty = max(self._limiter.penalty, bucket.penalty if bucket else 0.0)
        redacted = self._exchange.redact(answer, request)
        error, block = refusal(call, redacted, penalty=penalty)
        try:
            if block is not None:
                await self._block(error, block.seconds)
        finally:
            if answer.blocks:
                self._limiter.resume()
        return error

    async def _block(self, error: APIStatusError, seconds: float) -> None:
        if await self._limiter.block(seconds):
            log.warning("nothing is sent for %.0f s: %s", seconds, error)
        emit(self._hooks, Blocked(status_code=error.status_code, seconds=seconds))

    def _report(
        self, attempt: _Attempt[T], result: Response[T] | ThreeCommasError, elapsed: float
    ) -> None:
        """Log an attempt that has ended, and call the hooks."""
        call = attempt.call
        if not self._hooks and not log.isEnabledFor(logging.DEBUG):
            return
        fate = Fate.DONE if isinstance(result, Response) else result.fate
        status_code: int | None = getattr(result, "status_code", None)
        log.debug(
            "%s %s: %s, status %s, waited %.3f s, took %.3f s",
            *(call.endpoint.method, call.path, fate.value, status_code, attempt.waited, elapsed),
        )
        if self._hooks:
            event = AttemptEnded(
                method=call.endpoint.method,
                path=call.path,
                attempt=attempt.trace.attempts,
                fate=fate,
                status_code=status_code,
                waited=attempt.waited,
                elapsed=elapsed,
                error=None if isinstance(result, Response) else result,
            )
            emit(self._hooks, event)
