"""What hardly ever happens, and must not hurt when it does."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, cast

import attrs
import httpx
import pytest

from tests.support import Api, client_of, reset_after
from threecommas_async import CloseFailedError, CloseState, InvalidRequestError, ServerError
from threecommas_async.converter import StructureError, structure
from threecommas_async.http.refusals import api_status_error, read_block


@attrs.frozen
class Checked:
    """A class that has a rule of its own, which building it must not go past."""

    count: int = attrs.field(validator=attrs.validators.gt(0))


def test_a_class_with_rules_of_its_own_is_built_by_them() -> None:
    assert structure({"count": 2}, Checked) == Checked(2)
    with pytest.raises(StructureError, match=r"^Checked: ValueError$"):
        structure({"count": 0}, Checked)
    with pytest.raises(StructureError, match=r"Checked\.count"):
        structure({"count": "2"}, Checked)


def test_an_error_body_nested_beyond_measure_is_an_error_like_any_other() -> None:
    error = api_status_error(
        status_code=500, method="GET", path="/a", body="[" * 100_000, unsafe=False
    )
    assert isinstance(error, ServerError)
    assert len(str(error)) < 200


def test_a_server_whose_clock_is_days_off_does_not_decide_how_long_to_wait() -> None:
    now = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
    headers = {"date": format_datetime(now - timedelta(days=30))}
    body = "Rate limit exceeded. Next request at 2026-01-05 12:00:30 UTC"
    block = read_block(429, headers, body, penalty=300.0, now=now)
    assert 30.0 <= block.seconds <= 32.0


async def test_headers_that_are_no_mapping_are_refused() -> None:
    async with client_of(Api([7])) as client:
        with pytest.raises(InvalidRequestError, match="must be a mapping"):
            await client.smart_trades.get(7, extra_headers=cast("Any", [("X", "1")]))


@pytest.mark.looptime
async def test_one_who_stops_asking_does_not_disturb_the_reading_of_the_others() -> None:
    async def slow(_: int) -> None:
        await asyncio.sleep(5)

    api = Api([1, 2])
    api.faults = {1: [reset_after], 2: [reset_after]}
    api.on_read = slow
    async with client_of(api) as client:
        batch = client.smart_trades.close_many([1, 2])
        task = asyncio.ensure_future(batch)
        await asyncio.sleep(3)  # both are being read
        closing: Any = batch
        closing._work._tasks[1].cancel()  # noqa: SLF001
        report = await task
    assert report[1].state is CloseState.UNKNOWN
    assert report[2].ok


async def test_a_deal_that_failed_is_told_with_the_servers_text() -> None:
    async def failed(_: httpx.Request) -> httpx.Response:
        body = {"id": 1, "status": "failed", "error_message": "Insufficient balance"}
        return httpx.Response(201, json=body)

    async with client_of(failed) as client:
        with pytest.raises(CloseFailedError, match="Insufficient balance"):
            await client.deals.close_by_market(1)
