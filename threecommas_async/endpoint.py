"""An API call as data: what is sent, what comes back, and what may be done when it goes wrong."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Generic, TypeVar

from attrs import frozen

__all__ = ["Bucket", "Endpoint", "Permission", "Priority", "Safety"]

T = TypeVar("T")


class Safety(Enum):
    """Whether a call may be repeated when its fate is unknown.

    It belongs to the call, not to the verb: some POSTs of this API only read, and a DELETE may
    cancel a live order.
    """

    SAFE = "safe"
    """Only reads: may be repeated at will."""
    UNSAFE = "unsafe"
    """Changes something: repeated only when the first one provably never left."""


class Priority(IntEnum):
    """Who goes first when calls wait for a slot. Lower goes first."""

    CLOSE = 0
    """Closing a position: takes the next free slot ahead of everything else."""
    NORMAL = 1
    """Everything else."""


class Permission(Enum):
    """What the API key must be allowed to do."""

    NONE = "NONE"
    SMART_TRADES_READ = "SMART_TRADES_READ"
    SMART_TRADES_WRITE = "SMART_TRADES_WRITE"
    BOTS_READ = "BOTS_READ"
    BOTS_WRITE = "BOTS_WRITE"


@frozen
class Bucket:
    """A limit of an endpoint's own, on top of the general one.

    The documentation does not say whether it replaces the general limit or adds to it; keeping
    both is right either way. https://developers.3commas.io/general-information/limits
    """

    name: str
    limit: int
    """Requests per window."""
    window: float
    """Length of the window in seconds."""
    penalty: float
    """Seconds of refusal after a 429."""


@frozen
class Endpoint(Generic[T]):
    """One operation of the API. Data only: `Pipeline.send` is the one that acts."""

    method: str
    path: str
    """Path below the base URL, with `{name}` for each path parameter."""
    returns: type[T]
    safety: Safety
    permission: Permission = Permission.NONE
    signed: bool = True
    priority: Priority = Priority.NORMAL
    bucket: Bucket | None = None
