"""An operation of the API as data: what is sent, what comes back, and whether it may be repeated.

Resources declare their endpoints with these classes. Nothing here sends anything.
"""

from __future__ import annotations

import re
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import field, frozen

from .errors import ConfigurationError

if TYPE_CHECKING:
    from attrs import Attribute

__all__ = ["Bucket", "Endpoint", "Permission", "Priority", "Safety"]

T = TypeVar("T")


class Safety(Enum):
    """Whether a call may be repeated when its fate is unknown.

    The HTTP method does not decide this: some POSTs of this API only read, and a DELETE may cancel
    a live order.
    """

    SAFE = "safe"
    """Only reads; may be repeated at any time."""
    UNSAFE = "unsafe"
    """Changes something; repeated only if the first one provably never left."""


class Priority(IntEnum):
    """The order in which waiting calls get a slot. Lower goes first."""

    IN_DOUBT = -1
    """Reads that find out whether a close was carried out, and the repetition of that close."""
    CLOSE = 0
    """Closing a position."""
    NORMAL = 1
    """All other calls."""


class Permission(Enum):
    """The permission that the API key needs."""

    NONE = "NONE"
    SMART_TRADES_READ = "SMART_TRADES_READ"
    SMART_TRADES_WRITE = "SMART_TRADES_WRITE"
    BOTS_READ = "BOTS_READ"
    BOTS_WRITE = "BOTS_WRITE"


@frozen
class Bucket:
    """A rate limit of an endpoint's own, in addition to the general one.

    The documentation does not say whether it replaces the general limit; observing both is right in
    either case. https://developers.3commas.io/general-information/limits
    """

    name: str
    limit: int
    """Requests per window."""
    window: float
    """Length of the window in seconds."""
    penalty: float
    """Seconds of refusal after a 429."""


_PATH = re.compile(r"(/(?!\.\.?(/|$))([A-Za-z0-9_.~-]|%[0-9A-Fa-f]{2}|\{\w+\})+)+")


def _check_path(_: object, __: Attribute[str], path: str) -> None:
    if not _PATH.fullmatch(path):
        msg = f"the path of an endpoint is to be escaped and to begin with a slash, not {path!r}"
        raise ConfigurationError(msg)


def _check_method(_: object, __: Attribute[str], method: object) -> None:
    if not isinstance(method, str) or not re.fullmatch("[A-Z]+", method):
        msg = f"the method of an endpoint is a verb of HTTP in capitals, not {method!r}"
        raise ConfigurationError(msg)


def _check_safety(_: object, __: Attribute[Safety], safety: object) -> None:
    # Any other value would compare unequal to UNSAFE, and the call would be repeated.
    if not isinstance(safety, Safety):
        msg = f"the safety of an endpoint is SAFE or UNSAFE of Safety, not {safety!r}"
        raise ConfigurationError(msg)


@frozen
class Endpoint(Generic[T]):
    """One operation of the API, for `Pipeline.send`.

    Raises:
        ConfigurationError: a method or path that cannot be sent unchanged, or a `safety` that is no
            `Safety`.
    """

    method: str = field(validator=_check_method)
    path: str = field(validator=_check_path)
    """Escaped path below the base URL, with `{name}` for each path parameter."""
    returns: type[T]
    """Class of the answer's data: an attrs class, `list` of one, a JSON type, or `object`."""
    safety: Safety = field(validator=_check_safety)
    permission: Permission = Permission.NONE
    signed: bool = True
    priority: Priority = Priority.NORMAL
    bucket: Bucket | None = None
