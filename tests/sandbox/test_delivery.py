"""Each fault as a client sees it on a real socket, and what was really carried out."""

import asyncio
import socket
from contextlib import suppress

import httpx
import pytest

from tests.sandbox.harness import PREFIX, Harness, running_sandbox, sign, wait_until
from threecommas_async.sandbox import Fault, Faults, RateLimit


def always(fault: Fault, **settings: float) -> Faults:
    return Faults(**{fault.value: 1.0}, max_per_trade=1, **settings)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def assert_injected(env: Harness, fault: Fault, status: int | None) -> None:
    """Check in the ledger whether the close was carried out as the fault says."""
    (record,) = env.ledger.requests
    trade_id = env.sandbox.trade_ids[0]
    assert (record.fault, record.status) == (fault, status)
    assert (trade_id in env.ledger.applied) == fault.applied
    assert env.ledger.trade(trade_id).applied == fault.applied


@pytest.mark.parametrize("fault", [Fault.RESET_BEFORE, Fault.RESET_AFTER])
async def test_a_reset_sends_rst(fault: Fault) -> None:
    async with running_sandbox(faults=always(fault)) as env:
        path = f"{PREFIX}/v2/smart_trades/{env.sandbox.trade_ids[0]}/close_by_market"
        signature = sign(env.sandbox.secret, path.encode())
        request = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
            f"Apikey: {env.sandbox.api_key}\r\nSignature: {signature}\r\n\r\n"
        )
        port = int(env.sandbox.base_url.removesuffix(PREFIX).rsplit(":", 1)[1])
        loop = asyncio.get_running_loop()
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.settimeout(0)
            await loop.sock_sendall(client, request.encode())
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(client, 1)
        assert_injected(env, fault, None)


@pytest.mark.parametrize("fault", [Fault.SILENCE_BEFORE, Fault.SILENCE_AFTER])
async def test_after_the_silence_the_connection_is_reset(fault: Fault) -> None:
    async with running_sandbox(faults=always(fault, silence=0.02)) as env:
        with pytest.raises(httpx.ReadError):
            await env.close(env.sandbox.trade_ids[0])
        assert_injected(env, fault, None)


async def test_stale_before_closes_the_connection_as_the_request_arrives() -> None:
    async with running_sandbox(faults=always(Fault.STALE_BEFORE)) as env:
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await env.close(env.sandbox.trade_ids[0])
        assert_injected(env, Fault.STALE_BEFORE, None)


async def test_stale_after_closes_the_connection_without_announcing_it() -> None:
    async with running_sandbox(faults=always(Fault.STALE_AFTER)) as env:
        answer = await env.close(env.sandbox.trade_ids[0])
        assert answer.status_code == 201
        assert "Connection" not in answer.headers
        assert answer.json()["status"]["type"] == "panic_sell_pending"
        assert_injected(env, Fault.STALE_AFTER, 201)
        await env.get("/ver1/validate")
        assert len(env.ledger.requests) == 2
        assert env.ledger.peak_connections == 1


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        (Fault.UNAVAILABLE_BEFORE, 503, "503 Service Unavailable"),
        (Fault.UNAVAILABLE_AFTER, 503, "503 Service Unavailable"),
        (Fault.BAD_GATEWAY_BEFORE, 502, "502 Bad Gateway"),
        (Fault.BAD_GATEWAY_AFTER, 502, "502 Bad Gateway"),
    ],
)
async def test_proxy_errors_are_html_pages(fault: Fault, status: int, body: str) -> None:
    async with running_sandbox(faults=always(fault)) as env:
        answer = await env.close(env.sandbox.trade_ids[0])
        assert answer.status_code == status
        assert answer.headers["Content-Type"].startswith("text/html")
        assert body in answer.text
        assert_injected(env, fault, status)


