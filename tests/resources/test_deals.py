"""Deals: the model, and closing them with the same methods as smart trades."""

import asyncio
import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import client_of
from threecommas_async import (
    AsyncClient,
    AuthenticationError,
    CloseFailedError,
    CloseState,
    InvalidRequestError,
    OutcomeUnknownError,
    RequestNotSentError,
    RetryPolicy,
    SlidingWindowLimiter,
)
from threecommas_async.closing.phase import Phase, deal_is_closable, deal_phase
from threecommas_async.converter import decode, structure, to_json
from threecommas_async.models.deal import Deal
from threecommas_async.sandbox import Sandbox

EXAMPLE = (Path(__file__).parents[1] / "data" / "deal.json").read_bytes()


def deal(**fields: object) -> Deal:
    return structure({"id": 1, "status": "bought", **fields}, Deal)


def test_documented_deal_is_parsed_field_by_field() -> None:
    parsed = decode(EXAMPLE, Deal)
    assert parsed.id == 3_000_000_001
    assert (parsed.finished, parsed.cancellable, parsed.panic_sellable) == (False, True, True)
    assert parsed.bought_volume == Decimal("150.15")
    assert parsed.take_profit_steps[0].profit_percentage == Decimal("1.5")
    assert parsed.buy_steps[0].price == Decimal("147.9")
    assert parsed.created_at == datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
    raw: dict[str, Any] = json.loads(EXAMPLE)
    plain = to_json(parsed)
    assert isinstance(plain, dict)
    known = {name.rstrip("?") for name in raw} & plain.keys()
    # Undocumented or display-only: not in the class, still in the raw answer.
    left = {name.rstrip("?") for name in raw} - known
    assert left == {
        "close_strategy_list",
        "crypto_widget",
        "last_known_position_info",
        "safety_strategy_list",
        "sl_to_breakeven_data",
    }
    assert all(plain[name] is not None for name in known if raw.get(name) is not None)


@pytest.mark.parametrize(
    ("status", "sellable", "phase", "closable"),
    [
        ("bought", True, Phase.OPEN, True),
        ("bought", None, Phase.OPEN, True),
        ("bought", False, Phase.OPEN, False),
        ("ttp_order_placed", True, Phase.OPEN, True),
        ("close_strategy_activated", True, Phase.OPEN, True),
        ("base_order_placed", True, Phase.NOT_ENTERED, False),
        ("panic_sell_pending", False, Phase.CLOSING, False),
        ("cancel_pending", False, Phase.CLOSING, False),
        ("panic_sold", False, Phase.CLOSED, False),
        ("completed", False, Phase.CLOSED, False),
        ("failed", False, Phase.FAILED, False),
        ("brand_new", True, Phase.OPEN, True),
        ("brand_new", None, Phase.UNCLEAR, False),
        ("quantum_sold", None, Phase.UNCLEAR, False),
    ],
)
def test_deal_status_decides_its_phase_and_whether_it_is_closable(
    status: str, *, sellable: bool | None, phase: Phase, closable: bool
) -> None:
    it = deal(status=status, **{"panic_sellable?": sellable})
    assert (deal_phase(it), deal_is_closable(it)) == (phase, closable)


def client(sandbox: Sandbox) -> Any:
    return AsyncClient(
        sandbox.api_key,
        secret=sandbox.secret,
        base_url=sandbox.base_url,
        retry=RetryPolicy(backoff=0.01),
    )


async def test_single_deal_is_closed_and_confirmed() -> None:
    async with Sandbox(trades=0, deals=3, time_scale=20) as sandbox, client(sandbox) as bot:
        first, second, _ = sandbox.deal_ids
        closing = await bot.deals.close_by_market(first)
        assert closing.status == "panic_sell_pending"
        assert (await bot.deals.wait_until_closed([first], timeout=20)).counts == {
            CloseState.CLOSED: 1
        }
        assert (await bot.deals.get(second)).status == "bought"
        assert sandbox.ledger.applied == {first}


