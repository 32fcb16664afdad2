"""Faults for the closing state machine: those of the server, and errors in user code."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
from attrs import frozen
from hypothesis import strategies as st

from tests.support import error, trade_json
from threecommas_async import SlidingWindowLimiter
from threecommas_async.rate_limit.limiter import Permit

BLOCK = 7.0


class OddError(Exception):
    """Not a transport error; raised by the transport or by user code."""


class Drip(httpx.AsyncByteStream):
    """A body that arrives one byte at a time and never ends."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(5)
            yield b" "


def _charset(name: str) -> dict[str, str]:
    """Return headers with a charset that cannot decode the body."""
    return {"Content-Type": f"text/plain; charset={name}"}


UNANSWERED: dict[str, Callable[[], httpx.Response | Exception]] = {
    "reset": lambda: httpx.ReadError("connection reset"),
    "stale": lambda: httpx.RemoteProtocolError("Server disconnected without sending a response."),
    "silence": lambda: httpx.ReadTimeout(""),
    "odd error": lambda: OddError("out of order"),
    "redirect": lambda: httpx.Response(302, headers={"Location": "/"}),
    "timeout": lambda: httpx.Response(408),
    "html": lambda: httpx.Response(502, html="<html><h1>Bad Gateway</h1></html>"),
    "empty": lambda: httpx.Response(504),
    "garbage": lambda: httpx.Response(201, text="<<<"),
    "wrong type": lambda: httpx.Response(201, json=["ok"]),
    "gateway 404": lambda: httpx.Response(404, html="<html><h1>Not here</h1></html>"),
    "odd charset": lambda: httpx.Response(504, headers=_charset("undefined"), content=b"\xff"),
    "drip": lambda: httpx.Response(201, stream=Drip()),
    "wrong id": lambda: httpx.Response(201, json=trade_json(99, "panic_sell_pending")),
}
UNREADABLE = ("garbage", "wrong type", "wrong id")
"""Faults whose 201 says that a close is accepted, but cannot be parsed."""
REFUSALS: dict[str, Callable[[], httpx.Response]] = {
    "401": lambda: error(401, "signature_invalid"),
    "403": lambda: error(403, "Forbidden", "account"),
    "418": lambda: httpx.Response(418, headers={"Retry-After": f"{BLOCK:g}"}, text="banned"),
    "404": lambda: error(404, "not_found"),
    "422": lambda: error(422, text="below minimum"),
    "429": lambda: httpx.Response(429, headers={"Retry-After": f"{BLOCK:g}"}),
    "429 in an odd charset": lambda: httpx.Response(
        429,
        headers={"Retry-After": f"{BLOCK:g}", **_charset("base64")},
        content=b"slow down",
    ),
    "plan": lambda: httpx.Response(429, json={"error": "plan", "error_description": "Upgrade"}),
}


@frozen
class Fault:
    """What happens to one request."""

    answer: str = "right"
    applied: str = "now"
    """Whether an unanswered close is carried out: never, now, or late."""
    delay: float = 0.0
    """Seconds until a late close is carried out, or a right answer is sent."""


_delays = st.sampled_from([0.0, 0.3, 2.0, 9.0, 60.0])
_lost = st.builds(
    Fault, st.sampled_from([*UNANSWERED]), st.sampled_from(["never", "now", "late"]), _delays
)
_refused = st.builds(Fault, st.sampled_from([*REFUSALS]))
_close_fault = _lost | _refused | st.builds(Fault, delay=_delays) | st.just(Fault("no connection"))
_read_kinds = [*UNANSWERED, *sorted(REFUSALS.keys() - {"404"}), "missing", "right"]
_read_fault = st.builds(Fault, st.sampled_from(_read_kinds), delay=_delays)


def _some(fault: st.SearchStrategy[Fault], most: int) -> st.SearchStrategy[list[Fault]]:
    """Draw several faults, or one fault repeated: some code paths need the same fault twice."""
    again = st.tuples(fault, st.integers(2, most)).map(lambda drawn: [drawn[0]] * drawn[1])
    return st.lists(fault, min_size=1, max_size=most) | again


close_faults = _some(_close_fault, 4)
read_faults = _some(_read_fault, 6)


class UserCode:
    """User code that the package calls: hooks, callbacks, log filters, a limiter."""

    ERRORS = (ValueError, asyncio.CancelledError)

    def __init__(self) -> None:
        self.errors: list[type[BaseException] | None] = []

    def raise_next(self) -> None:
        """Raise the next error in `moods`, if there is one."""
        if self.errors and (error_type := self.errors.pop(0)):
            raise error_type

    def hook(self, _: object) -> None:
        self.raise_next()

    def filter(self, _: logging.LogRecord) -> bool:
        self.raise_next()
        return False


class UnreliableLimiter(SlidingWindowLimiter):
    """A correct limiter that may raise after it has done its work."""

    def __init__(self, user_code: UserCode, *limits: Any, **settings: Any) -> None:
        super().__init__(*limits, **settings)
        self._foreign = user_code

    async def release(self, permit: Permit, *, sent: bool, late: float = 0.0) -> None:
        await super().release(permit, sent=sent, late=late)
        self._foreign.raise_next()

    async def block(self, seconds: float) -> None:
        self._foreign.raise_next()
        await super().block(seconds)
