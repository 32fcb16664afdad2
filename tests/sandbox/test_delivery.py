"""Every fault as a caller meets it, on a real socket, and what was really carried out."""

import asyncio
import socket
from contextlib import suppress

import httpx
import pytest

from tests.sandbox.caller import PREFIX, Stage, sign, stage, until
from threecommas_async.sandbox import Fault, Faults, RateLimit


def always(fault: Fault, **settings: float) -> Faults:
    return Faults(**{fault.value: 1.0}, max_per_trade=1, **settings)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def assert_struck(on: Stage, fault: Fault, status: int | None) -> None:
    """Hold the ledger to what the fault promises: done or left undone."""
    (record,) = on.ledger.requests
    trade_id = on.sandbox.trade_ids[0]
    assert (record.fault, record.status) == (fault, status)
    assert (trade_id in on.ledger.applied) == fault.applied
    assert on.ledger.trade(trade_id).applied == fault.applied


@pytest.mark.parametrize("fault", [Fault.RESET_BEFORE, Fault.RESET_AFTER])
async def test_a_reset_is_a_real_one(fault: Fault) -> None:
    async with stage(faults=always(fault)) as on:
        path = f"{PREFIX}/v2/smart_trades/{on.sandbox.trade_ids[0]}/close_by_market"
        signature = sign(on.sandbox.secret, path.encode())
        request = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
            f"Apikey: {on.sandbox.api_key}\r\nSignature: {signature}\r\n\r\n"
        )
        port = int(on.sandbox.base_url.removesuffix(PREFIX).rsplit(":", 1)[1])
        loop = asyncio.get_running_loop()
        with socket.create_connection(("127.0.0.1", port)) as caller:
            caller.settimeout(0)
            await loop.sock_sendall(caller, request.encode())
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(caller, 1)
        assert_struck(on, fault, None)


@pytest.mark.parametrize("fault", [Fault.SILENCE_BEFORE, Fault.SILENCE_AFTER])
async def test_silence_ends_with_the_connection(fault: Fault) -> None:
    async with stage(faults=always(fault, silence=0.02)) as on:
        with pytest.raises(httpx.ReadError):
            await on.close(on.sandbox.trade_ids[0])
        assert_struck(on, fault, None)


async def test_a_stale_connection_is_closed_as_the_request_arrives() -> None:
    async with stage(faults=always(Fault.STALE_BEFORE)) as on:
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await on.close(on.sandbox.trade_ids[0])
        assert_struck(on, Fault.STALE_BEFORE, None)


async def test_a_connection_may_go_stale_after_a_good_answer_that_did_not_say_so() -> None:
    async with stage(faults=always(Fault.STALE_AFTER)) as on:
        answer = await on.close(on.sandbox.trade_ids[0])
        assert answer.status_code == 201
        assert "Connection" not in answer.headers
        assert answer.json()["status"]["type"] == "panic_sell_pending"
        assert_struck(on, Fault.STALE_AFTER, 201)
        await on.get("/ver1/validate")
        assert len(on.ledger.requests) == 2
        assert on.ledger.peak_connections == 1


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        (Fault.UNAVAILABLE_BEFORE, 503, "503 Service Unavailable"),
        (Fault.UNAVAILABLE_AFTER, 503, "503 Service Unavailable"),
        (Fault.BAD_GATEWAY_BEFORE, 502, "502 Bad Gateway"),
        (Fault.BAD_GATEWAY_AFTER, 502, "502 Bad Gateway"),
    ],
)
async def test_a_proxy_answers_with_a_page_of_html(fault: Fault, status: int, body: str) -> None:
    async with stage(faults=always(fault)) as on:
        answer = await on.close(on.sandbox.trade_ids[0])
        assert answer.status_code == status
        assert answer.headers["Content-Type"].startswith("text/html")
        assert body in answer.text
        assert_struck(on, fault, status)


