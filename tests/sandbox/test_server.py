"""The sandbox as a whole: who is let in, what is limited, and how it comes and goes."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.sandbox.caller import PREFIX, Stage, stage, until
from threecommas_async.sandbox import Cause, Fault, Faults, RateLimit, Sandbox
from threecommas_async.sandbox.gateway import Access
from threecommas_async.sandbox.signature import hmac_verifier

FORM = "Rate limit exceeded. Next request at %Y-%m-%d %H:%M:%S UTC"


async def test_good_credentials_are_valid() -> None:
    async with stage() as on:
        assert await on.get("/ver1/validate") == {"valid": True}


async def test_an_unknown_key_is_told_so_before_its_signature_is_looked_at() -> None:
    async with stage() as on:
        keys: list[str | bytes] = ["other", "é", b"\xff"]
        answers = [await on.call("GET", "/ver1/validate", headers={"Apikey": key}) for key in keys]
        answers.append(await on.client.get(f"{on.sandbox.base_url}/ver1/validate"))
    assert [a.status_code for a in answers] == [401] * 4
    assert [a.json()["error"] for a in answers] == ["api_key_invalid_or_expired"] * 4


async def test_keys_may_be_chosen() -> None:
    async with stage(api_key="key", secret="secret") as on:
        assert (on.sandbox.api_key, on.sandbox.secret) == ("key", "secret")
        assert await on.get("/ver1/validate") == {"valid": True}


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
    async with stage(permissions=others) as on:
        answer = await on.call(method, path)
        assert await on.get("/ver1/validate")
    assert answer.status_code == 403
    assert answer.json()["error_description"] == f"API key has no permission {permission}"
    assert not on.ledger.applied


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/nothing"),
        ("PUT", "/v2/smart_trades"),
        ("POST", "/v2/smart_trades/1/2/close_by_market"),
        ("GET", "/v2/smart_trades/"),
    ],
)
async def test_an_address_nobody_knows_is_not_found(method: str, path: str) -> None:
    async with stage() as on:
        answer = await on.call(method, path)
    assert answer.status_code == 404
    assert answer.json()["error"] == "not_found"
    assert on.ledger.requests[0].operation == ""


async def test_the_mode_is_real_or_paper() -> None:
    async with stage() as on:
        paper = await on.call("POST", "/ver1/users/change_mode?mode=paper")
        other = await on.call("POST", "/ver1/users/change_mode", content=b"mode=other")
        both = await on.call("POST", "/ver1/users/change_mode?mode=real", headers={})
    assert (paper.status_code, other.status_code, both.status_code) == (201, 400, 201)
    assert paper.json() == {"mode": "paper"}


async def test_over_the_limit_everything_is_refused_until_the_time_that_is_told() -> None:
    limit = RateLimit(requests=3, window=60, penalty=300, bodies=("text",))
    async with stage(rate_limit=limit, time_scale=10) as on:
        for _ in range(3):
            await on.get("/ver1/validate")
        refused = await on.call("GET", "/ver1/validate")
        on.time.pass_by(29.9)
        again = await on.close(on.sandbox.trade_ids[0])
        on.time.pass_by(0.1)
        assert await on.get("/ver1/validate")
    assert refused.status_code == again.status_code == 429
    until = datetime.strptime(refused.text, FORM).replace(tzinfo=UTC)
    assert 29 < (until - datetime.now(UTC)).total_seconds() <= 31
    assert [r.cause for r in on.ledger.breaches] == [Cause.LIMIT, Cause.PENALTY]
    assert not on.ledger.applied


async def test_unauthorised_requests_count_like_any_other() -> None:
    async with stage(rate_limit=RateLimit(requests=2)) as on:
        wrong = {"Signature": "wrong"}
        statuses = [
            (await on.call("GET", "/ver1/validate", headers=wrong)).status_code for _ in range(3)
        ]
    assert statuses == [401, 401, 429]


async def test_the_bodies_of_429_take_turns_and_all_tell_the_time() -> None:
    async with stage(rate_limit=RateLimit(requests=1, penalty=300)) as on:
        await on.get("/ver1/validate")
        text, json, html = [await on.call("GET", "/ver1/validate") for _ in range(3)]
    assert {a.status_code for a in (text, json, html)} == {429}
    for told in (text.text, json.json()["error_description"]):
        assert datetime.strptime(told, FORM).replace(tzinfo=UTC) > datetime.now(UTC)
    assert html.headers["Content-Type"].startswith("text/html")
    assert "429 Too Many Requests" in html.text
    assert html.headers["Retry-After"] == "300"
    assert "Retry-After" not in text.headers
    assert "Retry-After" not in json.headers


async def test_going_on_after_429_brings_418_with_the_end_of_the_ban() -> None:
    async with stage(rate_limit=RateLimit(requests=1, ban_after=2, ban=600)) as on:
        answers = [await on.call("GET", "/ver1/validate") for _ in range(5)]
    assert [a.status_code for a in answers] == [200, 429, 429, 418, 418]
    said = answers[-1].json()["error_description"].removeprefix("IP address banned. ")
    until = datetime.strptime(said, FORM).replace(tzinfo=UTC)
    assert 590 < (until - datetime.now(UTC)).total_seconds() < 610
    assert len(on.ledger.breaches) == 2
    assert [r.cause for r in on.ledger.offences] == [Cause.PENALTY, Cause.BAN, Cause.BAN]


async def test_the_list_of_trades_has_its_own_limit() -> None:
    async with stage() as on:
        answers = [await on.call("GET", "/v2/smart_trades") for _ in range(41)]
        assert [a.status_code for a in answers] == [200] * 40 + [429]
        assert (await on.close(on.sandbox.trade_ids[0])).status_code == 201


async def test_without_limits_nothing_is_refused() -> None:
    async with stage(rate_limit=None) as on:
        answers = [await on.call("GET", "/v2/smart_trades?per_page=1") for _ in range(120)]
    assert {a.status_code for a in answers} == {200}


async def test_no_key_shows_in_any_repr() -> None:
    access = Access(
        api_key="sesame", verify=hmac_verifier("tulip"), permissions=frozenset({"BOTS_READ"})
    )
    async with stage(api_key="sesame", secret="tulip") as on:
        shown = f"{on.sandbox!r} {on.ledger!r} {access!r}"
        assert f"port {on.sandbox.base_url.split(':')[2].removesuffix(PREFIX)}, 3 trades" in shown
    assert "BOTS_READ" in shown
    assert "sesame" not in shown
    assert "tulip" not in shown


async def test_the_clock_of_the_ledger_can_be_read() -> None:
    async with stage(time_scale=10) as on:
        on.time.pass_by(2)
        assert on.sandbox.now == 20


def test_the_address_is_not_known_before_the_start() -> None:
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
def test_settings_that_make_no_sense_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sandbox(**settings)


async def test_a_restart_keeps_port_trades_and_ledger() -> None:
    async with stage() as on:
        url = on.sandbox.base_url
        await on.close(on.sandbox.trade_ids[0])
        await on.sandbox.restart(downtime=0.01)
        assert on.sandbox.base_url == url
        again = await on.close(on.sandbox.trade_ids[0])
    assert again.status_code == 422
    assert on.ledger.repeated == [on.sandbox.trade_ids[0]]


async def test_a_restart_resets_the_connections_that_are_open() -> None:
    async with stage(latency=(20.0, 20.0)) as on:
        asked = asyncio.create_task(on.close(on.sandbox.trade_ids[0]))
        await until(lambda: on.ledger.peak_connections)
        await on.sandbox.restart()
        with pytest.raises(httpx.NetworkError):
            await asked
        assert not on.ledger.requests  # it never arrived
        assert on.ledger.peak_connections == 1


async def test_while_it_is_down_nobody_is_home() -> None:
    async with stage() as on:
        url = on.sandbox.base_url
        await on.sandbox.stop()
        await on.sandbox.stop()  # twice is no mistake
        with pytest.raises(httpx.ConnectError):
            await on.client.get(url)


async def test_a_sandbox_that_runs_is_not_started_again() -> None:
    async with stage() as on:
        with pytest.raises(RuntimeError, match="running"):
            await on.sandbox.start()
        assert await on.get("/ver1/validate")


async def test_a_request_counts_when_it_arrives_not_when_it_is_sent() -> None:
    async with stage(latency=(0.04, 0.04)) as on:
        asked = asyncio.create_task(on.close(on.sandbox.trade_ids[0]))
        await until(lambda: on.ledger.requests)
        assert not asked.done()  # the answer is on its way
        assert (await asked).status_code == 201


async def test_a_caller_who_leaves_in_the_middle_of_a_request_has_sent_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with stage() as on:
        _, port = on.sandbox.base_url.removesuffix(PREFIX).rsplit(":", 1)
        _, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(b"POST /public/api/ver1/validate HTTP/1.1\r\nHost: x\r\n")
        writer.write(b"Content-Length: 9\r\n\r\nhalf")
        await writer.drain()
        await until(lambda: on.ledger.peak_connections)
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.02)
        assert not on.ledger.requests
    assert "Error handling request" not in caplog.text


async def test_a_caller_who_gives_up_does_not_undo_what_was_asked() -> None:
    async with stage(faults=Faults(silence_after=1.0, silence=0.08)) as on:
        trade_id = on.sandbox.trade_ids[0]
        on.be_impatient()
        with pytest.raises(httpx.ReadTimeout):
            await on.close(trade_id)
        await asyncio.sleep(0.1)  # the silence ends with nobody left to hang up on
        assert on.ledger.applied == {trade_id}


async def test_stopping_does_not_wait_for_a_silence_nobody_listens_to() -> None:
    async with stage(faults=Faults(silence_before=1.0, silence=600)) as on:
        on.be_impatient()
        with pytest.raises(httpx.ReadTimeout):
            await on.close(on.sandbox.trade_ids[0])
        async with asyncio.timeout(5):
            await on.sandbox.stop()


async def many(on: Stage, count: int) -> None:
    await asyncio.gather(*(on.call("GET", "/ver1/validate") for _ in range(count)))


async def test_the_ledger_knows_the_most_connections_there_were() -> None:
    async with stage(latency=(0.02, 0.02)) as on:
        await many(on, 4)
        await many(on, 2)
        assert on.ledger.peak_connections == 4


async def test_faults_and_limits_are_told_apart_in_the_ledger() -> None:
    faults = Faults(early_429_text=1.0, max_per_trade=1, block=5.0)
    async with stage(faults=faults) as on:
        first, second = on.sandbox.trade_ids[:2]
        await on.close(first)
        await on.close(second)
        on.time.pass_by(5)
        await on.close(first)
    assert [r.status for r in on.ledger.requests] == [429, 429, 201]
    assert [r.fault for r in on.ledger.requests] == [Fault.EARLY_429_TEXT, None, None]
    assert [r.cause for r in on.ledger.requests] == [None, Cause.BLOCK, None]
    assert on.ledger.breaches == []
    assert len(on.ledger.offences) == 1
