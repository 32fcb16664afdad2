"""The sandbox as a whole: authorization, limits, start, stop and restart."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.sandbox.harness import PREFIX, Harness, running_sandbox, wait_until
from threecommas_async.sandbox import Cause, Fault, Faults, RateLimit, Sandbox
from threecommas_async.sandbox.gateway import Access
from threecommas_async.sandbox.signature import hmac_verifier

FORM = "Rate limit exceeded. Next request at %Y-%m-%d %H:%M:%S UTC"


async def test_good_credentials_are_valid() -> None:
    async with running_sandbox() as env:
        assert await env.get("/ver1/validate") == {"valid": True}


async def test_an_unknown_key_is_refused_before_its_signature_is_checked() -> None:
    async with running_sandbox() as env:
        keys: list[str | bytes] = ["other", "é", b"\xff"]
        answers = [await env.call("GET", "/ver1/validate", headers={"Apikey": key}) for key in keys]
        answers.append(await env.client.get(f"{env.sandbox.base_url}/ver1/validate"))
    assert [a.status_code for a in answers] == [401] * 4
    assert [a.json()["error"] for a in answers] == ["api_key_invalid_or_expired"] * 4


async def test_key_and_secret_can_be_set() -> None:
    async with running_sandbox(api_key="key", secret="secret") as env:
        assert (env.sandbox.api_key, env.sandbox.secret) == ("key", "secret")
        assert await env.get("/ver1/validate") == {"valid": True}


@pytest.mark.parametrize(
    ("method", "path", "permission"),
    [
        ("GET", "/v2/smart_trades", "SMART_TRADES_READ"),
        ("POST", "/v2/smart_trades/41000001/close_by_market", "SMART_TRADES_WRITE"),
        ("GET", "/ver1/deals", "BOTS_READ"),
        ("POST", "/ver1/bots/7001/panic_sell_all_deals", "BOTS_WRITE"),
    ],
)
async def test_a_missing_permission_is_named(method: str, path: str, permission: str) -> None:
    others = {"SMART_TRADES_READ", "SMART_TRADES_WRITE", "BOTS_READ", "BOTS_WRITE"} - {permission}
    async with running_sandbox(permissions=others) as env:
        answer = await env.call(method, path)
        assert await env.get("/ver1/validate")
    assert answer.status_code == 403
    assert answer.json()["error_description"] == f"API key has no permission {permission}"
    assert not env.ledger.applied


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/nothing"),
        ("PUT", "/v2/smart_trades"),
        ("POST", "/v2/smart_trades/1/2/close_by_market"),
        ("GET", "/v2/smart_trades/"),
    ],
)
async def test_an_unknown_path_is_not_found(method: str, path: str) -> None:
    async with running_sandbox() as env:
        answer = await env.call(method, path)
    assert answer.status_code == 404
    assert answer.json()["error"] == "not_found"
    assert env.ledger.requests[0].operation == ""


async def test_the_mode_must_be_real_or_paper() -> None:
    async with running_sandbox() as env:
        paper = await env.call("POST", "/ver1/users/change_mode?mode=paper")
        other = await env.call("POST", "/ver1/users/change_mode", content=b"mode=other")
        both = await env.call("POST", "/ver1/users/change_mode?mode=real", headers={})
    assert (paper.status_code, other.status_code, both.status_code) == (201, 400, 201)
    assert paper.json() == {"mode": "paper"}


async def test_above_the_limit_requests_are_refused_until_the_announced_time() -> None:
    limit = RateLimit(requests=3, window=60, penalty=300, bodies=("text",))
    async with running_sandbox(rate_limit=limit, time_scale=10) as env:
        for _ in range(3):
            await env.get("/ver1/validate")
        refused = await env.call("GET", "/ver1/validate")
        env.clock.advance(29.9)
        again = await env.close(env.sandbox.trade_ids[0])
        env.clock.advance(0.1)
        assert await env.get("/ver1/validate")
    assert refused.status_code == again.status_code == 429
    until = datetime.strptime(refused.text, FORM).replace(tzinfo=UTC)
    assert 29 < (until - datetime.now(UTC)).total_seconds() <= 31
    assert [r.cause for r in env.ledger.breaches] == [Cause.LIMIT, Cause.PENALTY]
    assert not env.ledger.applied


async def test_unauthorized_requests_count_against_the_limit() -> None:
    async with running_sandbox(rate_limit=RateLimit(requests=2)) as env:
        wrong = {"Signature": "wrong"}
        statuses = [
            (await env.call("GET", "/ver1/validate", headers=wrong)).status_code for _ in range(3)
        ]
    assert statuses == [401, 401, 429]


async def test_the_429_bodies_alternate_and_all_announce_the_end() -> None:
    async with running_sandbox(rate_limit=RateLimit(requests=1, penalty=300)) as env:
        await env.get("/ver1/validate")
        text, json, html = [await env.call("GET", "/ver1/validate") for _ in range(3)]
    assert {a.status_code for a in (text, json, html)} == {429}
    for message in (text.text, json.json()["error_description"]):
        assert datetime.strptime(message, FORM).replace(tzinfo=UTC) > datetime.now(UTC)
    assert html.headers["Content-Type"].startswith("text/html")
    assert "429 Too Many Requests" in html.text
    assert html.headers["Retry-After"] == "300"
    assert "Retry-After" not in text.headers
    assert "Retry-After" not in json.headers


async def test_repeated_requests_after_429_get_418_with_the_end_of_the_ban() -> None:
    async with running_sandbox(rate_limit=RateLimit(requests=1, ban_after=2, ban=600)) as env:
        answers = [await env.call("GET", "/ver1/validate") for _ in range(5)]
    assert [a.status_code for a in answers] == [200, 429, 429, 418, 418]
    description = answers[-1].json()["error_description"].removeprefix("IP address banned. ")
    until = datetime.strptime(description, FORM).replace(tzinfo=UTC)
    assert 590 < (until - datetime.now(UTC)).total_seconds() < 610
    assert len(env.ledger.breaches) == 2
    assert [r.cause for r in env.ledger.offences] == [Cause.PENALTY, Cause.BAN, Cause.BAN]


async def test_the_list_of_trades_has_its_own_limit() -> None:
    async with running_sandbox() as env:
        answers = [await env.call("GET", "/v2/smart_trades") for _ in range(41)]
        assert [a.status_code for a in answers] == [200] * 40 + [429]
        assert (await env.close(env.sandbox.trade_ids[0])).status_code == 201


async def test_without_limits_nothing_is_refused() -> None:
    async with running_sandbox(rate_limit=None) as env:
        answers = [await env.call("GET", "/v2/smart_trades?per_page=1") for _ in range(120)]
    assert {a.status_code for a in answers} == {200}


async def test_no_repr_shows_a_key() -> None:
    access = Access(
        api_key="sesame", verify=hmac_verifier("tulip"), permissions=frozenset({"BOTS_READ"})
    )
    async with running_sandbox(api_key="sesame", secret="tulip") as env:
        shown = f"{env.sandbox!r} {env.ledger!r} {access!r}"
        assert f"port {env.sandbox.base_url.split(':')[2].removesuffix(PREFIX)}, 3 trades" in shown
    assert "BOTS_READ" in shown
    assert "sesame" not in shown
    assert "tulip" not in shown


async def test_now_is_the_time_on_the_clock_of_the_ledger() -> None:
    async with running_sandbox(time_scale=10) as env:
        env.clock.advance(2)
        assert env.sandbox.now == 20


def test_the_base_url_is_unknown_before_the_start() -> None:
    sandbox = Sandbox(trades=1)
    assert "not started" in repr(sandbox)
    with pytest.raises(RuntimeError, match="started"):
        _ = sandbox.base_url
    assert Sandbox(host="::1", port=81).base_url == f"http://[::1]:81{PREFIX}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"secret": "a", "public_key": "b"}, "either"),
        ({"trades": 1, "failing": 2}, "fail"),
        ({"trades": -1}, "trades"),
        ({"time_scale": 0}, "time_scale"),
    ],
)
def test_invalid_settings_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sandbox(**settings)


async def test_a_restart_keeps_port_trades_and_ledger() -> None:
    async with running_sandbox() as env:
        url = env.sandbox.base_url
        await env.close(env.sandbox.trade_ids[0])
        await env.sandbox.restart(downtime=0.01)
        assert env.sandbox.base_url == url
        again = await env.close(env.sandbox.trade_ids[0])
    assert again.status_code == 422
    assert env.ledger.repeated == [env.sandbox.trade_ids[0]]


async def test_a_restart_resets_open_connections() -> None:
    async with running_sandbox(latency=(20.0, 20.0)) as env:
        closing = asyncio.create_task(env.close(env.sandbox.trade_ids[0]))
        await wait_until(lambda: env.ledger.peak_connections)
        await env.sandbox.restart()
        with pytest.raises(httpx.NetworkError):
            await closing
        assert not env.ledger.requests  # the request had not arrived
        assert env.ledger.peak_connections == 1


async def test_a_stopped_sandbox_refuses_connections() -> None:
    async with running_sandbox() as env:
        url = env.sandbox.base_url
        await env.sandbox.stop()
        await env.sandbox.stop()  # stopping twice is allowed
        with pytest.raises(httpx.ConnectError):
            await env.client.get(url)


async def test_a_running_sandbox_cannot_be_started() -> None:
    async with running_sandbox() as env:
        with pytest.raises(RuntimeError, match="running"):
            await env.sandbox.start()
        assert await env.get("/ver1/validate")


async def test_a_request_counts_when_it_arrives_not_when_it_is_sent() -> None:
    async with running_sandbox(latency=(0.04, 0.04)) as env:
        closing = asyncio.create_task(env.close(env.sandbox.trade_ids[0]))
        await wait_until(lambda: env.ledger.requests)
        assert not closing.done()  # the answer has not arrived
        assert (await closing).status_code == 201


async def test_an_incomplete_request_is_not_recorded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running_sandbox() as env:
        _, port = env.sandbox.base_url.removesuffix(PREFIX).rsplit(":", 1)
        _, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(b"POST /public/api/ver1/validate HTTP/1.1\r\nHost: x\r\n")
        writer.write(b"Content-Length: 9\r\n\r\nhalf")
        await writer.drain()
        await wait_until(lambda: env.ledger.peak_connections)
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.02)
        assert not env.ledger.requests
    assert "Error handling request" not in caplog.text


async def test_a_client_timeout_does_not_undo_a_close() -> None:
    async with running_sandbox(faults=Faults(silence_after=1.0, silence=0.08)) as env:
        trade_id = env.sandbox.trade_ids[0]
        env.shorten_read_timeout()
        with pytest.raises(httpx.ReadTimeout):
            await env.close(trade_id)
        await asyncio.sleep(0.1)  # the silence ends after the client has disconnected
        assert env.ledger.applied == {trade_id}


async def test_stop_does_not_wait_for_the_end_of_a_silence() -> None:
    async with running_sandbox(faults=Faults(silence_before=1.0, silence=600)) as env:
        env.shorten_read_timeout()
        with pytest.raises(httpx.ReadTimeout):
            await env.close(env.sandbox.trade_ids[0])
        async with asyncio.timeout(5):
            await env.sandbox.stop()


async def many(env: Harness, count: int) -> None:
    await asyncio.gather(*(env.call("GET", "/ver1/validate") for _ in range(count)))


async def test_the_ledger_records_the_peak_of_open_connections() -> None:
    async with running_sandbox(latency=(0.02, 0.02)) as env:
        await many(env, 4)
        await many(env, 2)
        assert env.ledger.peak_connections == 4


async def test_the_ledger_distinguishes_faults_from_limits() -> None:
    faults = Faults(early_429_text=1.0, max_per_trade=1, block=5.0)
    async with running_sandbox(faults=faults) as env:
        first, second = env.sandbox.trade_ids[:2]
        await env.close(first)
        await env.close(second)
        env.clock.advance(5)
        await env.close(first)
    assert [r.status for r in env.ledger.requests] == [429, 429, 201]
    assert [r.fault for r in env.ledger.requests] == [Fault.EARLY_429_TEXT, None, None]
    assert [r.cause for r in env.ledger.requests] == [None, Cause.BLOCK, None]
    assert env.ledger.breaches == []
    assert len(env.ledger.offences) == 1