async def test_failed_deal_raises_close_failed_with_the_servers_reason() -> None:
    async def failed(_: httpx.Request) -> httpx.Response:
        body = {"id": 1, "status": "failed", "error_message": "Insufficient balance"}
        return httpx.Response(201, json=body)

    async with client_of(failed) as bot:
        with pytest.raises(CloseFailedError, match="Insufficient balance"):
            await bot.deals.close_by_market(1)


async def test_deals_close_many_confirms_each_deal() -> None:
    async with Sandbox(trades=0, deals=20, time_scale=20) as sandbox, client(sandbox) as bot:
        report = await bot.deals.close_many([*sandbox.deal_ids, 12], confirm=True)
        assert report.counts == {CloseState.CLOSED: 20, CloseState.NOT_FOUND: 1}
        assert report[sandbox.deal_ids[0]].trade.pair


async def test_deals_close_all_dry_run_lists_and_close_all_closes_the_account() -> None:
    async with Sandbox(trades=0, deals=12, time_scale=20) as sandbox, client(sandbox) as bot:
        plan = await bot.deals.close_all(dry_run=True)
        assert len(plan) == 12
        assert sandbox.ledger.applied == set()
        account_id = plan.outcomes[0].trade.account_id
        report = await bot.deals.close_all(account_id=account_id)
        assert report.ok
        assert sandbox.ledger.applied == {outcome.trade_id for outcome in report}
        assert sandbox.ledger.count(operation="panic_sell_deal") == len(report)


async def test_all_deals_of_a_bot_are_closed_with_one_request_and_one_outcome_each() -> None:
    async with Sandbox(trades=0, deals=150, time_scale=20) as sandbox, client(sandbox) as bot:
        report = await bot.deals.close_all(bot_id=sandbox.bot_id)
        assert (len(report), report.ok) == (150, True)
        assert sandbox.ledger.applied == set(sandbox.deal_ids)
        assert sandbox.ledger.count(operation="panic_sell_deal") == 0
        assert len(sandbox.ledger.requests) <= 10


DEALS = {1: "bought", 2: "bought"}


def bot_api(bot_answer: httpx.Response | Exception, log: list[str]) -> Any:
    """Return a handler for two deals of a bot whose bot-level close is answered like this."""
    status = dict(DEALS)

    async def handler(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/public/api/ver1/")
        log.append(f"{request.method} {path}")
        if path.startswith("bots/"):
            if isinstance(bot_answer, Exception):
                raise bot_answer
            if bot_answer.status_code == 504:
                status.update({1: "panic_sell_pending"})
            return bot_answer
        if path == "deals":
            ids = [] if int(request.url.params["offset"]) else list(status)
            return httpx.Response(200, json=[row(i) for i in ids])
        deal_id = int(path.split("/")[1])
        if path.endswith("/panic_sell"):
            status[deal_id] = "panic_sell_pending"
        return httpx.Response(200, json=row(deal_id))

    def row(deal_id: int) -> dict[str, object]:
        is_open = status[deal_id] == "bought"
        code = status[deal_id]
        return {"id": deal_id, "bot_id": 9, "status": code, "panic_sellable?": is_open}

    return handler


@pytest.mark.looptime
async def test_reads_that_lag_after_an_accepted_bot_close_cause_no_second_close() -> None:
    accepted_at, posted = math.inf, list[str]()

    async def handler(request: httpx.Request) -> httpx.Response:
        nonlocal accepted_at
        now = asyncio.get_running_loop().time()
        path = request.url.path.removeprefix("/public/api/ver1/")
        if request.method == "POST":
            posted.append(path)
            accepted_at = now
            return httpx.Response(200, json={"id": 9})
        rows = [{"id": i, "bot_id": 9, "status": "bought"} for i in DEALS]
        if now > accepted_at + 10:
            rows = [{**row, "status": "panic_sell_pending"} for row in rows]
        if path == "deals":
            return httpx.Response(200, json=[] if int(request.url.params["offset"]) else rows)
        return httpx.Response(200, json=rows[list(DEALS).index(int(path.split("/")[1]))])

    async with client_of(handler) as bot:
        report = await bot.deals.close_all(bot_id=9)
    assert report.counts == {CloseState.ACCEPTED: 2}
    assert posted == ["bots/9/panic_sell_all_deals"]


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("answer", "closed_singly"),
    [
        (httpx.Response(404, json={"error": "not_found"}), [1, 2]),
        (httpx.Response(504), [2]),
        (httpx.ReadTimeout("slow"), [1, 2]),
        (httpx.Response(200, json={"id": 9}), [1, 2]),
    ],
    ids=["refused", "half done", "lost", "said to be done, yet open"],
)
async def test_deals_left_open_by_a_bot_close_are_closed_singly_after_a_read(
    answer: httpx.Response | Exception, closed_singly: list[int]
) -> None:
    log: list[str] = []
    async with client_of(bot_api(answer, log)) as bot:
        report = await bot.deals.close_all(bot_id=9)
    assert report.ok
    assert log.count("POST bots/9/panic_sell_all_deals") == 1
    singly = [line for line in log if line.endswith("/panic_sell")]
    assert sorted(singly) == [f"POST deals/{i}/panic_sell" for i in closed_singly]


