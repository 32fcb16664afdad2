"""Against the real 3Commas, for whoever asks for it with a key of their own. Reads only.

    THREECOMMAS_LIVE=1 THREECOMMAS_API_KEY=... THREECOMMAS_API_SECRET=... \\
        make test ARGS="tests/live --no-cov -n0"

One trade is closed, that one and no other, if THREECOMMAS_LIVE_CLOSE_TRADE_ID names it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from threecommas_async import AsyncClient, CloseState, NotFoundError

TRADE_TO_CLOSE = "THREECOMMAS_LIVE_CLOSE_TRADE_ID"


def _asked_for() -> bool:
    signs = ("THREECOMMAS_API_SECRET", "THREECOMMAS_PRIVATE_KEY")
    return (
        os.environ.get("THREECOMMAS_LIVE") == "1"
        and bool(os.environ.get("THREECOMMAS_API_KEY"))
        and any(os.environ.get(name) for name in signs)
    )


pytestmark = [
    pytest.mark.timeout(1000),  # one more try after a penalty of 300 s is allowed for
    pytest.mark.skipif(
        not _asked_for(),
        reason="talks to the real 3Commas: set THREECOMMAS_LIVE=1, THREECOMMAS_API_KEY and "
        "THREECOMMAS_API_SECRET (or THREECOMMAS_PRIVATE_KEY) to run it",
    ),
]


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    async with AsyncClient.from_env() as client:
        yield client


async def test_the_key_and_its_signatures_are_accepted(client: AsyncClient) -> None:
    assert (await client.users.validate()).valid


async def test_a_page_of_trades_can_be_read_and_its_first_trade_alone(client: AsyncClient) -> None:
    page = await client.smart_trades.list_page(1, per_page=10, status="all")
    if not page:
        pytest.skip("the account has no SmartTrades")

    trade = await client.smart_trades.get(page[0].id)

    assert trade.id == page[0].id
    assert trade.status.code
    assert trade.data.created_at == page[0].data.created_at


async def test_a_trade_that_is_not_there_is_said_to_be_missing(client: AsyncClient) -> None:
    with pytest.raises(NotFoundError):
        await client.smart_trades.get(2**31 - 1)


@pytest.mark.skipif(
    not os.environ.get(TRADE_TO_CLOSE),
    reason=f"closes a real trade at market: set {TRADE_TO_CLOSE} to its id to run it",
)
async def test_the_trade_named_is_closed(client: AsyncClient) -> None:
    trade_id = int(os.environ[TRADE_TO_CLOSE])

    report = await client.smart_trades.close_many([trade_id], confirm=True, deadline=300)

    assert report[trade_id].state in {CloseState.CLOSED, CloseState.ALREADY_CLOSED}, report
