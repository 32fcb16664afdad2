"""The one way out: every request of this library leaves through `Pipeline.send`.

An attempt goes: slot of the rate limiter, place at the gate, a last look at the block, then the
request is built, signed and sent; its answer is classified, and a 429 or 418 blocks everyone
before anything else is done with it. Whether there is another attempt is for `retry` to say.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar, cast

import httpx

from .call import Call, QueryValue, Response, Trace, prepare
from .converter import StructureError, decode_in_steps
from .endpoint import Endpoint, Safety
from .errors import (
    APIStatusError,
    OutcomeUnknownError,
    PlanLimitError,
    RateLimitError,
    RequestNotSentError,
    ResponseDecodeError,
    ThreeCommasError,
    api_status_error,
)
from .hooks import AttemptEnded, Blocked, Hook, emit
from .messages import MAX_RESPONSE_BYTES, Answer, BodyError, Request, receive
from .retry import Block, Fate, RetryPolicy, classify, next_delay, read_block

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from .auth import SigningAuth
    from .options import CallOptions
    from .rate_limit import RateLimiter
    from .waiting import Gate

__all__ = ["Pipeline"]

T = TypeVar("T")

_log = logging.getLogger("threecommas_async")

# What httpx raises when the request provably never left. Azure's core library draws the same line.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


# A request of these says how long its body is, also when it has none.
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


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
        headers: Mapping[str, str],
        hooks: Sequence[Hook],
    ) -> None:
        self.retry = retry
        self.closed = False
        self._http = http
        self._origin = base_url.copy_with(raw_path=b"/")
        self._prefix = base_url.raw_path.rstrip(b"/").decode("ascii")
        self._auth = auth
        self._limiter = limiter
        self._gate = gate
        self._timeout = timeout
        self._headers = headers
        self._theirs: list[tuple[bytes, bytes]] | None = None
        self._prepared: dict[str, httpx.Headers] = {}
        self._hooks = tuple(hooks)

    async def send(  # noqa: PLR0913 - the parts of a request, by name
        self,
        endpoint: Endpoint[T],
        *,
        path: Mapping[str, str | int] | None = None,
        query: Mapping[str, QueryValue] | None = None,
        json: object = None,
        options: CallOptions | None = None,
        trace: Trace | None = None,
    ) -> Response[T]:
        """Send one call, again where that is safe, and return its parsed answer.

        Raises:
            InvalidRequestError: an argument that cannot be sent.
            RequestNotSentError: nothing left; also when the deadline leaves no time for it.
            OutcomeUnknownError: no answer that could be understood.
            ResponseDecodeError: a 2xx whose body could not be understood.
            APIStatusError: the server answered with an error status.
        """
        options = options or {}
        if self.closed:
            msg = "the client is closed; nothing was sent"
            raise RequestNotSentError(msg)
        call = prepare(
            self._prefix,
            endpoint,
            path=path or {},
            query=query or {},
            json=json,
            options=options,
        )
        trace = trace or Trace()
        deadline = options.get("deadline")
        if deadline is None:
            return await self._attempts(call, trace, None)
        if not deadline:
            raise _late(call, trace, deadline)  # not even the first step is in time
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(loop.time() + deadline) as limit:
                return await self._attempts(call, trace, limit.when())
        except TimeoutError:
            error = _late(call, trace, deadline)
        raise error

    async def _attempts(self, call: Call[T], trace: Trace, deadline: float | None) -> Response[T]:
        """Make attempts until one is done or the policy gives up."""
        attempts = refusals = 0
        refusal: RateLimitError | None = None
        while True:
            try:
                return await self._attempt(call, trace, deadline)
            except RateLimitError as error:
                refusals += 1
                failure: ThreeCommasError = error
                refusal = error
            except ThreeCommasError as error:
                attempts += 1
                failure = error
            delay = next_delay(self.retry, call.endpoint.safety, failure, attempts, refusals)
            if delay is None or trace.final:
                # "No slot in time" after a 429 is the 429: it says why, and until when.
                raise refusal if refusal and isinstance(failure, RequestNotSentError) else failure
            await asyncio.sleep(delay)

    async def _attempt(self, call: Call[T], trace: Trace, deadline: float | None) -> Response[T]:
        """Wait for a slot and a place, then make one attempt."""
        endpoint, loop = call.endpoint, asyncio.get_running_loop()
        began = loop.time()
        while True:
            permit = await self._limiter.acquire(
                endpoint.priority, bucket=endpoint.bucket, deadline=deadline
            )
            sent = False
            try:
                await self._gate.enter(endpoint.priority)
                try:
                    if self._limiter.blocked_for():
                        continue  # a 429 came in while this one stood at the gate
                    sent = True
                    trace.attempts += 1
                    trace.in_flight = True
                    waited = loop.time() - began
                    answer = await self._exchange(call)
                    sent = not isinstance(answer, RequestNotSentError)
                    result = await self._understand(call, answer)
                finally:
                    self._gate.leave()
            finally:
                await self._limiter.release(permit, sent=sent)
            # Not before: whoever is cancelled with an answer in hand has not delivered it.
            trace.in_flight = False
            self._tell(call, trace, result, waited, loop.time() - began - waited)
            if isinstance(result, Response):
                return result
            trace.unknown |= result.may_have_taken_effect
            raise result

    async def _exchange(self, call: Call[T]) -> tuple[Answer, Request] | ThreeCommasError:
        """Send the request and return the answer, or the error that stands for its absence.

        Errors are returned, so that they are raised outside of any `except`: what httpx raised has
        the signed request in it, and must be reachable neither as cause nor as context.
        """
        request = self._build(call)
        auth = self._auth if call.endpoint.signed else None
        try:
            response = await self._http.send(
                request, auth=auth, follow_redirects=False, stream=True
            )
            return await receive(response, max_bytes=MAX_RESPONSE_BYTES), request
        except _NOT_SENT as error:
            cause: Exception = error
            failure: ThreeCommasError = RequestNotSentError(
                f"{request.method} {call.path}: not sent, no connection "
                f"({_describe(error)}); nothing has happened, it is safe to call again"
            )
        except Exception as error:  # noqa: BLE001 - whatever it was, the request may have left
            if isinstance(error, BodyError) and error.answer.status_code >= 400:  # noqa: PLR2004
                return error.answer, request  # an error by its status, such as a 429
            cause = error
            failure = _unanswered(call, _describe(error))
        failure.__cause__ = _bare(cause)
        return failure

    def _build(self, call: Call[T]) -> Request:
        # No call waits for a connection inside httpx: the gate is in front of it.
        timeout = self._timeout if call.timeout is None else httpx.Timeout(call.timeout)
        request = Request(
            call.endpoint.method,
            origin=self._origin,
            target=call.target,
            headers=self._headers_of_all(call.endpoint.method),
            body=call.body or b"",
            extensions={"timeout": {**timeout.as_dict(), "pool": None}},
        )
        if call.extra_headers:
            request.headers.update(call.extra_headers)
        if call.body is not None:
            request.headers["Content-Type"] = "application/json"
            request.headers["Content-Length"] = str(len(call.body))
        return request

    def _headers_of_all(self, method: str) -> httpx.Headers:
        """Return what all requests carry: the headers of the httpx client, and ours on top."""
        theirs = self._http.headers.raw
        if theirs != self._theirs:  # the client is the user's, who may set some at any time
            self._theirs, self._prepared = theirs, {}
        if method not in self._prepared:
            headers = httpx.Headers({"Host": self._origin.netloc.decode("ascii")})
            headers.update(self._http.headers)
            headers.update(self._headers)
            headers["Accept-Encoding"] = "gzip, deflate"
            if method in _WITH_BODY:
                headers["Content-Length"] = "0"
            self._prepared[method] = headers
        return self._prepared[method]

    async def _understand(
        self, call: Call[T], exchanged: tuple[Answer, Request] | ThreeCommasError
    ) -> Response[T] | ThreeCommasError:
        """Turn an answer into data or an error; after a 429 or 418, block everyone first."""
        if isinstance(exchanged, ThreeCommasError):
            return exchanged
        answer, request = exchanged
        status_code, endpoint = answer.status_code, call.endpoint
        if classify(status_code) is Fate.DONE:
            # Answers come in by the dozen: a turn for everyone else before each is parsed.
            await asyncio.sleep(0)
            return await self._decoded(call, answer, request)
        body = self._auth.redact(answer.text, request)
        block = self._read_block(call, answer, body)
        error = api_status_error(
            status_code=status_code,
            method=endpoint.method,
            path=call.path,
            body=body,
            unsafe=endpoint.safety is Safety.UNSAFE,
            request_id=answer.headers.get("x-request-id"),
            retry_at=block.retry_at if block else None,
        )
        if block and not isinstance(error, PlanLimitError):
            await self._block(error, block.seconds)
        return error

    async def _block(self, error: APIStatusError, seconds: float) -> None:
        # Those in flight are refused too: one warning for all that tells nothing longer.
        if seconds > self._limiter.blocked_for() + 1.0:
            _log.warning("nothing is sent for %.0f s: %s", seconds, error)
        await self._limiter.block(seconds)
        emit(self._hooks, Blocked(status_code=error.status_code, seconds=seconds))

    def _read_block(self, call: Call[T], answer: Answer, body: str) -> Block | None:
        if answer.status_code not in {418, 429}:
            return None
        bucket = call.endpoint.bucket
        return read_block(
            answer.status_code,
            answer.headers,
            body,
            penalty=bucket.penalty if bucket else self._limiter.penalty,
            now=datetime.now(UTC),
        )

    async def _decoded(
        self, call: Call[T], answer: Answer, request: Request
    ) -> Response[T] | ThreeCommasError:
        try:
            data = await _with_pauses(decode_in_steps(answer.body, call.endpoint.returns))
        except StructureError as error:
            return ResponseDecodeError(
                str(error),
                status_code=answer.status_code,
                method=call.endpoint.method,
                path=call.path,
                body=self._auth.redact(answer.text, request),
                request_id=answer.headers.get("x-request-id"),
                may_have_taken_effect=call.endpoint.safety is Safety.UNSAFE,
            )
        return Response(data, answer.status_code, answer.headers, answer.body)

    def _tell(
        self,
        call: Call[T],
        trace: Trace,
        result: Response[T] | ThreeCommasError,
        waited: float,
        elapsed: float,
    ) -> None:
        if not self._hooks and not _log.isEnabledFor(logging.DEBUG):
            return
        fate, status_code, error = _fate(result)
        _log.debug(
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
                error=error,
            )
            emit(self._hooks, event)


async def _with_pauses(steps: Generator[None, None, T]) -> T:
    """Run steps to their end, with a turn for everyone else between them."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("T", end.value)
        await asyncio.sleep(0)