@pytest.mark.parametrize("fault", [Fault.GATEWAY_TIMEOUT_BEFORE, Fault.GATEWAY_TIMEOUT_AFTER])
async def test_a_gateway_timeout_says_nothing_at_all(fault: Fault) -> None:
    async with stage(faults=always(fault)) as on:
        answer = await on.close(on.sandbox.trade_ids[0])
        assert (answer.status_code, answer.content) == (504, b"")
        assert_struck(on, fault, 504)


async def test_a_truncated_answer_promises_more_than_it_holds() -> None:
    async with stage(faults=always(Fault.TRUNCATED_AFTER)) as on:
        with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
            await on.close(on.sandbox.trade_ids[0])
        assert_struck(on, Fault.TRUNCATED_AFTER, 201)


async def test_garbage_comes_with_the_right_status() -> None:
    async with stage(faults=always(Fault.GARBAGE_AFTER)) as on:
        answer = await on.close(on.sandbox.trade_ids[0])
        assert answer.status_code == 201
        assert answer.headers["Content-Type"].startswith("application/json")
        with pytest.raises(ValueError, match=r"."):
            answer.json()
        assert_struck(on, Fault.GARBAGE_AFTER, 201)


async def test_json_of_the_wrong_type_comes_in_two_kinds() -> None:
    async with stage(faults=always(Fault.WRONG_TYPE_AFTER)) as on:
        answers = [await on.close(id_) for id_ in on.sandbox.trade_ids[:2]]
        assert [a.status_code for a in answers] == [201, 201]
        assert [a.json() for a in answers] == ["ok", []]


async def test_a_slow_answer_is_a_good_one() -> None:
    async with stage(faults=always(Fault.SLOW_AFTER, slow=0.04)) as on:
        asked = asyncio.create_task(on.close(on.sandbox.trade_ids[0]))
        await until(lambda: on.ledger.requests)
        assert_struck(on, Fault.SLOW_AFTER, 201)
        assert not asked.done()
        assert (await asked).json()["status"]["type"] == "panic_sell_pending"


@pytest.mark.parametrize(
    ("fault", "content_type"),
    [
        (Fault.EARLY_429_TEXT, "text/plain"),
        (Fault.EARLY_429_JSON, "application/json"),
        (Fault.EARLY_429_HTML, "text/html"),
    ],
)
async def test_an_early_429_blocks_everything_for_its_time(fault: Fault, content_type: str) -> None:
    limit = RateLimit(retry_after=("text", "json", "html"))
    async with stage(faults=always(fault, block=20.0), rate_limit=limit, time_scale=2) as on:
        answer = await on.close(on.sandbox.trade_ids[0])
        assert answer.status_code == 429
        assert answer.headers["Content-Type"].startswith(content_type)
        assert answer.headers["Retry-After"] == "10"
        assert_struck(on, fault, 429)
        blocked = await on.call("GET", "/ver1/validate")
        on.time.pass_by(10)
        free = await on.close(on.sandbox.trade_ids[0])
        assert (blocked.status_code, free.status_code) == (429, 201)


async def test_an_early_429_comes_without_any_limit_too() -> None:
    async with stage(faults=always(Fault.EARLY_429_TEXT), rate_limit=None) as on:
        answers = [await on.close(id_) for id_ in on.sandbox.trade_ids[:2]]
        assert [a.status_code for a in answers] == [429, 429]


async def test_a_plan_refusal_is_json_and_blocks_nothing() -> None:
    async with stage(faults=always(Fault.PLAN_REFUSAL)) as on:
        answer = await on.close(on.sandbox.trade_ids[0])
        assert answer.status_code == 429
        assert "subscription plan" in answer.json()["error_description"]
        assert "Next request" not in answer.text
        assert_struck(on, Fault.PLAN_REFUSAL, 429)
        assert await on.get("/ver1/validate")


