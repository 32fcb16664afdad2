"""A cheap loopback server that answers every close with 201 and the trade in `trade.json`.

Runs in its own process (``python -m benchmarks.server``), prints its port, counts requests, and
exits when its standard input closes, so that it never outlives the benchmark.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from pathlib import Path

TRADE = json.loads(Path(__file__).with_name("trade.json").read_text())
CLOSE = re.compile(rb"POST /public/api/v2/smart_trades/(\d+)/close_by_market[? ]")
LIST = re.compile(rb"GET /public/api/v2/smart_trades\?\S*?\bpage=(\d+)")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
PAGES = 20
PER_PAGE = 100


def trade_body(trade_id: int) -> bytes:
    """Return `trade.json` as compact JSON with another id."""
    return json.dumps({**TRADE, "id": trade_id}, separators=(",", ":")).encode()


def head(status: str, length: int) -> bytes:
    """Return the head of a response with a body of `length` bytes."""
    return (
        f"HTTP/1.1 {status}\r\nServer: nginx\r\nContent-Type: application/json; charset=utf-8\r\n"
        f"Content-Length: {length}\r\nCache-Control: no-store\r\nConnection: keep-alive\r\n\r\n"
    ).encode()


def answer(status: str, body: bytes) -> bytes:
    """Return a whole response."""
    return head(status, len(body)) + body


class Answers:
    """Prepared responses; only the id and the Content-Length are filled in."""

    def __init__(self) -> None:
        before, self._after = trade_body(0).split(b'"id":0', 1)
        before += b'"id":'
        fixed = len(before) + len(self._after)
        self._before = [head("201 Created", fixed + digits) + before for digits in range(20)]
        self.not_found = answer("404 Not Found", b'{"error":"Not found"}')

    def close(self, trade_id: bytes) -> bytes:
        """Return the response to the close of a trade."""
        return self._before[len(trade_id)] + trade_id + self._after

    def page(self, number: int) -> bytes:
        """Return a page of the list: a full one up to `PAGES`, then empty ones."""
        first = 1 + (number - 1) * PER_PAGE
        trades = range(first, first + PER_PAGE) if number <= PAGES else ()
        return answer("200 OK", b"[" + b",".join(map(trade_body, trades)) + b"]")


class Counters:
    """Counts of POSTs and of connections."""

    def __init__(self) -> None:
        self.posts = 0
        self.connections = 0

    def body(self) -> bytes:
        """Return the counts as JSON."""
        return json.dumps({"posts": self.posts, "connections": self.connections}).encode()


class Connection(asyncio.Protocol):
    """One keep-alive connection; it is counted with its first POST."""

    def __init__(self, answers: Answers, counters: Counters, latency: float) -> None:
        self._answers = answers
        self._counters = counters
        self._latency = latency
        self._buffer = b""
        self._posted = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every complete request in the buffer."""
        buffer = self._buffer + data if self._buffer else data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            request = buffer[:end]
            length = LENGTH.search(request)
            end += 4 + (int(length[1]) if length else 0)
            if len(buffer) < end:
                break
            buffer = buffer[end:]
            self._respond(request)
        self._buffer = buffer

    def _respond(self, request: bytes) -> None:
        assert self._transport is not None
        if close := CLOSE.match(request):
            self._counters.posts += 1
            if not self._posted:
                self._posted = True
                self._counters.connections += 1
            response = self._answers.close(close[1])
        elif page := LIST.match(request):
            response = self._answers.page(int(page[1]))
        elif request.startswith(b"GET /stats"):
            response = answer("200 OK", self._counters.body())
        else:
            response = self._answers.not_found
        if self._latency:
            loop = asyncio.get_running_loop()
            loop.call_later(self._latency, self._transport.write, response)
        else:
            self._transport.write(response)


async def serve(latency: float) -> None:
    """Serve until standard input closes."""
    answers, counters = Answers(), Counters()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(answers, counters, latency), "127.0.0.1", 0, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    """Run the server."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    asyncio.run(serve(parser.parse_args().latency))


if __name__ == "__main__":
    main()