@pytest.mark.looptime
async def test_bot_close_with_a_refused_key_stops_everything() -> None:
    log: list[str] = []
    refusal = httpx.Response(401, json={"error": "signature_invalid"})
    async with client_of(bot_api(refusal, log)) as bot:
        report = await bot.deals.close_all(bot_id=9)
    assert report.counts == {CloseState.NOT_SENT: 2}
    assert isinstance(report[1].error, AuthenticationError)
    assert [line for line in log if line.startswith("POST")] == ["POST bots/9/panic_sell_all_deals"]


@pytest.mark.looptime
async def test_bot_close_that_outlasts_the_deadline_leaves_its_deals_unknown() -> None:
    log: list[str] = []
    answer = bot_api(httpx.Response(200, json={}), log)

    async def slow(request: httpx.Request) -> Any:
        if "bots" in request.url.path:
            await asyncio.sleep(60)
        return await answer(request)

    async with client_of(slow) as bot:
        report = await bot.deals.close_all(bot_id=9, deadline=5)
    assert report.counts == {CloseState.UNKNOWN: 2}


@pytest.mark.looptime
async def test_bot_close_without_a_slot_reports_its_deals_not_sent() -> None:
    log: list[str] = []
    limiter = SlidingWindowLimiter(limit=2, reserve=0)
    async with client_of(bot_api(httpx.Response(200, json={}), log), limiter=limiter) as bot:
        report = await bot.deals.close_all(bot_id=9, deadline=5)
        assert report.counts == {CloseState.NOT_SENT: 2}
        await asyncio.sleep(60)
        await bot.deals.close_by_market(1)
    assert [line for line in log if line.startswith("POST")] == ["POST deals/1/panic_sell"]
    assert "GET deals/1/show" not in log


@pytest.mark.looptime
async def test_refused_key_leaves_a_deal_unknown_that_an_earlier_close_left_unknown() -> None:
    log: list[str] = []
    seen: list[int] = []
    refusal = httpx.Response(401, json={"error": "signature_invalid"})
    answer = bot_api(refusal, log)

    async def lost(request: httpx.Request) -> httpx.Response:
        response: httpx.Response = await answer(request)
        if request.url.path.endswith("/1/panic_sell"):
            raise httpx.ReadTimeout("")
        if request.url.path.endswith("/2/panic_sell"):
            return refusal
        if request.url.path.endswith("/show"):
            raise httpx.ReadTimeout("")
        if request.url.path.endswith("/deals"):  # reads lag: both still show open
            rows = [{"id": i, "bot_id": 9, "status": "bought"} for i in (1, 2)]
            return httpx.Response(200, json=rows if request.url.params["offset"] == "0" else [])
        return response

    async with client_of(lost) as bot:
        with pytest.raises(OutcomeUnknownError):
            await bot.deals.close_by_market(1)
        report = await bot.deals.close_all(bot_id=9, on_outcome=lambda o: seen.append(o.trade_id))
    assert {o.trade_id: o.state for o in report} == {1: CloseState.UNKNOWN, 2: CloseState.NOT_SENT}
    assert sorted(seen) == [1, 2]


