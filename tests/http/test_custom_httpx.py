"""What users of httpx expect to keep working."""

from collections.abc import AsyncIterator

import httpx
import pytest
import respx

from tests.support import BASE_URL, KEY, SECRET, trade_json
from threecommas_async import AsyncClient, NotFoundError, ResponseDecodeError, RetryPolicy
from threecommas_async.endpoint import Endpoint, Safety

# respx patches the layer between httpx and httpcore, which the fast connections bypass.
respx_works_here = pytest.mark.own_transport

CLOSE_7 = f"{BASE_URL}/v2/smart_trades/7/close_by_market"


@respx_works_here
async def test_respx_can_mock_the_api() -> None:
    with respx.mock:
        route = respx.post(CLOSE_7).respond(201, json=trade_json(7, "panic_sell_pending"))
        async with AsyncClient(KEY, secret=SECRET) as client:
            trade = await client.smart_trades.close_by_market(7)
    assert trade.status.code == "panic_sell_pending"
    sent = route.calls.last.request
    assert sent.headers["Apikey"] == KEY
    assert len(sent.headers["Signature"]) == 64
    assert sent.content == b""


@respx_works_here
async def test_respx_can_mock_a_refusal() -> None:
    with respx.mock:
        respx.post(CLOSE_7).respond(
            404, json={"error": "Not found", "error_description": "Smart Trade not found"}
        )
        async with AsyncClient(KEY, secret=SECRET) as client:
            with pytest.raises(NotFoundError, match="Smart Trade not found"):
                await client.smart_trades.close_by_market(7)


@respx_works_here
async def test_respx_can_mock_a_timeout_after_which_the_trade_is_read() -> None:
    with respx.mock:
        respx.post(CLOSE_7).mock(side_effect=httpx.ReadTimeout)
        read = respx.get(f"{BASE_URL}/v2/smart_trades/7").respond(
            200, json=trade_json(7, "panic_sell_pending")
        )
        async with AsyncClient(KEY, secret=SECRET) as client:
            await client.smart_trades.close_by_market(7)
    assert read.call_count == 1


class TruncatedBody(httpx.AsyncByteStream):
    """A body that breaks off after its first part."""

    closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'{"id": 7'
        raise httpx.ReadError("reset by peer")

    async def aclose(self) -> None:
        self.closed = True


async def test_truncated_answer_of_a_custom_transport_raises_decode_error_and_is_closed() -> None:
    body = TruncatedBody()

    async def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(201, stream=body)

    close = Endpoint("POST", "/ver1/close", dict[str, object], Safety.UNSAFE)
    async with AsyncClient(
        KEY,
        secret=SECRET,
        retry=RetryPolicy(attempts=1),
        transport=httpx.MockTransport(handler),
    ) as client:
        with pytest.raises(ResponseDecodeError, match="reset by peer"):
            await client.request(close)
    assert body.closed
