"""Lists: paging, filters and sorting, as documented."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from tests.sandbox.harness import Harness, running_sandbox

Row = dict[str, Any]
Rows = list[Row]


async def listed(env: Harness, query: str = "") -> Rows:
    rows: Rows = await env.get(f"/v2/smart_trades?{query}&per_page=100")
    return rows


def ids(rows: Rows) -> list[int]:
    return [row["id"] for row in rows]


async def test_a_page_has_ten_trades_by_default() -> None:
    async with running_sandbox(trades=25) as env:
        assert len(await env.get("/v2/smart_trades")) == 10
        assert len(await env.get("/v2/smart_trades?page=3")) == 5
        assert await env.get("/v2/smart_trades?page=4") == []


async def test_a_page_has_a_hundred_trades_at_most() -> None:
    async with running_sandbox(trades=130) as env:
        assert len(await env.get("/v2/smart_trades?per_page=100")) == 100
        assert len(await env.get("/v2/smart_trades?per_page=1000")) == 100
        assert len(await env.get("/v2/smart_trades?per_page=100&page=2")) == 30


async def test_all_pages_together_contain_every_trade_once() -> None:
    async with running_sandbox(trades=25) as env:
        pages = [await env.get(f"/v2/smart_trades?page={n}&per_page=7") for n in range(1, 5)]
        assert sorted(id_ for page in pages for id_ in ids(page)) == list(env.sandbox.trade_ids)


async def test_a_list_sorted_by_status_shifts_while_trades_close() -> None:
    async with running_sandbox(trades=20) as env:
        first = ids(await env.get("/v2/smart_trades?page=1&status=active"))
        for trade_id in first:
            await env.close(trade_id)
        second = ids(await env.get("/v2/smart_trades?page=2&status=active"))
        assert set(first) == set(second)  # the other ten were never listed


async def test_trades_are_filtered_by_status() -> None:
    async with running_sandbox(trades=4, pending=1, failing=1, close_delay=(0.0, 0.0)) as env:
        for trade_id in env.sandbox.trade_ids[:3]:
            await env.close(trade_id)
        await env.call("DELETE", f"/v2/smart_trades/{env.sandbox.pending_ids[0]}")
        found = {
            group: len(await listed(env, f"status={group}"))
            for group in ("all", "active", "finished", "cancelled")
        }
        both = [len(await listed(env, f"status={g}")) for g in ("successfully_finish", "failed")]
    assert found == {"all": 5, "active": 1, "finished": 4, "cancelled": 1}
    assert sum(both) == 3


FILTERS: dict[str, Callable[[Row], bool]] = {
    "account_id=5002": lambda t: t["account"]["id"] == 5002,
    "pair=USDT_BTC": lambda t: t["pair"] == "USDT_BTC",
    "type=smart_cover": lambda t: t["data"]["type"] == "smart_cover",
    "quote=BTC": lambda t: t["pair"].startswith("BTC_"),
    "base=DOGE_USDT": lambda t: t["pair"] == "USDT_DOGE_USDT",
}


@pytest.mark.parametrize("query", FILTERS)
async def test_filters_keep_exactly_the_matching_trades(query: str) -> None:
    async with running_sandbox(trades=80) as env:
        every = await listed(env)
        found = await listed(env, query)
    assert set(ids(found)) == {t["id"] for t in every if FILTERS[query](t)}
    assert 0 < len(found) < len(every)


async def test_trades_are_filtered_by_creation_time() -> None:
    async with running_sandbox(trades=20) as env:
        times = sorted(t["data"]["created_at"] for t in await listed(env))
        since = await listed(env, f"from={times[10]}")
        naive = await listed(env, f"to={times[9].removesuffix('Z')}")
        offset = await listed(env, f"from={quote(times[10].replace('Z', '+00:00'))}")
    assert len(since) == len(offset)
    assert len(since) in {9, 10}  # the wire has milliseconds, the sandbox has more
    assert len(naive) in {9, 10}


ORDERS: dict[str, Callable[[Row], Any]] = {
    "created_at": lambda t: t["data"]["created_at"],
    "updated_at": lambda t: t["data"]["updated_at"],
    "closed_at": lambda t: t["data"].get("closed_at", ""),
    "status": lambda t: t["status"]["type"],
    "profit": lambda t: float(t["profit"]["volume"] or 0),
    "profit_percentage": lambda t: float(t["profit"]["percent"]),
}


@pytest.mark.parametrize("order", ORDERS)
async def test_lists_are_sorted_in_both_directions(order: str) -> None:
    async with running_sandbox(trades=20, pending=2, close_delay=(0.0, 1.0)) as env:
        for trade_id in env.sandbox.trade_ids[:9]:
            await env.close(trade_id)
            env.clock.advance(0.1)
        up = await listed(env, f"order_by={order}&order_direction=ASC")
        down = await listed(env, f"order_by={order}&order_direction=DESC")
    keys = [ORDERS[order](t) for t in up]
    assert keys == sorted(keys)
    assert ids(down) == ids(up)[::-1]


@pytest.mark.parametrize(
    "query",
    [
        "status=open",
        "order_by=id",
        "order_direction=up",
        "page=0",
        "page=-1",
        "per_page=many",
        "per_page=%D9%A1",
        "from=yesterday",
    ],
)
async def test_an_invalid_parameter_is_refused_by_name(query: str) -> None:
    async with running_sandbox() as env:
        answer = await env.call("GET", f"/v2/smart_trades?{query}")
    assert answer.status_code == 400
    assert list(answer.json()["error_attributes"]) == [query.partition("=")[0]]