@pytest.mark.looptime
async def test_refused_bot_close_does_not_settle_a_close_of_another_call() -> None:
    log: list[str] = []
    answer = bot_api(httpx.Response(403, json={"error": "Forbidden"}), log)

    async def slow(request: httpx.Request) -> Any:
        response = await answer(request)
        if request.url.path.endswith("/panic_sell"):
            await asyncio.sleep(20)
        return response

    async with client_of(slow) as bot:
        closing = asyncio.create_task(bot.deals.close_by_market(1))
        await asyncio.sleep(0.1)
        everything = asyncio.ensure_future(bot.deals.close_all(bot_id=9))
        await asyncio.sleep(0.1)
        closing.cancel()
        everything.cancel()
        await asyncio.wait({closing, everything})
        await bot.deals.close_by_market(1)
    assert log.count("POST deals/1/panic_sell") == 1


@pytest.mark.looptime
async def test_refused_close_does_not_settle_an_unanswered_bot_close() -> None:
    log: list[str] = []
    answer = bot_api(httpx.Response(200, json={}), log)

    async def slow(request: httpx.Request) -> Any:
        if request.url.path.endswith("/panic_sell_all_deals"):
            log.append("POST the bot")
            await asyncio.sleep(20)
        if request.url.path.endswith("/panic_sell"):
            log.append("POST a deal")
            return httpx.Response(422, json={"error": "record_invalid"})
        return await answer(request)

    async with client_of(slow) as bot:
        everything = asyncio.ensure_future(bot.deals.close_all(bot_id=9))
        await asyncio.sleep(0.1)
        refused = asyncio.create_task(bot.deals.close_by_market(1))
        await asyncio.sleep(0.1)
        everything.cancel()
        await asyncio.wait({everything, refused})
        log.clear()
        with pytest.raises(OutcomeUnknownError):
            await bot.deals.close_by_market(1)
    assert next(line for line in log if "1" in line or "a deal" in line) == "GET deals/1/show"


class SlowBot:
    """A bot with two deals whose closes take a second, and that closes whatever is open."""

    def __init__(self, *, lag: float = 0.0, bot_answer: httpx.Response | None = None) -> None:
        self.lag = lag
        self.refuse_connections = 0
        self.lose_answers = False
        self.seconds: dict[int, float] = {}
        self.bot_answer = bot_answer
        self.posted: list[str] = []
        self.closed_at: dict[int, float] = {}
        self.closed_twice: list[int] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/public/api/ver1/")
        if request.method == "POST":
            if self.refuse_connections:
                self.refuse_connections -= 1
                raise httpx.ConnectError("refused")
            self.posted.append(path)
            await asyncio.sleep(1)
            if path.startswith("bots/"):
                for deal_id in DEALS.keys() - self.closed_at.keys():
                    self.close(deal_id)
                return self.bot_answer or httpx.Response(201, json={"id": 9})
            deal_id = int(path.split("/")[1])
            await asyncio.sleep(self.seconds.get(deal_id, 0.0))
            if self.lose_answers:
                raise httpx.ReadError("reset")
            self.close(deal_id)
            return httpx.Response(201, json={**self.row(deal_id), "status": "panic_sell_pending"})
        if path == "deals":
            rows = [self.row(deal_id) for deal_id in DEALS]
            return httpx.Response(200, json=[] if int(request.url.params["offset"]) else rows)
        if self.lose_answers:
            raise httpx.ReadError("reset")
        return httpx.Response(200, json=self.row(int(path.split("/")[1])))

    def close(self, deal_id: int) -> None:
        if deal_id in self.closed_at:
            self.closed_twice.append(deal_id)
        self.closed_at.setdefault(deal_id, asyncio.get_running_loop().time())

    def row(self, deal_id: int) -> dict[str, object]:
        seen = asyncio.get_running_loop().time() - self.lag
        is_closing = self.closed_at.get(deal_id, math.inf) <= seen
        status = "panic_sell_pending" if is_closing else "bought"
        return {"id": deal_id, "bot_id": 9, "status": status}


