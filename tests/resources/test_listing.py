"""Paging through a list whose length the server never tells."""

from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from tests.support import Api, client_of
from threecommas_async import RequestNotSentError
from threecommas_async.resources.listing import every_page


class Pages:
    """A list in pages; pages past the last are empty."""

    def __init__(self, *pages: Sequence[str]) -> None:
        self.pages = pages
        self.asked: list[int] = []

    async def fetch(self, number: int, _: int) -> Sequence[str]:
        self.asked.append(number)
        return self.pages[number - 1] if number <= len(self.pages) else ""


async def read(pages: Pages) -> list[str]:
    return ["".join(page) async for page in every_page(pages.fetch, str.lower)]


@pytest.mark.parametrize(
    ("pages", "asked"),
    [
        ([], [1]),
        (["ab"], [1, 2]),
        (["abc", "d"], [1, 2, 3]),
        (["a", "bcd", "e"], [1, 2, 3, 4]),
    ],
    ids=["empty", "one", "two", "a short one between"],
)
async def test_pages_are_read_in_order_until_an_empty_page(
    pages: list[str], asked: list[int]
) -> None:
    listing = Pages(*pages)
    assert await read(listing) == pages
    assert listing.asked == asked


async def test_trades_of_a_server_that_caps_its_pages_are_listed_to_the_end() -> None:
    api = Api(range(1, 301))

    def fifty(request: httpx.Request) -> httpx.Response:
        start = 50 * (int(request.url.params["page"]) - 1)
        return httpx.Response(200, json=[api.trade(i + 1) for i in range(start, 300)[:50]])

    api.on_list = fifty
    async with client_of(api) as client:
        ids = [trade.id async for trade in client.smart_trades.list()]
    assert ids == list(range(1, 301))


async def test_item_that_moved_to_the_next_page_is_yielded_once() -> None:
    assert await read(Pages("abc", "CDe", "f")) == ["abc", "De", "f"]


async def test_item_twice_on_a_page_is_yielded_once() -> None:
    assert await read(Pages("aAb", "c")) == ["ab", "c"]


async def test_page_with_only_some_known_items_is_not_the_last() -> None:
    listing = Pages("abc", "abd", "e")
    assert await read(listing) == ["abc", "d", "e"]
    assert listing.asked == [1, 2, 3, 4]


async def test_paging_ends_if_the_server_ignores_the_page_number() -> None:
    listing = Pages(*["abc"] * 10)
    assert await read(listing) == ["abc"]
    assert listing.asked == [1, 2]


async def test_pages_are_requested_only_when_needed() -> None:
    listing = Pages("abc", "def", "g")
    async for page in every_page(listing.fetch, str.lower):
        assert list(page) == ["a", "b", "c"]
        break
    assert listing.asked == [1]


async def test_error_on_a_page_is_raised_after_the_earlier_pages_were_yielded() -> None:
    async def fetch(number: int, _: int) -> Sequence[str]:
        if number == 2:
            raise RequestNotSentError("no slot")
        return "abc"

    pages = every_page(fetch, str.lower)
    assert await anext(pages) == ["a", "b", "c"]
    with pytest.raises(RequestNotSentError, match="no slot"):
        await anext(pages)


@pytest.mark.parametrize(
    ("kind", "order", "usual", "given"),
    [
        ("smart_trades", "order_by", ("created_at", "ASC"), ("profit", "DESC")),
        ("deals", "order", ("created_at", "ASC"), ("closed_at", "DESC")),
    ],
)
async def test_lists_are_ordered_oldest_first_by_default(
    kind: str, order: str, usual: tuple[str, str], given: tuple[str, str]
) -> None:
    asked: list[tuple[str, str]] = []

    async def empty(request: httpx.Request) -> httpx.Response:
        asked.append((request.url.params[order], request.url.params["order_direction"]))
        return httpx.Response(200, json=[])

    async with client_of(empty) as client:
        resource: Any = getattr(client, kind)
        filters = {order: given[0], "order_direction": given[1]}
        assert [item async for item in resource.list()] == []
        assert [item async for item in resource.list(**filters)] == []
    assert asked == [usual, given]
