"""Going through all pages of a list.

No answer carries a total or a link to the next page, and a server may give shorter pages than it
was asked for: a list ends at the first page that is empty or has nothing new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

__all__ = ["every_page"]

T = TypeVar("T")


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