@pytest.mark.parametrize("fault", [Fault.GATEWAY_TIMEOUT_BEFORE, Fault.GATEWAY_TIMEOUT_AFTER])
async def test_a_gateway_timeout_has_an_empty_body(fault: Fault) -> None:
    async with running_sandbox(faults=always(fault)) as env:
        answer = await env.close(env.sandbox.trade_ids[0])
        assert (answer.status_code, answer.content) == (504, b"")
        assert_injected(env, fault, 504)


async def test_a_truncated_answer_is_shorter_than_its_content_length() -> None:
    async with running_sandbox(faults=always(Fault.TRUNCATED_AFTER)) as env:
        with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
            await env.close(env.sandbox.trade_ids[0])
        assert_injected(env, Fault.TRUNCATED_AFTER, 201)


async def test_garbage_has_the_right_status_and_content_type() -> None:
    async with running_sandbox(faults=always(Fault.GARBAGE_AFTER)) as env:
        answer = await env.close(env.sandbox.trade_ids[0])
        assert answer.status_code == 201
        assert answer.headers["Content-Type"].startswith("application/json")
        with pytest.raises(ValueError, match=r"."):
            answer.json()
        assert_injected(env, Fault.GARBAGE_AFTER, 201)


async def test_json_of_the_wrong_type_is_a_string_or_a_list() -> None:
    async with running_sandbox(faults=always(Fault.WRONG_TYPE_AFTER)) as env:
        answers = [await env.close(id_) for id_ in env.sandbox.trade_ids[:2]]
        assert [a.status_code for a in answers] == [201, 201]
        assert [a.json() for a in answers] == ["ok", []]


async def test_a_slow_answer_is_correct() -> None:
    async with running_sandbox(faults=always(Fault.SLOW_AFTER, slow=0.04)) as env:
        closing = asyncio.create_task(env.close(env.sandbox.trade_ids[0]))
        await wait_until(lambda: env.ledger.requests)
        assert_injected(env, Fault.SLOW_AFTER, 201)
        assert not closing.done()
        assert (await closing).json()["status"]["type"] == "panic_sell_pending"


@pytest.mark.parametrize(
    ("fault", "content_type"),
    [
        (Fault.EARLY_429_TEXT, "text/plain"),
        (Fault.EARLY_429_JSON, "application/json"),
        (Fault.EARLY_429_HTML, "text/html"),
    ],
)
async def test_an_early_429_blocks_all_requests_for_its_duration(
    fault: Fault, content_type: str
) -> None:
    limit = RateLimit(retry_after=("text", "json", "html"))
    async with running_sandbox(
        faults=always(fault, block=20.0), rate_limit=limit, time_scale=2
    ) as env:
        answer = await env.close(env.sandbox.trade_ids[0])
        assert answer.status_code == 429
        assert answer.headers["Content-Type"].startswith(content_type)
        assert answer.headers["Retry-After"] == "10"
        assert_injected(env, fault, 429)
        blocked = await env.call("GET", "/ver1/validate")
        env.clock.advance(10)
        free = await env.close(env.sandbox.trade_ids[0])
        assert (blocked.status_code, free.status_code) == (429, 201)


async def test_an_early_429_is_injected_without_a_rate_limit_too() -> None:
    async with running_sandbox(faults=always(Fault.EARLY_429_TEXT), rate_limit=None) as env:
        answers = [await env.close(id_) for id_ in env.sandbox.trade_ids[:2]]
        assert [a.status_code for a in answers] == [429, 429]


async def test_a_plan_refusal_is_json_and_blocks_nothing() -> None:
    async with running_sandbox(faults=always(Fault.PLAN_REFUSAL)) as env:
        answer = await env.close(env.sandbox.trade_ids[0])
        assert answer.status_code == 429
        assert "subscription plan" in answer.json()["error_description"]
        assert "Next request" not in answer.text
        assert_injected(env, Fault.PLAN_REFUSAL, 429)
        assert await env.get("/ver1/validate")


