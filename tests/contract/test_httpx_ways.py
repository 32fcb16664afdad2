"""What a user of httpx expects to go on working."""

import httpx
import pytest
import respx

from tests.support import BASE_URL, KEY, SECRET, trade_json
from threecommas_async import AsyncClient, NotFoundError

CLOSE_7 = f"{BASE_URL}/v2/smart_trades/7/close_by_market"


async def test_respx_stands_in_for_the_api() -> None:
    with respx.mock:
        route = respx.post(CLOSE_7).respond(201, json=trade_json(7, "panic_sell_pending"))
        async with AsyncClient(KEY, secret=SECRET) as client:
            trade = await client.smart_trades.close_by_market(7)
    assert trade.status.code == "panic_sell_pending"
    sent = route.calls.last.request
    assert sent.headers["Apikey"] == KEY
    assert len(sent.headers["Signature"]) == 64
    assert sent.content == b""


async def test_respx_can_refuse() -> None:
    with respx.mock:
        respx.post(CLOSE_7).respond(
            404, json={"error": "Not found", "error_description": "Smart Trade not found"}
        )
        async with AsyncClient(KEY, secret=SECRET) as client:
            with pytest.raises(NotFoundError, match="Smart Trade not found"):
                await client.smart_trades.close_by_market(7)


async def test_respx_can_fail_on_the_way_and_the_trade_is_read() -> None:
    with respx.mock:
        respx.post(CLOSE_7).mock(side_effect=httpx.ReadTimeout)
        read = respx.get(f"{BASE_URL}/v2/smart_trades/7").respond(
            200, json=trade_json(7, "panic_sell_pending")
        )
        async with AsyncClient(KEY, secret=SECRET) as client:
            await client.smart_trades.close_by_market(7)
    assert read.call_count == 1
