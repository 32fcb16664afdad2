"""Reads that lag behind a close never cause a second one, whatever its answer was."""

import asyncio

import httpx
import pytest

from tests.support import (
    Api,
    Fault,
    answering,
    client_of,
    garbage_after,
    gateway_timeout_after,
    states,
    trade_json,
    wrong_type_after,
)
from threecommas_async import CloseState, OutcomeUnknownError, ResponseDecodeError, RetryPolicy

pytestmark = pytest.mark.looptime


def reads_lag(api: Api, seconds: float) -> None:
    """Make reads and listings show a trade open for `seconds` after its close was carried out."""

    def seen(trade_id: int) -> dict[str, object]:
        accepted = api.accepted.get(trade_id)
        if accepted is None or asyncio.get_running_loop().time() >= accepted + seconds:
            return api.trade(trade_id)
        return api.stale(trade_id)

    async def read(trade_id: int) -> httpx.Response | None:
        return httpx.Response(200, json=seen(trade_id)) if trade_id in api.status else None

    def list_(request: httpx.Request) -> httpx.Response:
        first = request.url.params["page"] == "1"
        return httpx.Response(200, json=[seen(i) for i in api.status] if first else [])

    api.on_read, api.on_list = read, list_


async def wrong_id_after(api: Api, trade_id: int) -> httpx.Response:
    api.apply(trade_id)
    return httpx.Response(201, json=trade_json(99, "panic_sell_pending"))


async def bad_encoding_after(api: Api, trade_id: int) -> httpx.Response:
    """Answer with a 201 whose body cannot be decompressed."""
    api.apply(trade_id)
    headers = {"Content-Encoding": "gzip"}
    return httpx.Response(201, headers=headers, stream=httpx.ByteStream(b"no gzip"))


UNREADABLE = (garbage_after, wrong_type_after, wrong_id_after, bad_encoding_after)


def unreadable_201() -> httpx.Response:
    return httpx.Response(201, text="<<<")


# --- a 201 that cannot be parsed


@pytest.mark.parametrize("fault", UNREADABLE)
async def test_unparsable_201_is_not_repeated_by_the_next_call(
    fault: Fault,
) -> None:
    api = Api([1])
    api.faults[1] = [fault]
    reads_lag(api, 1e9)
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1])
        assert states(report) == {1: CloseState.UNKNOWN}
        assert isinstance(report[1].error, ResponseDecodeError)
        report = await client.smart_trades.close_many(report.leftovers, deadline=5.0)
        assert states(report) == {1: CloseState.UNKNOWN}
        reads_lag(api, 0.0)
        report = await client.smart_trades.close_many(report.leftovers)
    assert report.ok
    assert report[1].attempts == 0
    assert api.posts == {1: 1}


@pytest.mark.parametrize("fault", UNREADABLE)
async def test_unparsable_201_is_not_repeated_by_close_all(
    fault: Fault,
) -> None:
    api = Api([1, 2])
    api.faults[1] = [fault]
    reads_lag(api, 25.0)
    async with client_of(api) as client:
        report = await client.smart_trades.close_all()
    assert report[1].state in {CloseState.ACCEPTED, CloseState.CLOSED, CloseState.UNKNOWN}
    assert report[2].state is CloseState.ACCEPTED
    assert api.posts == {1: 1, 2: 1}


async def test_unparsable_201_stays_unknown_until_a_read_shows_the_trade_closing() -> None:
    api = Api([1])
    api.faults[1] = [garbage_after]
    reads_lag(api, 27.0)
    answers: list[object] = []
    async with client_of(api) as client:
        for _ in range(12):
            (answer,) = await asyncio.gather(
                client.smart_trades.close_by_market(1, deadline=3.0), return_exceptions=True
            )
            answers.append(answer)
    last = answers.pop()
    assert getattr(last, "id", None) == 1
    unknown = [answer for answer in answers if isinstance(answer, OutcomeUnknownError)]
    assert len(unknown) >= 5
    assert api.posts == {1: 1}


async def test_unparsable_201_without_effect_is_posted_again_after_the_lag_allowance() -> None:
    api = Api([1])
    api.faults[1] = [answering(unreadable_201)]
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1], deadline=10.0)
        report = await client.smart_trades.close_many(report.leftovers, deadline=10.0)
        assert states(report) == {1: CloseState.UNKNOWN}
        assert api.posts[1] == 1
        await asyncio.sleep(30)
        report = await client.smart_trades.close_many(report.leftovers)
    assert states(report) == {1: CloseState.ACCEPTED}
    assert api.posts[1] == 2