async def test_an_injected_ban_lasts_for_its_duration() -> None:
    async with running_sandbox(faults=always(Fault.BAN, ban_for=120.0)) as env:
        answer = await env.close(env.sandbox.trade_ids[0])
        assert answer.status_code == 418
        assert answer.json()["error"] == "ip_banned"
        assert_injected(env, Fault.BAN, 418)
        env.clock.advance(119)
        assert (await env.call("GET", "/ver1/validate")).status_code == 418
        env.clock.advance(1)
        assert await env.get("/ver1/validate")


async def test_a_refused_close_gets_no_fault_of_the_after_kind() -> None:
    faults = Faults(garbage_after=1.0, max_per_trade=None)
    async with running_sandbox(faults=faults) as env:
        trade_id = env.sandbox.trade_ids[0]
        answers = [await env.close(id_) for id_ in (trade_id, trade_id, 1)]
        assert [a.status_code for a in answers] == [201, 422, 404]
        assert [r.fault for r in env.ledger.requests] == [Fault.GARBAGE_AFTER, None, None]


async def test_reads_get_faults_unless_closes_only() -> None:
    faults = Faults(unavailable_before=1.0, closes_only=False)
    async with running_sandbox(faults=faults) as env:
        answers = [await env.call("GET", "/v2/smart_trades") for _ in range(3)]
        assert [a.status_code for a in answers] == [503] * 3


async def test_closing_all_deals_of_the_bot_is_carried_out_before_a_reset() -> None:
    async with running_sandbox(deals=3, faults=always(Fault.RESET_AFTER)) as env:
        with pytest.raises(httpx.ReadError):
            await env.call("POST", f"/ver1/bots/{env.sandbox.bot_id}/panic_sell_all_deals")
        assert env.ledger.applied == set(env.sandbox.deal_ids)


@pytest.mark.parametrize("fault", [Fault.TRUNCATED_AFTER, Fault.STALE_AFTER, Fault.STALE_BEFORE])
async def test_faults_are_harmless_after_the_client_has_disconnected(
    fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_sandbox(faults=always(fault), latency=(0.1, 0.1)) as env:
        env.shorten_read_timeout()
        with pytest.raises(httpx.ReadTimeout):
            await env.close(env.sandbox.trade_ids[0])
        await asyncio.sleep(0.1)
        assert_injected(env, fault, None if fault is Fault.STALE_BEFORE else 201)
    assert "Error handling request" not in caplog.text


async def is_open(env: Harness, trade_id: int) -> bool:
    """Read a trade until the sandbox answers."""
    while True:
        try:
            trade = await env.get(f"/v2/smart_trades/{trade_id}")
        except httpx.TransportError:
            await asyncio.sleep(0.002)
        else:
            return bool(trade["data"]["panic_sell_available"])


async def close_until_done(env: Harness, trade_id: int) -> None:
    """Close like a careful client: after an unclear result, read before closing again."""
    while await is_open(env, trade_id):
        with suppress(httpx.TransportError):
            await env.close(trade_id)


async def test_a_careful_client_recovers_from_all_mixed_faults() -> None:
    faults = Faults.mixed(0.5, silence=0.01, slow=0.005)
    async with running_sandbox(
        trades=100, rate_limit=None, faults=faults, close_delay=(0.0, 0.0)
    ) as env:
        await asyncio.gather(*(close_until_done(env, id_) for id_ in env.sandbox.trade_ids))
        assert env.ledger.closed == set(env.sandbox.trade_ids)
        assert env.ledger.repeated == []
        assert {r.fault for r in env.ledger.requests if r.fault} > {
            Fault.RESET_BEFORE,
            Fault.RESET_AFTER,
        }


async def test_a_careful_client_recovers_from_a_restart() -> None:
    async with running_sandbox(trades=40, rate_limit=None, latency=(0.002, 0.01)) as env:
        closing = asyncio.gather(*(close_until_done(env, id_) for id_ in env.sandbox.trade_ids))
        await wait_until(lambda: len(env.ledger.applied) >= 10)
        await env.sandbox.restart(downtime=0.02)
        await closing
        assert env.ledger.applied == set(env.sandbox.trade_ids)
        assert env.ledger.repeated == []
