"""Faults that deceive: an answer comes, and believing it would be wrong."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.sandbox.caller import Stage, stage, until
from threecommas_async.sandbox import Fault, Faults


def record_of(on: Stage) -> tuple[Fault | None, int | None]:
    record = on.ledger.requests[-1]
    return record.fault, record.status


async def status_of(on: Stage, trade_id: int) -> str:
    trade: dict[str, Any] = await on.get(f"/v2/smart_trades/{trade_id}")
    code: str = trade["status"]["type"]
    return code


async def test_a_gateway_may_know_nothing_of_a_close_that_was_carried_out() -> None:
    async with stage(faults=Faults(gateway_404_after=1.0)) as on:
        trade_id = on.sandbox.trade_ids[0]
        answer = await on.close(trade_id)
        assert answer.status_code == 404
        assert answer.headers["Content-Type"].startswith("text/html")
        assert "404 Not Found" in answer.text
        assert record_of(on) == (Fault.GATEWAY_404_AFTER, 404)
        assert on.ledger.applied == {trade_id}


async def test_a_gateway_may_know_nothing_of_a_trade_that_is_there() -> None:
    faults = Faults(gateway_404_before=1.0, max_per_trade=1, closes_only=False)
    async with stage(faults=faults) as on:
        trade_id = on.sandbox.trade_ids[0]
        answer = await on.call("GET", f"/v2/smart_trades/{trade_id}")
        assert (answer.status_code, answer.text[:6]) == (404, "<html>")
        assert await status_of(on, trade_id) == "waiting_targets"


async def test_an_answer_may_come_byte_by_byte() -> None:
    async with stage(faults=Faults(drip_after=1.0, drip=0.0002)) as on:
        trade_id, began = on.sandbox.trade_ids[0], asyncio.get_running_loop().time()
        answer = await on.close(trade_id)
        took = asyncio.get_running_loop().time() - began
        assert answer.json()["id"] == trade_id
        assert took > 0.0002 * len(answer.content)
        assert record_of(on) == (Fault.DRIP_AFTER, 201)
        assert on.ledger.applied == {trade_id}


async def test_a_page_of_a_gateway_may_drip_instead_of_a_read() -> None:
    faults = Faults(drip_before=1.0, drip=0.0, closes_only=False)
    async with stage(faults=faults) as on:
        answer = await on.call("GET", "/v2/smart_trades")
        assert answer.status_code == 502
        assert "502 Bad Gateway" in answer.text
        assert record_of(on) == (Fault.DRIP_BEFORE, 502)


async def test_stopping_does_not_wait_for_the_last_drop() -> None:
    async with stage(faults=Faults(drip_after=1.0, drip=600.0)) as on:
        asked = asyncio.create_task(on.close(on.sandbox.trade_ids[0]))
        await until(lambda: on.ledger.requests)
        async with asyncio.timeout(5):
            await on.sandbox.stop()
        with pytest.raises(httpx.TransportError):
            await asked


async def test_a_close_may_be_answered_with_another_trade() -> None:
    async with stage(faults=Faults(wrong_id_after=1.0, max_per_trade=1)) as on:
        one, two, three = on.sandbox.trade_ids
        answer = await on.close(two)
        first = await on.close(one)
        assert (answer.status_code, answer.json()["id"]) == (201, one)
        assert answer.json()["status"]["type"] == "waiting_targets"
        assert first.json()["id"] == three
        assert record_of(on) == (Fault.WRONG_ID_AFTER, 201)
        assert on.ledger.applied == {one, two}


async def test_the_answer_of_another_may_come_though_nothing_was_carried_out() -> None:
    faults = Faults(wrong_id_before=1.0, max_per_trade=1)
    async with stage(deals=2, faults=faults) as on:
        trade_id, (one, two) = on.sandbox.trade_ids[0], on.sandbox.deal_ids
        closed = await on.close(trade_id)
        sold = await on.call("POST", f"/ver1/deals/{one}/panic_sell")
        assert (closed.status_code, sold.status_code) == (201, 201)
        assert closed.json()["id"] != trade_id
        assert sold.json()["id"] == two
        assert not on.ledger.applied
        assert on.ledger.count(fault=Fault.WRONG_ID_BEFORE) == 2
        assert on.ledger.count(status=201) == 2


async def test_a_read_may_show_another_trade() -> None:
    faults = Faults(wrong_id_before=1.0, max_per_trade=3, closes_only=False)
    async with stage(faults=faults) as on:
        one, two, _ = on.sandbox.trade_ids
        shown = await on.get(f"/v2/smart_trades/{two}")
        parts = await on.get(f"/v2/smart_trades/{two}/trades")
        cancelled = await on.call("DELETE", f"/v2/smart_trades/{two}")
        assert shown["id"] == one
        assert parts[0]["id"] == one * 10
        assert (cancelled.status_code, cancelled.json()["id"]) == (200, one)
        assert await status_of(on, two) == "waiting_targets"


async def test_where_there_is_no_other_trade_the_answer_is_right() -> None:
    faults = Faults(wrong_id_before=0.5, wrong_id_after=0.5, max_per_trade=None, closes_only=False)
    async with stage(trades=1, deals=1, faults=faults) as on:
        (trade_id,), bot = on.sandbox.trade_ids, f"/ver1/bots/{on.sandbox.bot_id}"
        assert (await on.get(f"/v2/smart_trades/{trade_id}"))["id"] == trade_id
        assert len(await on.get("/v2/smart_trades")) == 1
        assert (await on.close(trade_id)).json()["id"] == trade_id
        sold = await on.call("POST", f"{bot}/panic_sell_all_deals")
        assert sold.json()["id"] == on.sandbox.bot_id
        assert {record.fault for record in on.ledger.requests} == {None}


@pytest.mark.parametrize("fault", [Fault.WRONG_ID_BEFORE, Fault.WRONG_ID_AFTER])
async def test_the_whole_bot_has_no_other_to_be_taken_for(fault: Fault) -> None:
    faults = Faults(**{fault.value: 1.0})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async with stage(deals=2, faults=faults) as on:
        sold = await on.call("POST", f"/ver1/bots/{on.sandbox.bot_id}/panic_sell_all_deals")
        assert sold.json()["id"] == on.sandbox.bot_id
        assert record_of(on) == (None, 201)
        assert on.ledger.applied == set(on.sandbox.deal_ids)


async def test_reads_and_lists_may_lag_behind_what_was_carried_out() -> None:
    faults = Faults(read_lag=9.0)
    async with stage(faults=faults, close_delay=(4.0, 4.0), time_scale=2) as on:
        trade_id = on.sandbox.trade_ids[0]
        assert (await on.close(trade_id)).json()["status"]["type"] == "panic_sell_pending"
        seen: list[tuple[str, int]] = []
        for _ in range(7):
            active = await on.get("/v2/smart_trades?status=active")
            seen.append((await status_of(on, trade_id), len(active)))
            on.time.pass_by(1.1)  # 2.2 s on the sandbox's clock
        assert seen == [
            *[("waiting_targets", 3)] * 5,
            ("panic_sell_in_progress", 3),
            ("panic_sold", 2),
        ]
        assert on.ledger.trade(trade_id).state == "panic_sold"


async def test_only_a_read_that_shows_the_past_counts_as_a_fault() -> None:
    async with stage(faults=Faults(read_lag=9.0), close_delay=(4.0, 4.0)) as on:
        one, two, _ = on.sandbox.trade_ids
        assert await status_of(on, one) == "waiting_targets"
        await on.close(one)
        for trade_id in (one, two):
            await status_of(on, trade_id)
        on.time.pass_by(14)
        await status_of(on, one)
        faults = [record.fault for record in on.ledger.requests]
        assert faults == [None, None, Fault.READ_LAG, None, None]
        assert on.ledger.count(fault=Fault.READ_LAG) == 1


async def test_a_lagging_read_of_what_is_not_there_is_still_refused() -> None:
    async with stage(faults=Faults(read_lag=9.0)) as on:
        assert (await on.call("GET", "/v2/smart_trades/1")).status_code == 400


async def test_deals_and_their_bot_lag_as_well() -> None:
    faults = Faults(read_lag=5.0)
    async with stage(deals=2, faults=faults, close_delay=(0.0, 0.0)) as on:
        bot, deal_id = f"/ver1/bots/{on.sandbox.bot_id}", on.sandbox.deal_ids[0]

        async def standing() -> tuple[str, int, int]:
            return (
                (await on.get(f"/ver1/deals/{deal_id}/show"))["status"],
                len(await on.get("/ver1/deals?scope=active")),
                (await on.get(f"{bot}/show"))["active_deals_count"],
            )

        on.time.pass_by(1)
        sold = await on.call("POST", f"{bot}/panic_sell_all_deals")
        on.time.pass_by(1)
        before = await standing()
        on.time.pass_by(5)
        assert sold.json()["active_deals_count"] == 0  # the answer to a close does not lag
        assert before == ("bought", 2, 2)
        assert await standing() == ("panic_sold", 0, 0)


async def test_every_answer_has_a_request_id_by_which_the_ledger_knows_it() -> None:
    faults = Faults(gateway_timeout_before=0.3, truncated_after=0.1, stale_after=0.1)
    async with stage(trades=20, faults=faults, rate_limit=None) as on:
        answers = [await on.call("GET", "/nowhere"), await on.call("GET", "/ver1/validate")]
        answers.append(await on.call("GET", "/ver1/validate", headers={"Apikey": "other"}))
        for trade_id in on.sandbox.trade_ids:
            try:
                answers.append(await on.close(trade_id))
            except httpx.RemoteProtocolError:  # the half of an answer
                continue
        known = {record.request_id: record for record in on.ledger.requests}
        assert len(known) == len(on.ledger.requests)
        for answer in answers:
            record = known[answer.headers["X-Request-Id"]]
            assert (record.status, record.path) == (answer.status_code, answer.url.path)


async def test_one_seed_makes_one_set_of_deceptions() -> None:
    async def struck(seed: int) -> list[Fault | None]:
        rate = 0.15
        faults = Faults(gateway_404_after=rate, drip_before=rate, wrong_id_before=rate, drip=0.0)
        async with stage(trades=20, seed=seed, faults=faults) as on:
            for trade_id in on.sandbox.trade_ids:
                await on.close(trade_id)
            return [record.fault for record in on.ledger.requests]

    assert await struck(7) == await struck(7) != await struck(8)