async def test_not_found_after_an_unparsable_201_does_not_settle_it() -> None:
    """The 404 may come from a replica that lags behind."""

    async def missing(_: int) -> httpx.Response:
        return httpx.Response(404, json={"error": "not_found"})

    api = Api([1])
    api.faults[1] = [answering(unreadable_201)]
    api.on_read = missing
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([1])
        assert states(report) == {1: CloseState.NOT_FOUND}
        api.on_read = None
        report = await client.smart_trades.close_many([1])
    assert states(report) == {1: CloseState.UNKNOWN}  # not ALREADY_CLOSED: no read shows that
    assert api.posts[1] == 1


async def test_close_cancelled_while_its_unparsable_201_is_read_is_not_repeated() -> None:
    api = Api([1])
    api.faults[1] = [garbage_after]
    reads_lag(api, 20.0)
    async with client_of(api) as client:
        closing = asyncio.create_task(client.smart_trades.close_by_market(1))
        await asyncio.sleep(1)
        closing.cancel()
        await asyncio.wait({closing})
        await asyncio.gather(client.smart_trades.close_by_market(1), return_exceptions=True)
    assert api.posts == {1: 1}


async def test_filled_entry_closed_with_an_unparsable_201_is_not_closed_again() -> None:
    """The entry is filled before its cancel, so it is closed; the 201 cannot be parsed."""
    api = Api([1])
    api.status[1] = "waiting_position"
    api.faults[1] = [garbage_after]

    async def fill_on_read(trade_id: int) -> httpx.Response | None:
        if trade_id not in api.accepted:
            api.status[trade_id] = "waiting_targets"
        return httpx.Response(200, json=api.stale(trade_id))

    api.on_read = fill_on_read
    async with client_of(api) as client:
        report = await client.smart_trades.close_all(pending="cancel", deadline=12.0)
        assert states(report) == {1: CloseState.UNKNOWN}
        report = await client.smart_trades.close_many(report.leftovers, deadline=5.0)
    assert states(report) == {1: CloseState.UNKNOWN}
    assert api.posts == {1: 1}


async def test_unparsable_cancel_that_took_effect_is_reported_as_accepted() -> None:
    """The second round reads the entry twice: to look it up, and right before the cancel."""

    async def cancel_unreadably(api: Api, trade_id: int) -> httpx.Response:
        api.status[trade_id] = "cancellation_pending"
        return httpx.Response(200, text="<<<")

    lagging = 1 + RetryPolicy().attempts + 1

    async def read(trade_id: int) -> httpx.Response | None:
        if api.count("GET", f"/{trade_id}") > lagging:
            return None
        return httpx.Response(200, json=trade_json(trade_id, "waiting_position"))

    def list_(request: httpx.Request) -> httpx.Response | None:
        if api.count("GET", "/1") > lagging:
            return None
        return httpx.Response(200, json=[trade_json(1, "waiting_position")])

    api = Api([1])
    api.status[1] = "waiting_position"
    api.cancel_faults[1] = [cancel_unreadably]
    api.on_read, api.on_list = read, list_
    async with client_of(api) as client:
        report = await client.smart_trades.close_all(pending="cancel")
    assert states(report) == {1: CloseState.ACCEPTED}
    assert api.count("DELETE") == 1


# --- an unknown close that a read shows as closing


@pytest.mark.parametrize("shown", ["panic_sell_pending", "panic_sold"])
async def test_close_that_a_read_showed_closing_is_not_repeated_by_a_third_call(
    shown: str,
) -> None:
    async def down(_: int) -> httpx.Response:
        return httpx.Response(503)

    async def is_shown(trade_id: int) -> httpx.Response:
        return httpx.Response(200, json=trade_json(trade_id, shown))

    api = Api([1])
    api.faults[1] = [gateway_timeout_after]
    async with client_of(api) as client:
        api.on_read = down
        first = await client.smart_trades.close_many([1])
        assert states(first) == {1: CloseState.UNKNOWN}
        api.on_read = is_shown
        second = await client.smart_trades.close_many(first.leftovers)
        assert second.ok
        assert second[1].attempts == 0
        reads_lag(api, 1e9)
        third = await client.smart_trades.close_many([1])
        assert states(third) == {1: CloseState.ALREADY_CLOSED}
        asked = len(api.requests)
        await client.smart_trades.close_by_market(1)
    assert [method for _, method, _ in api.requests[asked:]] == ["GET"]
    assert api.posts == {1: 1}


async def test_calls_that_only_read_do_not_extend_the_lag_allowance() -> None:
    """Calls every few seconds lead to a new close once the allowance is over."""
    api = Api([1])
    async with client_of(api) as client:
        await client.smart_trades.close_by_market(1)
        for _ in range(5):
            await asyncio.sleep(7)
            await client.smart_trades.close_by_market(1)
    assert api.posts == {1: 2}