def _fate(
    result: Response[T] | ThreeCommasError,
) -> tuple[Fate, int | None, ThreeCommasError | None]:
    if isinstance(result, Response):
        return Fate.DONE, result.status_code, None
    if isinstance(result, RequestNotSentError):
        return Fate.NOT_SENT, None, result
    if isinstance(result, ResponseDecodeError):
        return Fate.DONE, result.status_code, result
    if isinstance(result, APIStatusError):
        return classify(result.status_code), result.status_code, result
    return Fate.UNKNOWN, None, result


def _unanswered(call: Call[T], why: str) -> OutcomeUnknownError:
    unsafe = call.endpoint.safety is Safety.UNSAFE
    advice = (
        "it may have taken effect, read the entity before repeating it"
        if unsafe
        else "it only reads, so nothing has changed and it may be repeated"
    )
    return OutcomeUnknownError(
        f"{call.endpoint.method} {call.path}: sent, but no answer came ({why}); {advice}",
        method=call.endpoint.method,
        path=call.path,
        may_have_taken_effect=unsafe,
    )


def _late(call: Call[T], trace: Trace, deadline: float) -> ThreeCommasError:
    """Return the error of a call whose deadline has passed."""
    if trace.in_flight:
        trace.unknown |= call.endpoint.safety is Safety.UNSAFE
        return _unanswered(call, f"the deadline of {deadline:g} s has passed")
    return RequestNotSentError(
        f"{call.endpoint.method} {call.path}: not sent before the deadline of {deadline:g} s; "
        "nothing has happened, it is safe to call again",
        available_in=0.0,
    )


def _describe(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _bare(error: Exception) -> Exception:
    """Return an exception with its type and text, without the request and frames it came from.

    An httpx exception carries the request with key and signature in its headers, and the frames of
    the HTTP library hold them as locals.
    """
    if isinstance(error, httpx.RequestError):
        return type(error)(str(error))
    return error.with_traceback(None)
