"""One attempt over the wire: send the request, read the answer, or return the error instead.

Decides whether a request that failed may have left, and whether a 2xx answer can be understood. The
other statuses are left to `refusals`, the retries to `pipeline`.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

import httpx

from ..converter import StructureError, decode_in_steps
from ..errors import Fate, ResponseDecodeError, ThreeCommasError
from ..text import one_line
from .answer import BLOCKING_BODY_TIMEOUT, Answer, BodyError, receive
from .call import Response
from .cancel_scope import CancelScope
from .failures import NOT_SENT, not_sent, text_of, unanswered, unreadable
from .refusals import Redacted
from .request import SendRefused
from .transport import HTTPClient

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from .auth import SigningAuth
    from .call import Call
    from .request import Request

__all__ = ["Exchange"]

T = TypeVar("T")


class Exchange:
    """Sends single requests with one httpx client.

    Errors are returned, for the caller to raise outside of any `except`: the exceptions of httpx
    hold the signed request and must not become the cause or context of ours.

    Args:
        http: the httpx client.
        auth: signs requests, and redacts key and signature from errors.
        calls: the calls under way, to tell their cancellation from one in foreign code.
        max_response_bytes: maximum length of a body, both compressed and decompressed.
        on_refusal: called when the head of a 429 or 418 has arrived, before its body.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        auth: SigningAuth,
        calls: CancelScope,
        max_response_bytes: int,
        *,
        on_refusal: Callable[[], None],
    ) -> None:
        self._http = http
        self._borrowed = not isinstance(http, HTTPClient)
        self._auth = auth
        self._calls = calls
        self._max_bytes = max_response_bytes
        self._on_refusal = on_refusal
        self._timeouts = CancelScope()

    def forget(self) -> None:
        """Forget the attempts of an event loop that was closed while running."""
        self._timeouts.forget()

    async def send(
        self, call: Call[T], request: Request, timeout: float | None
    ) -> Answer | ThreeCommasError:
        """Send the request and return its answer, or the error of an attempt without one.

        Args:
            call: the call that the request belongs to.
            request: the request; its `head` is set as soon as it is known, also if this is
                cancelled later.
            timeout: seconds for the whole attempt; None without a limit.
        """
        auth = self._auth if call.endpoint.signed else None
        ends_at = math.inf if timeout is None else asyncio.get_running_loop().time() + timeout
        task = self._timeouts.enter(ends_at)
        request.on_head = partial(self._on_head, task)
        try:
            if isinstance(self._http, HTTPClient):
                return await self._http.sign_and_send(request, auth, self._max_bytes)
            request.extensions = request.traced_extensions()
            response = await self._http.send(
                request, auth=auth, follow_redirects=False, stream=True
            )
            return await receive(response, max_bytes=self._max_bytes, on_head=request.receive_head)
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and self._timeouts.absorb(task):
                why = "" if timeout is None else f"the whole attempt may take {timeout:g} s"
                return self._from_head(call, request, why) or unanswered(call, why)
            if self._calls.was_cancelled(error):
                raise
            return self._from_exception(call, request, error)
        finally:
            self._timeouts.leave(task)

    def _on_head(self, task: asyncio.Task[object], head: Answer) -> None:
        if head.blocks:
            now = asyncio.get_running_loop().time()
            self._timeouts.shorten(task, now + BLOCKING_BODY_TIMEOUT)
            self._on_refusal()

    def _from_exception(
        self, call: Call[T], request: Request, error: BaseException
    ) -> Answer | ThreeCommasError:
        """Return the answer or error for an exception that ended the attempt."""
        if isinstance(error, SendRefused):
            return error.error
        if isinstance(error, BodyError):
            if error.answer.fate is Fate.DONE:
                return unreadable(call, self.redact(error.answer, request), str(error))
            return error.answer  # an error status says enough without its body
        # An event hook of a borrowed client may raise these exceptions about another request.
        ours = not self._borrowed or _is_about(error, request)
        if isinstance(error, httpx.HTTPStatusError) and ours:
            return Answer(error.response.status_code, error.response.headers, b"")
        # Redact before shortening: a key that was cut in two would not be found.
        text = one_line(self._auth.redact(text_of(error), request))
        if isinstance(error, NOT_SENT) and ours and not self._was_sent(request):
            return not_sent(call, error, text)
        return self._from_head(call, request, text) or unanswered(call, text, error)

    def _was_sent(self, request: Request) -> bool:
        """Return whether foreign code has raised an error after the request was sent."""
        own = isinstance(self._http, HTTPClient) and self._http.has_own_connections
        return request.sent and not own

    def _from_head(
        self, call: Call[T], request: Request, why: str
    ) -> Answer | ResponseDecodeError | None:
        """Return the result of an attempt that got a head but no body; None if it proves nothing.

        An error status says enough. A 2xx to a change means that the change was made. A 2xx to a
        read is useless without its body: the read is repeated.
        """
        if request.head is None:
            return None
        if request.head.fate is not Fate.DONE:
            return request.head
        if not call.unsafe:
            return None
        return unreadable(call, self.redact(request.head, request), f"the body broke off: {why}")

    async def parse(
        self, call: Call[T], request: Request, answer: Answer
    ) -> Response[T] | ResponseDecodeError:
        """Parse the body of a 2xx."""
        # Many answers arrive at once: let other tasks run before each is parsed.
        await asyncio.sleep(0)
        try:
            data = await _run_steps(decode_in_steps(answer.body, call.endpoint.returns))
            entity_id: object = getattr(data, "id", None)
            if call.entity_id is None or entity_id == call.entity_id:
                return Response(data, answer.status_code, answer.headers, answer.body)
            reason = f"it is about {entity_id!r}, not {call.entity_id}"
        except StructureError as error:
            reason = str(error)
        return unreadable(call, self.redact(answer, request), reason)

    def redact(self, answer: Answer, request: Request) -> Redacted:
        """Return an answer for use in errors: without key and signature, which it may echo."""
        request_id: str | None = answer.headers.get("x-request-id")
        return Redacted(
            answer.status_code,
            answer.headers,
            self._auth.redact(answer.text, request),
            request_id and self._auth.redact(request_id, request),
        )


async def _run_steps(steps: Generator[None, None, T]) -> T:
    """Run a generator to its end, and let other tasks run between its steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("T", end.value)
        await asyncio.sleep(0)


def _is_about(error: BaseException, request: Request) -> bool:
    """Return whether an httpx exception is about this request, not one that an event hook made."""
    try:
        return isinstance(error, httpx.HTTPError) and error.request is request
    except RuntimeError:  # httpx: the exception has no request
        return False
