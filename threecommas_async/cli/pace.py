"""What goes out, watched: how many requests wait for a slot, how long, what came of the others."""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from textwrap import shorten
from typing import TYPE_CHECKING

from attrs import frozen

from ..endpoint import Priority
from ..errors import Fate
from ..hooks import AttemptEnded
from ..rate_limit import SlidingWindowLimiter
from .screen import printable

if TYPE_CHECKING:
    from .. import ThreeCommasError
    from ..endpoint import Bucket
    from ..hooks import Event
    from ..rate_limit import Permit

__all__ = ["Pace", "Traffic", "WatchedLimiter"]

_WINDOW = 60.0
_LONGEST_BAN = 3 * 24 * 3600.0
_LONGEST_REASON = 120
_ID = re.compile(r"/(\d+)(?=/|$)")


@frozen
class Pace:
    """What the server has been sent lately, in seconds since 1970, so that others can go by it."""

    sent: tuple[float, ...] = ()
    """When requests were over that it may still count."""
    blocked_until: float = 0.0

    def since(self, now: float) -> Pace | None:
        """Leave out what is over by now; None if that is all."""
        # A clock that was set back meanwhile makes "lately" a little later than now.
        sent = tuple(at for at in self.sent if abs(now - at) < _WINDOW)
        blocked = now < self.blocked_until < now + _LONGEST_BAN
        return Pace(sent, self.blocked_until if blocked else 0.0) if sent or blocked else None

    def joined(self, other: Pace) -> Pace:
        """Put two together."""
        sent = tuple(sorted({*self.sent, *other.sent}))
        return Pace(sent, max(self.blocked_until, other.blocked_until))


class WatchedLimiter(SlidingWindowLimiter):
    """`SlidingWindowLimiter`, counting what is on its way and remembering what was."""

    def __init__(self, limit: int = 100, window: float = _WINDOW, penalty: float = 300.0) -> None:
        super().__init__(limit, window, penalty)
        self.in_flight = 0
        """Requests that have a slot and no answer yet."""
        self._sent: deque[float] = deque(maxlen=limit)

    async def acquire(
        self, priority: Priority, *, bucket: Bucket | None = None, deadline: float | None = None
    ) -> Permit:
        """Wait for a slot."""
        permit = await super().acquire(priority, bucket=bucket, deadline=deadline)
        self.in_flight += 1
        return permit

    async def release(self, permit: Permit, *, sent: bool, late: float = 0.0) -> None:
        """End an attempt."""
        self.in_flight -= 1
        if sent:
            self._sent.append(time.time() + late)
        await super().release(permit, sent=sent, late=late)

    def seconds_until_sent(self, requests: int) -> float:
        """Estimate the seconds until the last of that many more requests can leave."""
        if requests < 1:
            return 0.0
        now = asyncio.get_running_loop().time()
        return max(self._general.available_at(requests - 1, now) - now, self.blocked_for())

    async def recall(self, pace: Pace) -> None:
        """Take the slots that others have used, and keep to the block that they have met."""
        wall, now = time.time(), asyncio.get_running_loop().time()
        left = pace.since(wall) or Pace()
        for at in left.sent:
            self._general.take()
            self._general.hold(now - max(0.0, wall - at))
        if left.blocked_until:
            await self.block(left.blocked_until - wall)

    def pace(self) -> Pace:
        """Return what others have to go by after this."""
        blocked = self.blocked_for()
        return Pace(tuple(self._sent), time.time() + blocked if blocked else 0.0)


class Traffic:
    """What is on its way, and what came of the rest. It is a hook of the client."""

    def __init__(self, limiter: WatchedLimiter, host: str) -> None:
        self.limiter = limiter
        self.host = host
        """Where requests go, with its port if it has one of its own."""
        self.tried: set[int] = set()
        """Ids to which something that changes a position may have been sent and is over."""
        self.lost = 0
        """Answers to that which did not come, or did not tell what had happened."""
        self.unreachable: str | None = None
        """Why there is no connection; None if the last attempt had one."""

    def __call__(self, event: Event) -> None:
        """Take note of an attempt."""
        if not isinstance(event, AttemptEnded):
            return
        if event.fate is Fate.NOT_SENT:
            self.unreachable = _reason(event.error)
            return
        self.unreachable = None
        if event.method != "GET":
            self.tried.update(map(int, _ID.findall(event.path)))
            self.lost += event.error is not None and event.error.may_have_taken_effect


def _reason(error: ThreeCommasError | None) -> str:
    """Return what the system says of a connection that failed, in a few words."""
    cause = error if error is None or error.__cause__ is None else error.__cause__
    return shorten(printable(str(cause) or type(cause).__name__), _LONGEST_REASON)
