"""Going through all pages of a list.

No answer carries a total or a link to the next page: a list ends at its first short page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

__all__ = ["every_page"]

T = TypeVar("T")


async def every_page(
    fetch: Callable[[int], Awaitable[Sequence[T]]],
    size: int,
    identity: Callable[[T], object],
) -> AsyncIterator[Sequence[T]]:
    """Yield each page's new items until a short page.

    Items move between pages while a list is read, so one may come twice: it is yielded once. A
    page with nothing new ends the list too, lest a server that ignores the page number be asked
    forever.

    Args:
        fetch: returns the page of a number, from 1.
        size: items of a full page.
        identity: what tells two items apart.
    """
    seen: set[object] = set()
    number = 0
    while True:
        number += 1
        page = await fetch(number)
        fresh: list[T] = []
        for item in page:
            key = identity(item)
            if key not in seen:
                seen.add(key)
                fresh.append(item)
        if fresh:
            yield fresh
        if len(page) < size or not fresh:
            return
