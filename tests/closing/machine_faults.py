"""What goes wrong around the closing machine: the server's faults, and code of the user's."""

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
    """What no transport should raise, and one of the user's may."""


class Drip(httpx.AsyncByteStream):
    """A body that comes a byte at a time and never ends."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(5)
            yield b" "


def _charset(name: str) -> dict[str, str]:
    """Headers of an answer that cannot be decoded as they say."""
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
"""Those of them that say that a close is accepted, and cannot be understood."""
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
    """What becomes of one request."""

    answer: str = "right"
    applied: str = "now"
    """Whether an unanswered close is carried out: never, now, or late."""
    delay: float = 0.0
    """How late, or how slow."""


_delays = st.sampled_from([0.0, 0.3, 2.0, 9.0, 60.0])
_lost = st.builds(
    Fault, st.sampled_from([*UNANSWERED]), st.sampled_from(["never", "now", "late"]), _delays
)
_refused = st.builds(Fault, st.sampled_from([*REFUSALS]))
_close_fault = _lost | _refused | st.builds(Fault, delay=_delays) | st.just(Fault("no connection"))
_read_kinds = [*UNANSWERED, *sorted(REFUSALS.keys() - {"404"}), "missing", "right"]
_read_fault = st.builds(Fault, st.sampled_from(_read_kinds), delay=_delays)


def _some(fault: st.SearchStrategy[Fault], most: int) -> st.SearchStrategy[list[Fault]]:
    """Several faults, or one several times: what is believed when it comes again needs that."""
    again = st.tuples(fault, st.integers(2, most)).map(lambda drawn: [drawn[0]] * drawn[1])
    return st.lists(fault, min_size=1, max_size=most) | again


close_faults = _some(_close_fault, 4)
read_faults = _some(_read_fault, 6)


class Foreign:
    """Code of the user's that the package calls: hooks, callbacks, log filters, a limiter."""

    MOODS = (ValueError, asyncio.CancelledError)

    def __init__(self) -> None:
        self.moods: list[type[BaseException] | None] = []

    def act(self) -> None:
        """Raise, if that is what comes next."""
        if self.moods and (mood := self.moods.pop(0)):
            raise mood

    def hook(self, _: object) -> None:
        self.act()

    def filter(self, _: logging.LogRecord) -> bool:
        self.act()
        return False


class UnreliableLimiter(SlidingWindowLimiter):
    """Does all it should, and may raise all the same."""

    def __init__(self, foreign: Foreign, *limits: Any, **settings: Any) -> None:
        super().__init__(*limits, **settings)
        self._foreign = foreign

    async def release(self, permit: Permit, *, sent: bool, late: float = 0.0) -> None:
        await super().release(permit, sent=sent, late=late)
        self._foreign.act()

    async def block(self, seconds: float) -> None:
        self._foreign.act()
        await super().block(seconds)
