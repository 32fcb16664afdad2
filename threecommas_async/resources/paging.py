"""The list of a resource: one page of it, or all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

from attrs import frozen

from ..endpoint import Endpoint, Priority
from ..pagination import every_page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from ..http import Pipeline, QueryValue, Trace
    from ..options import CallOptions

__all__ = ["PAGE_SIZE", "PagedList"]

T = TypeVar("T")

PAGE_SIZE: Final = 100
"""Entities on a full page; the API's own default is 10, and asking for less costs requests."""


@frozen(kw_only=True, eq=False)
class PagedList(Generic[T]):
    """A list that comes in pages."""

    pipeline: Pipeline
    endpoint: Endpoint[list[T]]
    order: Mapping[str, QueryValue]
    """The order to ask for where none is given: oldest first, so that new entities do not push
    others over a page's edge."""
    place: Callable[[int, int], Mapping[str, QueryValue]]
    """Returns the query of a page by its number, from 1, and how many entities came before it."""
    identity: Callable[[T], int]
    """Returns the id of an entity."""

    async def page(
        self,
        query: Mapping[str, QueryValue],
        options: CallOptions,
        priority: Priority = Priority.NORMAL,
        trace: Trace | None = None,
    ) -> list[T]:
        """Return one page; the query says which."""
        answer = await self.pipeline.send(
            self.endpoint, query=query, options=options, priority=priority, trace=trace
        )
        return answer.data

    def pages(
        self,
        filters: Mapping[str, QueryValue],
        options: CallOptions,
        priority: Priority = Priority.NORMAL,
        trace: Trace | None = None,
    ) -> AsyncIterator[Sequence[T]]:
        """Go through all pages that pass the filters, see `every_page`."""
        ordered = {**self.order, **filters}
        return every_page(
            lambda number, received: self.page(
                {**ordered, **self.place(number, received)}, options, priority, trace
            ),
            self.identity,
        )
