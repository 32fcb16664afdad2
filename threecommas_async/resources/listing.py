"""Reads the list of a resource: one page, or all of them.

No answer has a total or a link to the next page, and a page may be shorter than requested, so a
list ends at the first page that is empty or has nothing new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

from attrs import frozen

from ..endpoint import Endpoint, Priority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from ..http import Pipeline, QueryValue
    from ..options import CallOptions
    from ..retry import Trace

__all__ = ["PAGE_SIZE", "PagedList", "every_page"]

T = TypeVar("T")

PAGE_SIZE: Final = 100
"""Number of entities on a full page. The API's default, 10, costs ten times the requests."""


@frozen(kw_only=True, eq=False)
class PagedList(Generic[T]):
    """A list of the API that comes in pages."""

    pipeline: Pipeline
    endpoint: Endpoint[list[T]]
    order: Mapping[str, QueryValue]
    """The default order: oldest first, so that new entities do not move others to another page."""
    page_query: Callable[[int, int], Mapping[str, QueryValue]]
    """Returns the query of a page, given its number from 1 and the number of entities before it."""
    id_of: Callable[[T], int]
    """Returns the id of an entity."""

    async def page(
        self,
        query: Mapping[str, QueryValue],
        options: CallOptions,
        priority: Priority = Priority.NORMAL,
        trace: Trace | None = None,
    ) -> list[T]:
        """Return the page that the query asks for."""
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
        """Yield all pages of what passes the filters, see `every_page`."""
        ordered = {**self.order, **filters}
        return every_page(
            lambda number, received: self.page(
                {**ordered, **self.page_query(number, received)}, options, priority, trace
            ),
            self.id_of,
        )


async def every_page(
    fetch: Callable[[int, int], Awaitable[Sequence[T]]],
    id_of: Callable[[T], object],
) -> AsyncIterator[Sequence[T]]:
    """Yield the new items of each page until a page has none.

    Items may move between pages while a list is read; one that appears twice is yielded once. This
    also ends the list of a server that ignores the page number.

    Args:
        fetch: returns a page, given its number from 1 and the number of items received before it.
        id_of: returns the id of an item.
    """
    seen: set[object] = set()
    number = received = 0
    while True:
        number += 1
        page = await fetch(number, received)
        received += len(page)
        fresh: list[T] = []
        for item in page:
            item_id = id_of(item)
            if item_id not in seen:
                seen.add(item_id)
                fresh.append(item)
        if not fresh:
            return
        yield fresh