async def test_an_injected_ban_holds_for_its_time() -> None:
    async with stage(faults=always(Fault.BAN, ban_for=120.0)) as on:
        answer = await on.close(on.sandbox.trade_ids[0])
        assert answer.status_code == 418
        assert answer.json()["error"] == "ip_banned"
        assert_struck(on, Fault.BAN, 418)
        on.time.pass_by(119)
        assert (await on.call("GET", "/ver1/validate")).status_code == 418
        on.time.pass_by(1)
        assert await on.get("/ver1/validate")


async def test_what_was_not_carried_out_is_not_struck_afterwards() -> None:
    faults = Faults(garbage_after=1.0, max_per_trade=None)
    async with stage(faults=faults) as on:
        trade_id = on.sandbox.trade_ids[0]
        answers = [await on.close(id_) for id_ in (trade_id, trade_id, 1)]
        assert [a.status_code for a in answers] == [201, 422, 404]
        assert [r.fault for r in on.ledger.requests] == [Fault.GARBAGE_AFTER, None, None]


async def test_reads_may_be_hit_as_well() -> None:
    faults = Faults(unavailable_before=1.0, closes_only=False)
    async with stage(faults=faults) as on:
        answers = [await on.call("GET", "/v2/smart_trades") for _ in range(3)]
        assert [a.status_code for a in answers] == [503] * 3


async def test_a_whole_bot_is_closed_and_the_answer_lost() -> None:
    async with stage(deals=3, faults=always(Fault.RESET_AFTER)) as on:
        with pytest.raises(httpx.ReadError):
            await on.call("POST", f"/ver1/bots/{on.sandbox.bot_id}/panic_sell_all_deals")
        assert on.ledger.applied == set(on.sandbox.deal_ids)


@pytest.mark.parametrize("fault", [Fault.TRUNCATED_AFTER, Fault.STALE_AFTER, Fault.STALE_BEFORE])
async def test_faults_find_nothing_to_do_once_the_caller_is_gone(
    fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage(faults=always(fault), latency=(0.1, 0.1)) as on:
        on.be_impatient()
        with pytest.raises(httpx.ReadTimeout):
            await on.close(on.sandbox.trade_ids[0])
        await asyncio.sleep(0.1)
        assert_struck(on, fault, None if fault is Fault.STALE_BEFORE else 201)
    assert "Error handling request" not in caplog.text


async def is_open(on: Stage, trade_id: int) -> bool:
    """Look at a trade until somebody answers."""
    while True:
        try:
            trade = await on.get(f"/v2/smart_trades/{trade_id}")
        except httpx.TransportError:
            await asyncio.sleep(0.002)
        else:
            return bool(trade["data"]["panic_sell_available"])


async def close_for_sure(on: Stage, trade_id: int) -> None:
    """Do what a careful caller does: after anything unclear, look before asking again."""
    while await is_open(on, trade_id):
        with suppress(httpx.TransportError):
            await on.close(trade_id)


async def test_a_careful_caller_gets_through_every_mixed_fault() -> None:
    faults = Faults.mixed(0.5, silence=0.01, slow=0.005)
    async with stage(trades=100, rate_limit=None, faults=faults, close_delay=(0.0, 0.0)) as on:
        await asyncio.gather(*(close_for_sure(on, id_) for id_ in on.sandbox.trade_ids))
        assert on.ledger.closed == set(on.sandbox.trade_ids)
        assert on.ledger.repeated == []
        assert {r.fault for r in on.ledger.requests if r.fault} > {
            Fault.RESET_BEFORE,
            Fault.RESET_AFTER,
        }


async def test_a_careful_caller_gets_through_a_restart_in_the_middle() -> None:
    async with stage(trades=40, rate_limit=None, latency=(0.002, 0.01)) as on:
        closing = asyncio.gather(*(close_for_sure(on, id_) for id_ in on.sandbox.trade_ids))
        await until(lambda: len(on.ledger.applied) >= 10)
        await on.sandbox.restart(downtime=0.02)
        await closing
        assert on.ledger.applied == set(on.sandbox.trade_ids)
        assert on.ledger.repeated == []