@pytest.mark.looptime
async def test_bot_close_waits_for_a_single_close_under_way() -> None:
    api = SlowBot()
    async with client_of(api) as bot:
        single = asyncio.create_task(bot.deals.close_by_market(1))
        await asyncio.sleep(0.3)
        report = await bot.deals.close_all(bot_id=9)
        await single
    assert report.ok
    assert api.closed_twice == []
    assert api.posted == ["deals/1/panic_sell", "bots/9/panic_sell_all_deals"]


@pytest.mark.looptime
async def test_bot_close_waits_for_a_single_close_that_has_not_been_sent_yet() -> None:
    api = SlowBot()
    api.refuse_connections = 1
    async with client_of(api) as bot:
        single = asyncio.create_task(bot.deals.close_by_market(1))
        await asyncio.sleep(0.1)
        report = await bot.deals.close_all(bot_id=9)
        await single
    assert report.ok
    assert api.posted == ["deals/1/panic_sell", "deals/2/panic_sell"]


@pytest.mark.looptime
async def test_bot_close_is_not_sent_after_a_single_close_that_became_unknown_meanwhile() -> None:
    api = SlowBot()
    api.refuse_connections, api.lose_answers = 1, True
    async with client_of(api, retry=RetryPolicy(attempts=2)) as bot:
        single = asyncio.create_task(bot.deals.close_by_market(1))
        await asyncio.sleep(0.1)
        everything = asyncio.ensure_future(bot.deals.close_all(bot_id=9))
        await asyncio.wait({single})
        api.lose_answers = False
        assert (await everything).ok
    assert isinstance(single.exception(), OutcomeUnknownError)
    assert not any(path.startswith("bots/") for path in api.posted)
    assert api.closed_twice == []


@pytest.mark.looptime
async def test_bot_close_lists_again_after_it_has_waited_for_a_single_close() -> None:
    api = SlowBot()
    api.seconds[1] = 40.0
    async with client_of(api, timeout=60.0) as bot:
        slow = asyncio.create_task(bot.deals.close_by_market(1))
        await asyncio.sleep(0.1)
        everything = asyncio.ensure_future(bot.deals.close_all(bot_id=9))
        await asyncio.sleep(1)
        await bot.deals.close_by_market(2)
        assert (await everything).ok
        await slow
    assert sorted(api.posted) == ["deals/1/panic_sell", "deals/2/panic_sell"]


@pytest.mark.looptime
async def test_bot_whose_deals_were_all_closed_a_moment_ago_is_not_closed_again() -> None:
    api = SlowBot(lag=10.0)
    async with client_of(api) as bot:
        assert (await bot.deals.close_many([1, 2])).ok
        report = await bot.deals.close_all(bot_id=9)
    assert report.counts == {CloseState.ALREADY_CLOSED: 2}
    assert sorted(api.posted) == ["deals/1/panic_sell", "deals/2/panic_sell"]


@pytest.mark.looptime
async def test_bot_close_that_waited_long_for_its_turn_is_not_sent() -> None:
    api = SlowBot()
    api.refuse_connections = 1
    api.seconds[1] = 40.0
    async with client_of(api, timeout=60.0) as bot:
        slow = asyncio.create_task(bot.deals.close_by_market(1))
        await asyncio.sleep(0.1)  # not sent yet: nothing is in doubt
        everything = asyncio.ensure_future(bot.deals.close_all(bot_id=9))
        await asyncio.sleep(1)
        await bot.deals.close_by_market(2)
        assert (await everything).ok
        await slow
    assert sorted(api.posted) == ["deals/1/panic_sell", "deals/2/panic_sell"]


