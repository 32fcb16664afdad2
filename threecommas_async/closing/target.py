"""What closing has to know of a kind of entity: everything that differs between trades and deals.

The rest of `closing` works on a `Target` only. To cancel entities instead of closing them, replace
its `close` with a cancel and set `cancels`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from ..endpoint import Priority
    from ..retry import Trace
    from .phase import Phase
    from .registry import CloseRegistry

__all__ = ["Target"]

T = TypeVar("T")


@frozen(kw_only=True, eq=False)
class Target(Generic[T]):
    """A kind of entity that can be closed.

    Attributes:
        noun: the word for one entity in messages, such as "trade".
        registry: the closes of these entities within one client.
        close: sends the close and returns the entity from the answer.
        read: reads one entity.
        listings: returns the listings to search when many entities are to be read, the most
            promising one first. Each yields pages of entities.
        id_of: returns the id of an entity.
        phase: returns the phase of an entity.
        is_closable: returns whether an entity is open and can be closed now.
        failure: returns the server's text about why an entity failed.
        blocked_for: returns the seconds for which the server refuses everything; 0.0 normally.
        cancels: whether `close` cancels the entity instead of closing it.
    """

    noun: str
    registry: CloseRegistry[T]
    close: Callable[[int, Trace], Awaitable[T]]
    read: Callable[[int, Priority], Awaitable[T]]
    listings: Callable[[Priority, Trace], Sequence[Callable[[], AsyncIterator[Sequence[T]]]]]
    id_of: Callable[[T], int]
    phase: Callable[[T], Phase]
    is_closable: Callable[[T], bool]
    failure: Callable[[T], str | None]
    blocked_for: Callable[[], float]
    cancels: bool = False

    @property
    def verb(self) -> str:
        """The word in messages for what is done to an entity: "close" or "cancel"."""
        return "cancel" if self.cancels else "close"

    def name(self, entity_id: int) -> str:
        """Return the name of an entity in messages, such as "trade 12345678"."""
        return f"{self.noun} {entity_id}"
