"""Hooks: functions of the user's that are called with an event after each attempt and block.

A hook must be quick: it runs on the event loop, as part of the call. An exception of a hook is
logged and suppressed, so that a broken hook cannot stop a close.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen

from .logs import log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .errors import Fate, ThreeCommasError

__all__ = ["AttemptEnded", "Blocked", "Event", "Hook", "emit"]


@frozen(kw_only=True)
class AttemptEnded:
    """An attempt at a request has ended.

    Attributes:
        method: verb of the request.
        path: path of the request, without host and query.
        attempt: number of the attempt, from 1.
        fate: what is known of the request.
        status_code: status of the answer; None without one.
        waited: seconds spent waiting for a slot and a connection.
        elapsed: seconds from sending to the answer.
        error: the error of the attempt; None if it succeeded.
    """

    method: str
    path: str
    attempt: int
    fate: Fate
    status_code: int | None
    waited: float
    elapsed: float
    error: ThreeCommasError | None


@frozen(kw_only=True)
class Blocked:
    """The server refused the rate (429) or the address (418): nothing is sent for `seconds`."""

    status_code: int
    seconds: float


Event: TypeAlias = AttemptEnded | Blocked
Hook: TypeAlias = Callable[[Event], None]


def emit(hooks: Sequence[Hook], event: Event) -> None:
    """Call each hook with the event."""
    for hook in hooks:
        try:
            hook(event)
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - no close may fail for it
            log.exception("hook %r failed", hook)
