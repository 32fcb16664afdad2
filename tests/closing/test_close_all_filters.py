"""close_all with filters: the client checks the filters again on what the server lists."""

import httpx
import pytest

from tests.support import Api, client_of, close_all, states
from threecommas_async import CloseState, InvalidRequestError

pytestmark = pytest.mark.looptime


def list_as_other_account(api: Api, *trade_ids: int) -> None:
    def on_list(request: httpx.Request) -> httpx.Response:
        rows = [api.trade(i) for i in api.status]
        for row in rows:
            if row["id"] in trade_ids:
                row["account"]["id"] = 777
        return httpx.Response(200, json=rows if request.url.params["page"] == "1" else [])

    api.on_list = on_list


async def test_close_all_skips_listed_trades_that_do_not_pass_the_filters(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = Api([1, 2, 3])
    list_as_other_account(api, 2, 3)
    account_id = api.trade(1)["account"]["id"]
    report = await close_all(api, account_id=account_id)
    assert states(report) == {1: CloseState.ACCEPTED}
    assert set(api.posts) == {1}
    assert "2 of those that the server lists do not pass the filters" in caplog.text


@pytest.mark.parametrize("name", ["account_id", "pair", "type", "base", "quote"])
async def test_trade_without_the_filtered_field_is_reported_and_not_closed(name: str) -> None:
    def on_list(request: httpx.Request) -> httpx.Response:
        row = api.trade(1)
        row["account"], row["pair"], row["data"]["type"] = None, None, None
        return httpx.Response(200, json=[row] if request.url.params["page"] == "1" else [])

    api = Api([1])
    api.on_list = on_list
    report = await close_all(api, **{name: 5 if name == "account_id" else "USDT"})
    assert states(report) == {1: CloseState.NOT_SENT}
    assert "does not show whether it passes" in str(report[1].error)
    assert not report.ok
    assert report.leftovers == (1,)


@pytest.mark.parametrize(
    ("pair", "filters", "closed"),
    [
        ("USDT_BTC", {"pair": "USDT_BTC"}, True),
        ("USDT_BTC", {"pair": "usdt_btc"}, True),
        ("USDT_BTC", {"pair": "USDT_ETH"}, False),
        ("USDT_BTC", {"base": "BTC"}, True),
        ("USDT_BTC", {"quote": "USDT", "base": "BTC"}, True),
        ("USDT_BTC", {"quote": "BTC"}, False),
        ("USDT_BTC_USDT", {"base": "BTC"}, True),
        ("USDT_BTCUSDT_UMCBL", {"base": "BTC"}, True),
        ("USD_BTC-USD-SWAP", {"base": "BTC"}, True),
        ("BTC_BTCUSD_PERP", {"base": "BTC"}, True),
        ("USDT_BTCST", {"base": "BTC"}, False),
        ("USDT_BTCST_USDT", {"base": "BTC"}, False),
    ],
)
async def test_pair_filters_match_all_spellings_of_a_pair(
    pair: str,
    filters: dict[str, str],
    closed: bool,  # noqa: FBT001 - a column of the table
) -> None:
    def on_list(request: httpx.Request) -> httpx.Response:
        rows = [{**api.trade(1), "pair": pair}]
        return httpx.Response(200, json=rows if request.url.params["page"] == "1" else [])

    api = Api([1])
    api.on_list = on_list
    await close_all(api, **filters)
    assert (api.posts[1] == 1) is closed


async def test_base_filter_does_not_match_a_currency_with_the_same_prefix() -> None:
    def on_list(request: httpx.Request) -> httpx.Response:
        rows = [{**api.trade(1), "pair": "USDT_TUSD"}, {**api.trade(2), "pair": "USDT_T"}]
        return httpx.Response(200, json=rows if request.url.params["page"] == "1" else [])

    api = Api([1, 2])
    api.on_list = on_list
    async with client_of(api) as client:
        report = await client.smart_trades.close_all(base="T")
    assert states(report) == {1: CloseState.NOT_SENT, 2: CloseState.ACCEPTED}
    assert set(api.posts) == {2}


async def test_deals_close_all_skips_deals_that_do_not_pass_the_filters() -> None:
    log: list[str] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/public/api/ver1/")
        log.append(f"{request.method} {path}")
        row = {"id": 1, "bot_id": 8, "account_id": 5, "pair": "USDT_BTC", "status": "bought"}
        first = request.url.params.get("offset") == "0"
        return httpx.Response(200, json=[row] if first else [])

    async with client_of(handler) as client:
        report = await client.deals.close_all(bot_id=9)
    assert len(report) == 0
    assert "USDT_BTC on account 5 (1)" in str(report.unmatched)
    assert [line for line in log if line.startswith("POST")] == []


@pytest.mark.parametrize("dry_run", [True, False])
async def test_filters_that_match_nothing_while_trades_are_open_are_not_ok(
    dry_run: bool,  # noqa: FBT001 - parametrized
) -> None:
    api = Api([1, 2, 3])
    account = api.trade(1)["account"]["id"]
    report = await close_all(api, pair="USDT_BTCC", dry_run=dry_run)
    assert (len(report), report.ok) == (0, False)
    assert f"{api.trade(1)['pair']} on account {account} (3)" in str(report.unmatched)
    assert "pair='USDT_BTCC'" in str(report.unmatched)
    with pytest.raises(ExceptionGroup, match="no open trade passes the filters") as caught:
        report.raise_for_failures()
    assert isinstance(caught.value.exceptions[0], InvalidRequestError)
    assert api.count("POST") == 0


async def test_filters_that_match_nothing_while_no_trade_is_open_are_ok() -> None:
    report = await close_all(Api(), pair="USDT_BTC")
    assert (report.ok, report.unmatched) == (True, None)


async def test_unmatched_error_names_at_most_ten_open_pairs() -> None:
    def on_list(request: httpx.Request) -> httpx.Response:
        rows = [{**api.trade(1), "id": i, "pair": f"USDT_C{i}"} for i in range(1, 31)]
        if "pair" in request.url.params or request.url.params["page"] != "1":
            rows = []
        return httpx.Response(200, json=rows)

    api = Api([1])
    api.on_list = on_list
    report = await close_all(api, pair="USDT_BTC")
    assert str(report.unmatched).count("on account") == 10
    assert str(report.unmatched).endswith("and 20 more")


async def test_deadline_during_the_unfiltered_listing_leaves_unmatched_unset() -> None:
    api = Api([1, 2, 3], latency=2.0)
    report = await close_all(api, pair="USDT_BTCC", deadline=3)
    assert (len(report), report.unmatched) == (0, None)
