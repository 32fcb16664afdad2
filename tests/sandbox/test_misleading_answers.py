"""Faults with misleading answers: an answer arrives, but its content is wrong or outdated."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.sandbox.harness import Harness, running_sandbox, wait_until
from threecommas_async.sandbox import Fault, Faults


def fault_and_status(env: Harness) -> tuple[Fault | None, int | None]:
    record = env.ledger.requests[-1]
    return record.fault, record.status


async def status_of(env: Harness, trade_id: int) -> str:
    trade: dict[str, Any] = await env.get(f"/v2/smart_trades/{trade_id}")
    code: str = trade["status"]["type"]
    return code


async def test_gateway_404_after_answers_a_close_that_was_carried_out_with_404() -> None:
    async with running_sandbox(faults=Faults(gateway_404_after=1.0)) as env:
        trade_id = env.sandbox.trade_ids[0]
        answer = await env.close(trade_id)
        assert answer.status_code == 404
        assert answer.headers["Content-Type"].startswith("text/html")
        assert "404 Not Found" in answer.text
        assert fault_and_status(env) == (Fault.GATEWAY_404_AFTER, 404)
        assert env.ledger.applied == {trade_id}


async def test_gateway_404_before_answers_a_read_of_an_existing_trade_with_404() -> None:
    faults = Faults(gateway_404_before=1.0, max_per_trade=1, closes_only=False)
    async with running_sandbox(faults=faults) as env:
        trade_id = env.sandbox.trade_ids[0]
        answer = await env.call("GET", f"/v2/smart_trades/{trade_id}")
        assert (answer.status_code, answer.text[:6]) == (404, "<html>")
        assert await status_of(env, trade_id) == "waiting_targets"


async def test_drip_after_sends_the_answer_byte_by_byte() -> None:
    async with running_sandbox(faults=Faults(drip_after=1.0, drip=0.0002)) as env:
        trade_id, began = env.sandbox.trade_ids[0], asyncio.get_running_loop().time()
        answer = await env.close(trade_id)
        took = asyncio.get_running_loop().time() - began
        assert answer.json()["id"] == trade_id
        assert took > 0.0002 * len(answer.content)
        assert fault_and_status(env) == (Fault.DRIP_AFTER, 201)
        assert env.ledger.applied == {trade_id}


async def test_drip_before_answers_a_read_with_an_html_page_byte_by_byte() -> None:
    faults = Faults(drip_before=1.0, drip=0.0, closes_only=False)
    async with running_sandbox(faults=faults) as env:
        answer = await env.call("GET", "/v2/smart_trades")
        assert answer.status_code == 502
        assert "502 Bad Gateway" in answer.text
        assert fault_and_status(env) == (Fault.DRIP_BEFORE, 502)


async def test_stop_does_not_wait_for_a_dripping_answer() -> None:
    async with running_sandbox(faults=Faults(drip_after=1.0, drip=600.0)) as env:
        closing = asyncio.create_task(env.close(env.sandbox.trade_ids[0]))
        await wait_until(lambda: env.ledger.requests)
        async with asyncio.timeout(5):
            await env.sandbox.stop()
        with pytest.raises(httpx.TransportError):
            await closing


async def test_wrong_id_after_answers_a_close_with_another_trade() -> None:
    async with running_sandbox(faults=Faults(wrong_id_after=1.0, max_per_trade=1)) as env:
        one, two, three = env.sandbox.trade_ids
        answer = await env.close(two)
        first = await env.close(one)
        assert (answer.status_code, answer.json()["id"]) == (201, one)
        assert answer.json()["status"]["type"] == "waiting_targets"
        assert first.json()["id"] == three
        assert fault_and_status(env) == (Fault.WRONG_ID_AFTER, 201)
        assert env.ledger.applied == {one, two}


async def test_wrong_id_before_answers_with_another_trade_and_carries_nothing_out() -> None:
    faults = Faults(wrong_id_before=1.0, max_per_trade=1)
    async with running_sandbox(deals=2, faults=faults) as env:
        trade_id, (one, two) = env.sandbox.trade_ids[0], env.sandbox.deal_ids
        closed = await env.close(trade_id)
        sold = await env.call("POST", f"/ver1/deals/{one}/panic_sell")
        assert (closed.status_code, sold.status_code) == (201, 201)
        assert closed.json()["id"] != trade_id
        assert sold.json()["id"] == two
        assert not env.ledger.applied
        assert env.ledger.count(fault=Fault.WRONG_ID_BEFORE) == 2
        assert env.ledger.count(status=201) == 2


async def test_wrong_id_before_answers_a_read_with_another_trade() -> None:
    faults = Faults(wrong_id_before=1.0, max_per_trade=3, closes_only=False)
    async with running_sandbox(faults=faults) as env:
        one, two, _ = env.sandbox.trade_ids
        shown = await env.get(f"/v2/smart_trades/{two}")
        parts = await env.get(f"/v2/smart_trades/{two}/trades")
        cancelled = await env.call("DELETE", f"/v2/smart_trades/{two}")
        assert shown["id"] == one
        assert parts[0]["id"] == one * 10
        assert (cancelled.status_code, cancelled.json()["id"]) == (200, one)
        assert await status_of(env, two) == "waiting_targets"


async def test_without_another_trade_wrong_id_has_no_effect() -> None:
    faults = Faults(wrong_id_before=0.5, wrong_id_after=0.5, max_per_trade=None, closes_only=False)
    async with running_sandbox(trades=1, deals=1, faults=faults) as env:
        (trade_id,), bot = env.sandbox.trade_ids, f"/ver1/bots/{env.sandbox.bot_id}"
        assert (await env.get(f"/v2/smart_trades/{trade_id}"))["id"] == trade_id
        assert len(await env.get("/v2/smart_trades")) == 1
        assert (await env.close(trade_id)).json()["id"] == trade_id
        sold = await env.call("POST", f"{bot}/panic_sell_all_deals")
        assert sold.json()["id"] == env.sandbox.bot_id
        assert {record.fault for record in env.ledger.requests} == {None}


@pytest.mark.parametrize("fault", [Fault.WRONG_ID_BEFORE, Fault.WRONG_ID_AFTER])
async def test_wrong_id_has_no_effect_on_closing_all_deals_of_the_bot(fault: Fault) -> None:
    faults = Faults(**{fault.value: 1.0})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async with running_sandbox(deals=2, faults=faults) as env:
        sold = await env.call("POST", f"/ver1/bots/{env.sandbox.bot_id}/panic_sell_all_deals")
        assert sold.json()["id"] == env.sandbox.bot_id
        assert fault_and_status(env) == (None, 201)
        assert env.ledger.applied == set(env.sandbox.deal_ids)


async def test_reads_and_lists_lag_behind_the_state() -> None:
    faults = Faults(read_lag=9.0)
    async with running_sandbox(faults=faults, close_delay=(4.0, 4.0), time_scale=2) as env:
        trade_id = env.sandbox.trade_ids[0]
        assert (await env.close(trade_id)).json()["status"]["type"] == "panic_sell_pending"
        seen: list[tuple[str, int]] = []
        for _ in range(7):
            active = await env.get("/v2/smart_trades?status=active")
            seen.append((await status_of(env, trade_id), len(active)))
            env.clock.advance(1.1)  # 2.2 s on the sandbox's clock
        assert seen == [
            *[("waiting_targets", 3)] * 5,
            ("panic_sell_in_progress", 3),
            ("panic_sold", 2),
        ]
        assert env.ledger.trade(trade_id).state == "panic_sold"


async def test_a_read_counts_as_lagging_only_if_the_state_has_changed() -> None:
    async with running_sandbox(faults=Faults(read_lag=9.0), close_delay=(4.0, 4.0)) as env:
        one, two, _ = env.sandbox.trade_ids
        assert await status_of(env, one) == "waiting_targets"
        await env.close(one)
        for trade_id in (one, two):
            await status_of(env, trade_id)
        env.clock.advance(14)
        await status_of(env, one)
        faults = [record.fault for record in env.ledger.requests]
        assert faults == [None, None, Fault.READ_LAG, None, None]
        assert env.ledger.count(fault=Fault.READ_LAG) == 1


async def test_a_lagging_read_of_an_unknown_trade_is_refused() -> None:
    async with running_sandbox(faults=Faults(read_lag=9.0)) as env:
        assert (await env.call("GET", "/v2/smart_trades/1")).status_code == 400


async def test_reads_of_deals_and_bots_lag() -> None:
    faults = Faults(read_lag=5.0)
    async with running_sandbox(deals=2, faults=faults, close_delay=(0.0, 0.0)) as env:
        bot, deal_id = f"/ver1/bots/{env.sandbox.bot_id}", env.sandbox.deal_ids[0]

        async def states() -> tuple[str, int, int]:
            return (
                (await env.get(f"/ver1/deals/{deal_id}/show"))["status"],
                len(await env.get("/ver1/deals?scope=active")),
                (await env.get(f"{bot}/show"))["active_deals_count"],
            )

        env.clock.advance(1)
        sold = await env.call("POST", f"{bot}/panic_sell_all_deals")
        env.clock.advance(1)
        before = await states()
        env.clock.advance(5)
        assert sold.json()["active_deals_count"] == 0  # the answer to a close does not lag
        assert before == ("bought", 2, 2)
        assert await states() == ("panic_sold", 0, 0)


async def test_the_request_id_of_an_answer_is_in_the_ledger() -> None:
    faults = Faults(gateway_timeout_before=0.3, truncated_after=0.1, stale_after=0.1)
    async with running_sandbox(trades=20, faults=faults, rate_limit=None) as env:
        answers = [await env.call("GET", "/nowhere"), await env.call("GET", "/ver1/validate")]
        answers.append(await env.call("GET", "/ver1/validate", headers={"Apikey": "other"}))
        for trade_id in env.sandbox.trade_ids:
            try:
                answers.append(await env.close(trade_id))
            except httpx.RemoteProtocolError:  # a truncated answer
                continue
        known = {record.request_id: record for record in env.ledger.requests}
        assert len(known) == len(env.ledger.requests)
        for answer in answers:
            record = known[answer.headers["X-Request-Id"]]
            assert (record.status, record.path) == (answer.status_code, answer.url.path)


async def test_the_same_seed_gives_the_same_misleading_answers() -> None:
    async def faults_of(seed: int) -> list[Fault | None]:
        rate = 0.15
        faults = Faults(gateway_404_after=rate, drip_before=rate, wrong_id_before=rate, drip=0.0)
        async with running_sandbox(trades=20, seed=seed, faults=faults) as env:
            for trade_id in env.sandbox.trade_ids:
                await env.close(trade_id)
            return [record.fault for record in env.ledger.requests]

    assert await faults_of(7) == await faults_of(7) != await faults_of(8)
