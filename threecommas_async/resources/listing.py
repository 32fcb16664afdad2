"""The list of a resource: one page of it, or all of them.

No answer carries a total or a link to the next page, and a server may give shorter pages than it
was asked for: a list ends at the first page that is empty or has nothing new.
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


async def every_page(
    fetch: Callable[[int, int], Awaitable[Sequence[T]]],
    identity: Callable[[T], object],
) -> AsyncIterator[Sequence[T]]:
    """Yield each page's new items until a page has none.

    Items move between pages while a list is read, so one may come twice: it is yielded once. That
    also ends the list of a server that ignores the page number.

    Args:
        fetch: returns the page of a number, from 1, given how many items have come before it; a
            server may give fewer a page than it was asked for.
        identity: what tells two items apart.
    """
    seen: set[object] = set()
    number = received = 0
    while True:
        number += 1
        page = await fetch(number, received)
        received += len(page)
        fresh: list[T] = []
        for item in page:
            key = identity(item)
            if key not in seen:
                seen.add(key)
                fresh.append(item)
        if not fresh:
            return
        yield fresh
