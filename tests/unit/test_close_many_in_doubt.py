"""Closing many: what is in question is found out by few reads."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.support import (
    AFTER,
    BEFORE,
    Api,
    Fault,
    close_many,
    holds_against,
    reset_after,
    states,
    trade_json,
)
from threecommas_async import (
    CloseState,
    OutcomeUnknownError,
)
from threecommas_async.pipeline import Pipeline

pytestmark = pytest.mark.looptime


# Twenty are under way at a time: of each twenty that are lost, those who ask together are read by
# one or two pages.
FEW = 2 * 250 // 20


@pytest.mark.parametrize("fault", AFTER)
async def test_closes_carried_out_but_not_answered_are_found_by_few_reads(fault: Fault) -> None:
    ids = range(1, 251)
    api = Api(ids)
    for trade_id in ids:
        api.faults[trade_id] = [fault]
    report = await close_many(api)
    assert report.ok
    assert set(api.posts.values()) == {1}
    assert api.count("GET") <= FEW
    holds_against(api, report)


@pytest.mark.parametrize("fault", BEFORE)
async def test_closes_not_carried_out_are_made_again(fault: Fault) -> None:
    ids = range(1, 251)
    api = Api(ids)
    for trade_id in ids:
        api.faults[trade_id] = [fault]
    report = await close_many(api)
    assert report.ok
    assert set(api.posts.values()) == {2}
    assert api.count("GET") <= FEW
    holds_against(api, report)


async def test_one_in_question_is_read_by_itself() -> None:
    api = Api(range(1, 51))
    api.faults[20] = [reset_after]
    await close_many(api)
    assert [path for _, method, path in api.requests if method == "GET"] == [
        "/public/api/v2/smart_trades/20"
    ]


async def test_one_trade_that_cannot_be_parsed_in_a_page_does_not_hide_the_others() -> None:
    def spoiled(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=[{"id": "broken"}])

    api = Api(range(1, 6))
    for trade_id in api.status:
        api.faults[trade_id] = [reset_after]
    api.on_list = spoiled
    report = await close_many(api)
    assert report.ok
    holds_against(api, report)


async def test_trades_that_no_page_shows_are_read_by_themselves() -> None:
    def empty(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=[])

    api = Api(range(1, 6))
    for trade_id in api.status:
        api.faults[trade_id] = [reset_after]
    api.on_list = empty
    assert (await close_many(api)).ok


async def test_a_long_list_without_what_is_wanted_is_not_looked_through_to_its_end() -> None:
    pages = 0

    def endless(request: httpx.Request) -> httpx.Response:
        nonlocal pages
        pages += 1
        first = 1_000_000 + 100 * int(request.url.params["page"])
        page = [trade_json(first + i, "waiting_targets") for i in range(100)]
        return httpx.Response(200, json=page)

    api = Api(range(1, 6))
    for trade_id in api.status:
        api.faults[trade_id] = [reset_after]
    api.on_list = endless
    assert (await close_many(api)).ok
    assert pages == 10  # as many in each listing as there are trades to be found


async def test_reading_fails_for_those_it_fails_for() -> None:
    async def some(trade_id: int) -> httpx.Response | None:
        return httpx.Response(500) if trade_id == 2 else None

    api = Api([1, 2])
    api.faults = {1: [reset_after], 2: [reset_after]}
    api.on_read = some
    report = await close_many(api)
    assert states(report) == {1: CloseState.ACCEPTED, 2: CloseState.UNKNOWN}
    assert isinstance(report[2].error, OutcomeUnknownError)


async def test_a_defect_in_one_close_is_told_as_unknown_and_spares_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real: Callable[..., Awaitable[Any]] = Pipeline.send

    async def sometimes(self: Pipeline, endpoint: Any, **call: Any) -> Any:
        if call["path"] == {"trade_id": 2}:
            raise KeyError("a defect")
        return await real(self, endpoint, **call)

    monkeypatch.setattr(Pipeline, "send", sometimes)
    report = await close_many(Api([1, 2, 3]))
    assert [outcome.ok for outcome in report] == [True, False, True]
    assert "unforeseen" in caplog.text