@pytest.mark.looptime
async def test_bot_close_whose_listing_is_out_of_date_is_not_sent() -> None:
    """By then it is forgotten that the other deal was closed, and nothing is in doubt."""
    api = SlowBot()
    policy = RetryPolicy(attempts=3, backoff=20.0, max_backoff=20.0, jitter=0.0)
    async with client_of(api, retry=policy) as bot:
        api.refuse_connections = 1
        unreachable = asyncio.create_task(bot.deals.close_by_market(1))
        await asyncio.sleep(0.1)
        everything = asyncio.ensure_future(bot.deals.close_all(bot_id=9))
        await asyncio.sleep(1)
        await bot.deals.close_by_market(2)
        api.refuse_connections = 2
        with pytest.raises(RequestNotSentError):
            await unreachable
        assert (await everything).ok
    assert api.posted == ["deals/2/panic_sell", "deals/1/panic_sell"]
    assert api.closed_twice == []


@pytest.mark.looptime
async def test_single_close_waits_for_a_bot_close_under_way() -> None:
    api = SlowBot()
    async with client_of(api) as bot:
        everything = asyncio.ensure_future(bot.deals.close_all(bot_id=9))
        await asyncio.sleep(0.3)
        await bot.deals.close_by_market(1)
        assert (await everything).ok
    assert api.posted == ["bots/9/panic_sell_all_deals"]


@pytest.mark.looptime
@pytest.mark.parametrize("lag", [0.0, 3.0])
async def test_two_closes_of_the_same_bot_send_one_request(lag: float) -> None:
    api = SlowBot(lag=lag)
    async with client_of(api) as bot:
        reports = await asyncio.gather(*(bot.deals.close_all(bot_id=9) for _ in range(2)))
    assert all(report.ok for report in reports)
    assert api.posted == ["bots/9/panic_sell_all_deals"]


@pytest.mark.looptime
async def test_unreadable_answer_to_a_bot_close_causes_no_second_close() -> None:
    api = SlowBot(lag=10.0, bot_answer=httpx.Response(201, content=b'{"id": '))
    async with client_of(api) as bot:
        report = await bot.deals.close_all(bot_id=9)
    assert report.ok
    assert api.posted == ["bots/9/panic_sell_all_deals"]


@pytest.mark.looptime
async def test_deal_in_doubt_is_read_before_the_request_for_its_bot() -> None:
    api = SlowBot()
    async with client_of(api) as bot:
        with pytest.raises(OutcomeUnknownError):
            await bot.deals.close_by_market(1, deadline=0.5)
        report = await bot.deals.close_all(bot_id=9)
    assert report.ok
    assert api.closed_twice == []
    single, bots = "deals/1/panic_sell", "bots/9/panic_sell_all_deals"
    assert api.posted == [single, single, bots]  # the first was cut off before it was carried out


@pytest.mark.looptime
async def test_deals_of_a_server_that_caps_its_pages_are_listed_to_the_end() -> None:
    async def handler(request: httpx.Request) -> httpx.Response:
        offset = int(request.url.params["offset"])
        rows = [{"id": i, "status": "bought"} for i in range(1, 301)]
        return httpx.Response(200, json=rows[offset : offset + 50])

    async with client_of(handler) as bot:
        listed = [deal.id async for deal in bot.deals.list(scope="active")]
    assert listed == list(range(1, 301))


async def test_deals_are_listed_page_by_page_each_once() -> None:
    async with Sandbox(trades=0, deals=230, time_scale=20) as sandbox, client(sandbox) as bot:
        listed = [one.id async for one in bot.deals.list(scope="active")]
        assert sorted(listed) == sorted(sandbox.deal_ids)
        page = await bot.deals.list_page(offset=5, limit=7, order="created_at")
        assert len(page) == 7
        with pytest.raises(InvalidRequestError, match="from 1 to 1000"):
            await bot.deals.list_page(limit=1001)
        with pytest.raises(InvalidRequestError):
            await bot.deals.list_page(offset=-1)
        with pytest.raises(InvalidRequestError):
            await bot.deals.close_all(bot_id="9")
