"""Going through all pages of a list that never says how long it is."""

from collections.abc import Sequence

import pytest

from threecommas_async import RequestNotSentError
from threecommas_async.pagination import every_page


class Pages:
    """A list in pages; pages past the last are empty."""

    def __init__(self, *pages: Sequence[str]) -> None:
        self.pages = pages
        self.asked: list[int] = []

    async def fetch(self, number: int) -> Sequence[str]:
        self.asked.append(number)
        return self.pages[number - 1] if number <= len(self.pages) else ""


async def read(pages: Pages, size: int = 3) -> list[str]:
    return ["".join(page) async for page in every_page(pages.fetch, size, str.lower)]


@pytest.mark.parametrize(
    ("pages", "read_pages", "asked"),
    [
        ([], [], [1]),
        (["ab"], ["ab"], [1]),
        (["abc"], ["abc"], [1, 2]),
        (["abc", "d"], ["abc", "d"], [1, 2]),
        (["abc", "def", "gh"], ["abc", "def", "gh"], [1, 2, 3]),
        (["abc", "def"], ["abc", "def"], [1, 2, 3]),
        (["abcd", "ef"], ["abcd", "ef"], [1, 2]),
    ],
    ids=[
        "empty",
        "one short",
        "one full",
        "last short",
        "three",
        "all full",
        "longer than asked for",
    ],
)
async def test_pages_are_read_in_order_up_to_the_first_short_one(
    pages: list[str], read_pages: list[str], asked: list[int]
) -> None:
    listing = Pages(*pages)
    assert await read(listing) == read_pages
    assert listing.asked == asked


async def test_an_item_that_moved_to_the_next_page_is_yielded_once() -> None:
    assert await read(Pages("abc", "CDe", "f")) == ["abc", "De", "f"]


async def test_an_item_twice_on_a_page_is_yielded_once() -> None:
    assert await read(Pages("aAb", "c")) == ["ab", "c"]


async def test_a_full_page_of_which_some_is_known_is_not_the_last() -> None:
    listing = Pages("abc", "abd", "e")
    assert await read(listing) == ["abc", "d", "e"]
    assert listing.asked == [1, 2, 3]


async def test_a_server_that_ignores_the_page_number_is_not_asked_forever() -> None:
    listing = Pages(*["abc"] * 10)
    assert await read(listing) == ["abc"]
    assert listing.asked == [1, 2]


async def test_pages_are_asked_for_only_as_they_are_needed() -> None:
    listing = Pages("abc", "def", "g")
    async for page in every_page(listing.fetch, 3, str.lower):
        assert list(page) == ["a", "b", "c"]
        break
    assert listing.asked == [1]


async def test_an_error_ends_the_list_after_what_was_read() -> None:
    async def fetch(number: int) -> Sequence[str]:
        if number == 2:
            raise RequestNotSentError("no slot")
        return "abc"

    pages = every_page(fetch, 3, str.lower)
    assert await anext(pages) == ["a", "b", "c"]
    with pytest.raises(RequestNotSentError, match="no slot"):
        await anext(pages)
