"""What closing has to know of a kind of entity: all that differs between trades and deals."""

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
    """A kind of entity as something to close.

    Attributes:
        noun: what people call one, as in "trade".
        registry: what the closes of these entities know of each other.
        close: sends the close and returns the entity as answered.
        read: reads one entity.
        listings: returns the listings to search for many entities, the most promising first.
        id_of: returns the entity's id.
        phase: returns where the entity stands.
        is_closable: returns whether the entity is open and can be closed now.
        failure: returns the server's text about why the entity failed.
        cancels: entities are cancelled instead of closed.
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
    cancels: bool = False

    def name(self, entity_id: int) -> str:
        """Return what to call an entity in a message."""
        return f"{self.noun} {entity_id}"
