"""Reading of an answer: the head first, then a body of bounded size, decompressed.

Decides how long a body may be, and whether the status is enough if the body does not arrive
completely. What an answer means for a call is decided in `exchange` and `refusals`.
"""

from __future__ import annotations

import asyncio
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import httpx
from attrs import frozen

from ..errors import fate_of_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable

    from ..errors import Fate

__all__ = [
    "BLOCKING_BODY_TIMEOUT",
    "MAX_RESPONSE_BYTES",
    "Answer",
    "BodyError",
    "BodyTooLarge",
    "answer_of",
    "collect",
    "decompress",
    "receive",
]

# The longest list page seen (100 trades) has 300 KB.
MAX_RESPONSE_BYTES: Final = 16 * 1024 * 1024
_FIRST_ERROR_STATUS = 400
# After these nothing may be sent for a while.
_BLOCKING_STATUSES = frozenset({418, 429})
# Seconds to wait for the body of such an answer, which may say for how long.
BLOCKING_BODY_TIMEOUT: Final = 1.0
_NOT_COMPRESSED: Final = frozenset({"", "identity"})
# Bytes to decompress at a time; more would delay the event loop's other tasks.
_CHUNK_SIZE = 64 * 1024


class CompleteBody(httpx.AsyncByteStream):
    """A body that has arrived in full, still compressed as the server sent it."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.body


@frozen(repr=False)
class Answer:
    """What the server answered.

    Its repr shows neither headers nor body: a server may have echoed the key in them.
    """

    status_code: int
    headers: httpx.Headers
    body: bytes
    """The body, decompressed."""

    @property
    def text(self) -> str:
        """The body as UTF-8; the charset that the server names is ignored, so this never raises."""
        return self.body.decode("utf-8", errors="replace")

    @property
    def fate(self) -> Fate:
        """What the status means for the request."""
        return fate_of_status(self.status_code)

    @property
    def blocks(self) -> bool:
        """Whether the server will refuse all further requests for a while."""
        return self.status_code in _BLOCKING_STATUSES

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status_code}>"


class BodyError(Exception):
    """The server answered, but its body cannot be read.

    Attributes:
        answer: status and headers, which are known; its body is empty.
    """

    def __init__(self, text: str, answer: Answer) -> None:
        super().__init__(text)
        self.answer = answer


class BodyTooLarge(BodyError):  # noqa: N818 - reads better where it is caught
    """The body is longer than the limit, compressed or decompressed."""

    def __init__(self, max_bytes: int, answer: Answer) -> None:
        text = (
            f"the answer's body is longer than {max_bytes} bytes; if answers of this size are to "
            "be expected, raise it with AsyncClient(max_response_bytes=...)"
        )
        super().__init__(text, answer)


async def receive(
    response: httpx.Response,
    *,
    max_bytes: int,
    on_head: Callable[[Answer], None] = lambda _: None,
) -> Answer:
    """Read a response to its end, decompress it, and close it.

    Args:
        response: a response of `stream=True`, or one whose body was read already.
        max_bytes: maximum length of the body, both compressed and decompressed.
        on_head: called with status and headers before the body is read.

    Raises:
        BodyTooLarge: the body is longer.
        BodyError: the body's encoding was not asked for, or is broken.
        httpx.TransportError: the connection failed while the body was read.
    """
    head = Answer(response.status_code, response.headers, b"")
    on_head(head)
    try:
        stream = response.stream
        if response.is_stream_consumed:  # by a mock or an event hook: httpx has decompressed it
            body = _within_limit(response.content, head, max_bytes)
            return Answer(head.status_code, head.headers, body)
        assert isinstance(stream, httpx.AsyncByteStream)  # noqa: S101 - an async client's always is
        return await decompress(head, await collect(stream, head, max_bytes), max_bytes)
    finally:
        with suppress(Exception):  # a user's transport may fail to close; the answer is known
            await response.aclose()


async def decompress(head: Answer, body: bytes, max_bytes: int) -> Answer:
    """Return the complete answer, from its head and the body as the server sent it.

    Raises:
        BodyTooLarge: the body is longer than `max_bytes` when it is decompressed.
        BodyError: the body's encoding was not asked for, or is broken.
    """
    if body and "content-encoding" in head.headers and _encoding(head) not in _NOT_COMPRESSED:
        body = await collect(_decompressed_chunks(body, head), head, max_bytes)
    return Answer(head.status_code, head.headers, body)


def _within_limit(body: bytes, head: Answer, max_bytes: int) -> bytes:
    if len(body) > max_bytes:
        raise BodyTooLarge(max_bytes, head)
    return body


async def collect(chunks: AsyncIterable[bytes], head: Answer, max_bytes: int) -> bytes:
    """Join the chunks of a body.

    Raises:
        BodyTooLarge: there are more than `max_bytes`; no chunk after that is read.
        BodyError: the body of an error status broke off; the status is known.
    """
    body, broke_off = bytearray(), False
    try:
        async for chunk in chunks:
            body += chunk
            if len(body) > max_bytes:
                break
    except Exception as error:
        broke_off = head.status_code >= _FIRST_ERROR_STATUS and not isinstance(error, BodyError)
        if not broke_off:
            raise
    if broke_off:  # raised here, so that the frames of the HTTP library are not attached
        raise BodyError("the answer's body broke off", head)
    return _within_limit(bytes(body), head, max_bytes)


async def _decompressed_chunks(body: bytes, head: Answer) -> AsyncIterator[bytes]:
    """Decompress a body in small chunks, and let other tasks run between them."""
    try:
        decoder = zlib.decompressobj(_wbits(head, body))
        # The input is cut as well: each `decompress` copies the input that it has not consumed.
        for start in range(0, len(body), _CHUNK_SIZE):
            compressed, more = body[start : start + _CHUNK_SIZE], True
            while more and not decoder.eof:
                chunk = decoder.decompress(compressed, _CHUNK_SIZE)
                compressed, more = decoder.unconsumed_tail, len(chunk) == _CHUNK_SIZE
                yield chunk
                await asyncio.sleep(0)
        problem = "" if decoder.eof else "it ends too early"
    except zlib.error as error:
        problem = str(error)
    if problem:  # raised here, so that no frame with the body is attached
        raise BodyError(f"the answer's body cannot be decompressed: {problem}", head)


def _encoding(head: Answer) -> str:
    encoding: str = head.headers.get("content-encoding", "")
    return encoding.strip().lower()


def _wbits(head: Answer, body: bytes) -> int:
    """Return zlib's `wbits` for the encoding of a body."""
    encoding = _encoding(head)
    if encoding in {"gzip", "x-gzip"}:
        return zlib.MAX_WBITS | 16
    if encoding == "deflate":
        # Some servers send a raw deflate stream, without zlib's header of two bytes (RFC 1950).
        has_header = body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0
        return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
    raise BodyError(f"the answer's encoding {encoding[:40]!r} was not asked for", head)


def answer_of(head: Answer, body: bytes) -> httpx.Response:
    """Return an answer as an httpx response, for httpx or `receive` to decompress."""
    return httpx.Response(head.status_code, headers=head.headers, stream=CompleteBody(body))
