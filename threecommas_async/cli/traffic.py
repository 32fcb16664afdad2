"""Monitor the attempts of a client: which ids were sent to, lost answers, connection errors."""

from __future__ import annotations

import re
from textwrap import shorten
from typing import TYPE_CHECKING

from ..errors import Fate
from ..hooks import AttemptEnded
from .output import printable

if TYPE_CHECKING:
    from .. import ThreeCommasError
    from ..hooks import Event
    from .limiter import TrackingLimiter

__all__ = ["TrafficMonitor"]

_MAX_REASON_LENGTH = 120
_ID = re.compile(r"/(\d+)(?=/|$)")


class TrafficMonitor:
    """A hook of the client that records how its attempts ended."""

    def __init__(self, limiter: TrackingLimiter, host: str) -> None:
        self.limiter = limiter
        self.host = host
        """Host of the API, with its port if the URL has one."""
        self.attempted_ids: set[int] = set()
        """Ids to which a request other than GET may have been sent, and has ended."""
        self.lost_answers: int = 0
        """Requests other than GET whose answer did not arrive or did not show the effect."""
        self.connection_error: str | None = None
        """Why the last attempt had no connection; None if it had one."""

    def __call__(self, event: Event) -> None:
        """Record the end of an attempt."""
        if not isinstance(event, AttemptEnded):
            return
        if event.fate is Fate.NOT_SENT:
            self.connection_error = _short_reason(event.error)
            return
        self.connection_error = None
        if event.method != "GET":
            self.attempted_ids.update(map(int, _ID.findall(event.path)))
            self.lost_answers += event.error is not None and event.error.may_have_taken_effect


def _short_reason(error: ThreeCommasError | None) -> str:
    """Return the cause of a failed connection, as the operating system words it, shortened."""
    cause = error if error is None or error.__cause__ is None else error.__cause__
    return shorten(printable(str(cause) or type(cause).__name__), _MAX_REASON_LENGTH)
