"""One answer as it comes in: bytes in, head and body out. Parsed by llhttp, in `httptools`.

llhttp reads heads and chunks. Where an answer ends is decided here, from its checked headers, so
that not one byte of what comes after it can be lost sight of: llhttp skips blank lines in silence.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import httptools
import httpx

from .answer import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MAX_HEAD_BYTES", "Reply"]

# How long status line and headers may be, those of interim answers (1xx) included.
MAX_HEAD_BYTES: Final = 64 * 1024
_END: Final = b"\r\n\r\n"
# Every answer begins like this. llhttp takes RTSP and HTTP/2.0 too.
_BEGINS: Final = b"HTTP/1."
# What HTTP/1.0 means by keep-alive is an agreement of its own.
_PERSISTENT: Final = b"HTTP/1.1 "
# Chunks and trailers end like this, and with nothing more.
_LAST_CHUNK: Final = re.compile(rb"[^\r\n]\r\n\r\n")
_INTERIM: Final = range(100, 200)
_SWITCHING: Final = 101
# Statuses whose answers have no body, whatever their headers say.
_BODILESS: Final = frozenset({204, 304})
# Lengths of a body that is no number: it comes in chunks, or ends with the connection.
_CHUNKED: Final = -1
_UNTIL_CLOSED: Final = -2


class Reply:
    """The answer to one request.

    Args:
        method: the request's method.
        max_bytes: how long the body may be; with more it counts as done.
    """

    def __init__(self, method: str, max_bytes: int) -> None:
        self.head: Answer | None = None
        """Status and headers, as soon as all of them have come."""
        self.body: bytearray = bytearray()
        self.done: bool = False
        """Whether the answer is complete, or its body longer than the limit."""
        self.refused: str | None = None
        """Why this is no HTTP answer; nothing more is read then."""
        self.reusable: bool = False
        """Whether the answer is complete, and its connection may have another request."""
        self._method = method
        self._max_bytes = max_bytes
        self._began: bytes = b""
        self._head_bytes: int = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._keep_alive = False
        self._left = 0
        self._chunk_bytes = 0
        self._parser: httptools.HttpResponseParser | None = None

    def feed(self, data: bytes) -> bool:
        """Take in what has come over the connection.

        Returns:
            Whether there is news: the head, the end, or that this is no answer.
        """
        knew_head = self.head is not None
        try:
            rest = data if knew_head else self._feed_head(data)
            if self.head is not None and not self.done:
                self._feed_body(rest)
            elif rest:
                self.reusable = False
        except (httptools.HttpParserError, ValueError) as error:
            self.refused = str(error)
        except httptools.HttpParserUpgrade:
            self.refused = "it switches to another protocol"
        return self.over or knew_head != (self.head is not None)

    @property
    def over(self) -> bool:
        """Whether nothing that comes now belongs to it."""
        return self.done or self.refused is not None

    def end(self) -> None:
        """Note that nothing more will come."""
        if self.head is not None and self._left == _UNTIL_CLOSED:
            self.done = True

    # ---------------------------------------------------------------- the head

    def _feed_head(self, data: bytes) -> bytes:
        """Take in the head, and those of interim answers before it; return what follows it."""
        while self.head is None and data:
            looked_through = max(len(self._began) - len(_END) + 1, 0)
            data = self._began + data
            if data[: len(_BEGINS)] != _BEGINS[: len(data)]:
                raise ValueError("it does not begin like HTTP/1.0 or HTTP/1.1")
            found = data.find(_END, looked_through)
            size = len(data) if found < 0 else found + len(_END)
            if self._head_bytes + size > MAX_HEAD_BYTES:
                raise ValueError(f"its headers are longer than {MAX_HEAD_BYTES} bytes")
            if found < 0:
                self._began = data
                return b""
            self._began = b""
            self._head_bytes += size
            self._read_head(data[:size])
            data = data[size:]
        return data

    def _read_head(self, head: bytes) -> None:
        self._headers = []
        parser = self._parser = httptools.HttpResponseParser(self)
        parser.feed_data(head)
        status = parser.get_status_code()
        if status < _INTERIM.start or status == _SWITCHING:
            raise ValueError(f"its status is {status}")
        if status in _INTERIM:
            return
        self._left = _length_of(self._headers)
        if self._method == "HEAD" or status in _BODILESS:
            self._left = 0
        self._keep_alive &= head.startswith(_PERSISTENT)
        if self._left != _CHUNKED:
            self._parser = None  # the two know each other: not for the garbage collector to find
        # httpx finds out by trying, each time anew.
        encoding = "ascii" if head.isascii() else None
        self.head = Answer(status, httpx.Headers(self._headers, encoding), b"")
        if self._left == 0:
            self._complete(surplus=b"")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header from llhttp; trailers are not wanted."""
        if self.head is None:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Ask llhttp whether the connection stays open, which it knows at this moment only."""
        if self._parser is not None and self.head is None:
            self._keep_alive = self._parser.should_keep_alive()

    # ---------------------------------------------------------------- the body

    def _feed_body(self, data: bytes) -> None:
        if self._parser is not None:
            self._feed_chunks(data, self._parser)
        elif self._left == _UNTIL_CLOSED:
            self.body += data
        else:
            self.body += data[: self._left]
            surplus = data[self._left :]
            self._left -= len(data) - len(surplus)
            if self._left == 0:
                self._complete(surplus)
        if len(self.body) > self._max_bytes:
            self.done, self.reusable, self._parser = True, False, None
        elif self._chunk_bytes > self._max_bytes + MAX_HEAD_BYTES:
            raise ValueError("its chunks hold more than the body")

    def _feed_chunks(self, data: bytes, parser: httptools.HttpResponseParser) -> None:
        self._chunk_bytes += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserError:
            if not self.done:  # else it is about what comes after the answer
                raise
            self.reusable = False
        if self.done:
            self.reusable &= _LAST_CHUNK.fullmatch(data[-5:]) is not None

    def on_body(self, data: bytes) -> None:
        """Take a part of a chunk from llhttp."""
        if not self.done:
            self.body += data

    def on_message_complete(self) -> None:
        """Hear from llhttp that the last chunk and the trailers have come."""
        if self.head is not None and not self.done:
            self._complete(surplus=b"")
            self._parser = None

    def on_message_begin(self) -> None:
        """Hear from llhttp that an answer begins: a second one is one too many."""
        if self.done:
            self.reusable = False

    def _complete(self, surplus: bytes) -> None:
        self.done = True
        self.reusable = self._keep_alive and not surplus


def _length_of(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return how long a body is, in bytes or as one of the constants above.

    Raises:
        ValueError: it may be understood in two ways.
    """
    length = _UNTIL_CLOSED
    for name, value in headers:
        kind = name.lower()
        if kind not in {b"content-length", b"transfer-encoding"}:
            continue
        if length != _UNTIL_CLOSED:
            raise ValueError("it says twice how long its body is")
        if kind == b"transfer-encoding":
            if value.strip().lower() != b"chunked":
                raise ValueError("its Transfer-Encoding is not chunked")
            length = _CHUNKED
        else:
            length = int(value)  # llhttp has seen to it that these are digits
    return length
