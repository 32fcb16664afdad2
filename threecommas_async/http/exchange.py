"""One attempt over the wire: sent, and turned into an answer or the error that it is."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, TypeVar, cast

import httpx

from ..converter import StructureError, decode_in_steps
from ..error_body import one_line
from ..errors import Fate, ResponseDecodeError, ThreeCommasError
from .answer import Answer, BodyError, receive
from .call import Response
from .cancel_scope import CancelScope
from .failures import NOT_SENT, not_sent, text_of, unanswered, unreadable
from .refusals import Redacted
from .request import KeptBack
from .transport import HTTPClient

if TYPE_CHECKING:
    from collections.abc import Generator

    from .auth import SigningAuth
    from .call import Call
    from .request import Request

__all__ = ["Exchange"]

T = TypeVar("T")


class Exchange:
    """Sends single requests with one httpx client.

    What goes wrong is returned and raised by the caller, outside of any `except`: what httpx raises
    has the signed request in it, and must be reachable neither as cause nor as context.

    Args:
        http: the httpx client.
        auth: signs, and keeps key and signature out of what errors tell.
        calls: the calls under way; tells a cancellation of theirs from one of foreign code.
        max_response_bytes: how long a body may be, as it comes and decompressed.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        auth: SigningAuth,
        calls: CancelScope,
        max_response_bytes: int,
    ) -> None:
        self._http = http
        self._borrowed = not isinstance(http, HTTPClient)
        self._auth = auth
        self._calls = calls
        self._max_bytes = max_response_bytes
        self._scope = CancelScope()

    def forget(self) -> None:
        """Forget what was under way on an event loop that was closed in mid-run."""
        self._scope.forget()

    async def send(
        self, call: Call[T], request: Request, longest: float | None
    ) -> Answer | ThreeCommasError:
        """Send the request and return its answer, or the error that stands for its absence.

        Args:
            call: what it is for.
            request: the request; its `head` is set even where this is cancelled.
            longest: seconds that all of it may take; None without a limit.
        """
        auth = self._auth if call.endpoint.signed else None
        ends_at = math.inf if longest is None else asyncio.get_running_loop().time() + longest
        task = self._scope.enter(ends_at)
        try:
            if isinstance(self._http, HTTPClient):
                return await self._http.answer(request, auth, self._max_bytes)
            request.extensions = request.asking_before_it_leaves()
            response = await self._http.send(
                request, auth=auth, follow_redirects=False, stream=True
            )
            return await receive(response, max_bytes=self._max_bytes, request=request)
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and self._scope.caused(task):
                why = f"the whole attempt may take {longest:g} s"
                return self._by_its_head(call, request, why) or unanswered(call, why)
            if self._calls.was_cancelled(error):
                raise
            return self._without_answer(call, request, error)
        finally:
            self._scope.leave(task)

    def _without_answer(
        self, call: Call[T], request: Request, error: BaseException
    ) -> Answer | ThreeCommasError:
        """Return what an exception means that came in place of an answer."""
        if isinstance(error, KeptBack):
            return error.why
        if isinstance(error, BodyError):
            if error.answer.fate is Fate.DONE:
                return unreadable(call, self.redacted(error.answer, request), str(error))
            return error.answer  # its status says enough: a 429 blocks, whatever comes with it
        # An event hook of the user's may raise the same exceptions, about a request of its own.
        ours = not self._borrowed or _is_about(error, request)
        if isinstance(error, httpx.HTTPStatusError) and ours:
            return Answer(error.response.status_code, error.response.headers, b"")
        # Redacted before it is cut: a key that is cut in two is not found.
        text = one_line(self._auth.redact(text_of(error), request))
        if isinstance(error, NOT_SENT) and ours:
            return not_sent(call, error, text)
        # The request may have left.
        return self._by_its_head(call, request, text) or unanswered(call, text, error)

    def _by_its_head(
        self, call: Call[T], request: Request, why: str
    ) -> Answer | ResponseDecodeError | None:
        """Return what an answer means whose head has come and whose body has not; None: nothing.

        An error status says enough. A change that the server says was made was made. A read is
        simply made again.
        """
        if request.head is None:
            return None
        if request.head.fate is not Fate.DONE:
            return request.head
        if not call.unsafe:
            return None
        return unreadable(call, self.redacted(request.head, request), f"the body broke off: {why}")

    async def understand(
        self, call: Call[T], request: Request, answer: Answer
    ) -> Response[T] | ResponseDecodeError:
        """Parse the body of a 2xx."""
        # Answers come in by the dozen: a turn for everyone else before each is parsed.
        await asyncio.sleep(0)
        try:
            data = await _with_pauses(decode_in_steps(answer.body, call.endpoint.returns))
            told: object = getattr(data, "id", None)
            if call.entity_id is None or told == call.entity_id:
                return Response(data, answer.status_code, answer.headers, answer.body)
            reason = f"it is about {told!r}, not {call.entity_id}"
        except StructureError as error:
            reason = str(error)
        return unreadable(call, self.redacted(answer, request), reason)

    def redacted(self, answer: Answer, request: Request) -> Redacted:
        """Return what errors tell of an answer: without key and signature, which it may echo."""
        request_id: str | None = answer.headers.get("x-request-id")
        return Redacted(
            answer.status_code,
            answer.headers,
            self._auth.redact(answer.text, request),
            request_id and self._auth.redact(request_id, request),
        )


async def _with_pauses(steps: Generator[None, None, T]) -> T:
    """Run steps to their end, with a turn for everyone else between them."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("T", end.value)
        await asyncio.sleep(0)


def _is_about(error: BaseException, request: Request) -> bool:
    """Return whether an httpx exception is about this request, and not one that a hook has made."""
    try:
        return isinstance(error, httpx.HTTPError) and error.request is request
    except RuntimeError:  # it names no request
        return False
