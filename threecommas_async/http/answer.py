"""Reading an answer: head first, then a body of bounded size, decompressed."""

from __future__ import annotations

import asyncio
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import httpx
from attrs import frozen

from ..errors import fate_of_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from ..errors import Fate
    from .request import Request

__all__ = [
    "BLOCKING_BODY_WITHIN",
    "MAX_RESPONSE_BYTES",
    "Answer",
    "BodyError",
    "BodyTooLarge",
    "answer_of",
    "collect",
    "decompressed",
    "receive",
]

# The longest list page seen (100 trades) has 300 KB.
MAX_RESPONSE_BYTES: Final = 16 * 1024 * 1024
# Statuses from here on are errors.
_ERROR = 400
# Statuses that say that nothing more may be sent, and seconds in which their body, which may say
# for how long, has to come.
_BLOCKING = frozenset({418, 429})
BLOCKING_BODY_WITHIN: Final = 1.0
# Encodings that change nothing.
_AS_IT_IS: Final = frozenset({"", "identity"})
# Decompressing more at a time than this would hold up the event loop.
_PIECE = 64 * 1024


class WholeBody(httpx.AsyncByteStream):
    """A body that has come whole, still encoded as the server sent it."""

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
        """The body as UTF-8, whatever charset the server names: nothing of it ever raises."""
        return self.body.decode("utf-8", errors="replace")

    @property
    def fate(self) -> Fate:
        """What it means for its request."""
        return fate_of_status(self.status_code)

    @property
    def blocks(self) -> bool:
        """Whether it refuses whatever else is sent for a while."""
        return self.status_code in _BLOCKING

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status_code}>"


class BodyError(Exception):
    """The server answered, but the body cannot be had.

    Attributes:
        answer: status and headers, which are known; its body is empty.
    """

    def __init__(self, text: str, answer: Answer) -> None:
        super().__init__(text)
        self.answer = answer


class BodyTooLarge(BodyError):  # noqa: N818 - reads better where it is caught
    """The body is longer than the limit, as it came or decompressed."""

    def __init__(self, max_bytes: int, answer: Answer) -> None:
        text = (
            f"the answer's body is longer than {max_bytes} bytes; if answers of this size are to "
            "be expected, raise it with AsyncClient(max_response_bytes=...)"
        )
        super().__init__(text, answer)


async def receive(
    response: httpx.Response, *, max_bytes: int, request: Request | None = None
) -> Answer:
    """Read an answer got with `stream=True` to its end, decompress it, and close it.

    Args:
        response: the answer, not read yet, or read by whoever made it.
        max_bytes: how long the body may be, as it comes and decompressed.
        request: what it answers; told of the head as soon as that is known.

    Raises:
        BodyTooLarge: the body is longer.
        BodyError: the body's encoding was not asked for, or is broken.
        httpx.TransportError: the connection failed on the way.
    """
    head = Answer(response.status_code, response.headers, b"")
    if request is not None:
        request.answered(head)
    try:
        stream = response.stream
        if response.is_stream_consumed:  # by a mock or an event hook: httpx has decompressed it
            body = _bounded(response.content, head, max_bytes)
            return Answer(head.status_code, head.headers, body)
        assert isinstance(stream, httpx.AsyncByteStream)  # noqa: S101 - no other is sent
        return await decompressed(head, await collect(stream, head, max_bytes), max_bytes)
    finally:
        with suppress(Exception):  # of a transport of the user's: the answer is known
            await response.aclose()


async def decompressed(head: Answer, body: bytes, max_bytes: int) -> Answer:
    """Return the whole answer of what came over the wire.

    Raises:
        BodyTooLarge: the body is longer than `max_bytes` when it is decompressed.
        BodyError: the body's encoding was not asked for, or is broken.
    """
    if body and "content-encoding" in head.headers and _encoding(head) not in _AS_IT_IS:
        body = await collect(_decompressed(body, head), head, max_bytes)
    return Answer(head.status_code, head.headers, body)


def _bounded(body: bytes, head: Answer, max_bytes: int) -> bytes:
    if len(body) > max_bytes:
        raise BodyTooLarge(max_bytes, head)
    return body


async def collect(parts: AsyncIterable[bytes], head: Answer, max_bytes: int) -> bytes:
    """Join the parts of a body.

    Raises:
        BodyTooLarge: there are more than `max_bytes`; the parts after that are not asked for.
        BodyError: an error answer broke off, or one that blocks came too slowly; its status is
            known all the same.
    """
    body, broke_off = bytearray(), False
    try:
        if head.blocks:
            async with asyncio.timeout(BLOCKING_BODY_WITHIN):
                await _join(parts, body, max_bytes)
        else:
            await _join(parts, body, max_bytes)
    except Exception as error:
        broke_off = head.status_code >= _ERROR and not isinstance(error, BodyError)
        if not broke_off:
            raise
    if broke_off:  # outside, so that no frame of whoever read it is attached
        raise BodyError("the answer's body broke off", head)
    return _bounded(bytes(body), head, max_bytes)


async def _join(parts: AsyncIterable[bytes], body: bytearray, max_bytes: int) -> None:
    async for part in parts:
        body += part
        if len(body) > max_bytes:
            break


async def _decompressed(body: bytes, head: Answer) -> AsyncIterator[bytes]:
    """Yield what was compressed in small pieces, with a turn for everyone else between them."""
    try:
        decoder = zlib.decompressobj(_wbits(head, body))
        # The input goes in by pieces too: what finds no room in the output is copied each time.
        for start in range(0, len(body), _PIECE):
            packed, more = body[start : start + _PIECE], True
            while more and not decoder.eof:
                part = decoder.decompress(packed, _PIECE)
                packed, more = decoder.unconsumed_tail, len(part) == _PIECE
                yield part
                await asyncio.sleep(0)
        problem = "" if decoder.eof else "it ends too early"
    except zlib.error as error:
        problem = str(error)
    if problem:  # outside, so that no frame with the body is attached
        raise BodyError(f"the answer's body cannot be decompressed: {problem}", head)


def _encoding(head: Answer) -> str:
    encoding: str = head.headers.get("content-encoding", "")
    return encoding.strip().lower()


def _wbits(head: Answer, body: bytes) -> int:
    """Return what zlib calls the form of what was compressed."""
    encoding = _encoding(head)
    if encoding in {"gzip", "x-gzip"}:
        return zlib.MAX_WBITS | 16
    if encoding == "deflate":
        # Some servers leave out the two bytes of zlib's header, by which it can be known.
        whole = body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0
        return zlib.MAX_WBITS if whole else -zlib.MAX_WBITS
    raise BodyError(f"the answer's encoding {encoding[:40]!r} was not asked for", head)


def answer_of(head: Answer, body: bytes) -> httpx.Response:
    """Return an answer of which the body has come, for httpx or `receive` to decompress."""
    return httpx.Response(head.status_code, headers=head.headers, stream=WholeBody(body))
