"""The public types, pinned as a user's type checker sees them. Never executed.

`make check` checks this file with mypy and pyright, both strict, and fails if a type changes or
becomes `Any`. No test runs them a second time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import assert_type

import httpx

from threecommas_async import (
    APIStatusError,
    AsyncClient,
    CloseBatch,
    CloseFailedError,
    CloseOutcome,
    CloseReport,
    CloseState,
    IPBannedError,
    JsonForm,
    OutcomeUnknownError,
    RateLimiter,
    RateLimitError,
    RequestNotSentError,
    Response,
    ResponseDecodeError,
    RetryPolicy,
    SlidingWindowLimiter,
    SmartTrade,
    ThreeCommasError,
    __version__,
)
from threecommas_async.errors import Fate
from threecommas_async.hooks import AttemptEnded, Blocked, Event
from threecommas_async.models.codes import SmartTradeStatusCode, SmartTradeType
from threecommas_async.models.deal import Deal
from threecommas_async.models.smart_trade import MarketClose, SmartTradeStatus, Step
from threecommas_async.models.user import ValidateResult
from threecommas_async.redis import RedisLimiter
from threecommas_async.resources.smart_trades import GET, LIST
from threecommas_async.sandbox import Faults, Ledger, RateLimit, Sandbox, TradeRecord


async def clients(pem: bytes, path: Path, borrowed: httpx.AsyncClient) -> None:
    async with AsyncClient("key", secret="secret") as client:
        assert_type(client, AsyncClient)
        assert_type(client.base_url, str)
    AsyncClient("key", private_key=pem)
    AsyncClient("key", private_key=path, json_form=JsonForm.QUESTION_MARK)
    AsyncClient("key", secret="secret", timeout=5, rate_limiter=None, http_client=borrowed)
    AsyncClient("key", secret="secret", timeout=httpx.Timeout(5), mode="paper")
    from_env = AsyncClient.from_env(
        rate_limiter=SlidingWindowLimiter(50, window=60, penalty=300, reserve=5),
        retry=RetryPolicy(attempts=3, jitter=0),
        max_connections=10,
        hooks=[print],
    )
    assert_type(from_env, AsyncClient)
    version: str = __version__
    assert version


async def closing_one(client: AsyncClient, ids: Sequence[int]) -> None:
    assert_type(await client.smart_trades.close_by_market(1), SmartTrade)
    assert_type(
        await client.smart_trades.close_by_market(
            1, timeout=5, deadline=10, extra_headers={"X-Bot": "a"}
        ),
        SmartTrade,
    )
    closes = (client.smart_trades.close_by_market(i) for i in ids)
    assert_type(await asyncio.gather(*closes), list[SmartTrade])
    assert_type(
        await asyncio.gather(
            client.smart_trades.close_by_market(1),
            client.smart_trades.close_by_market(2),
            return_exceptions=True,
        ),
        tuple[SmartTrade | BaseException, SmartTrade | BaseException],
    )


async def closing_many(client: AsyncClient, ids: Sequence[int]) -> None:
    def on_outcome(outcome: CloseOutcome[SmartTrade]) -> None:
        assert_type(outcome.state, CloseState)

    batch = client.smart_trades.close_many(
        ids, confirm=True, deadline=600, on_outcome=on_outcome, timeout=5
    )
    assert_type(batch, CloseBatch[SmartTrade])
    assert_type(len(batch), int)
    assert_type(await batch, CloseReport[SmartTrade])
    assert_type(batch.report, CloseReport[SmartTrade])
    async for known in batch:
        assert_type(known, CloseOutcome[SmartTrade])
    task = asyncio.ensure_future(client.smart_trades.close_many(i for i in ids))
    assert_type(await task, CloseReport[SmartTrade])


async def closing_all(client: AsyncClient, ids: Sequence[int]) -> None:
    def on_outcome(outcome: CloseOutcome[SmartTrade]) -> None:
        assert_type(outcome.state, CloseState)

    batch = client.smart_trades.close_all(
        pair="USDT_BTC", pending="cancel", confirm=True, deadline=600, on_outcome=on_outcome
    )
    assert_type(batch, CloseBatch[SmartTrade])
    async for known in batch:
        assert_type(known, CloseOutcome[SmartTrade])
    report = await batch
    assert_type(report, CloseReport[SmartTrade])
    task = asyncio.ensure_future(client.smart_trades.close_all())
    assert_type(await task, CloseReport[SmartTrade])
    assert_type(report.unlisted, ThreeCommasError | None)
    assert_type(await client.smart_trades.close_all(dry_run=True), CloseReport[SmartTrade])
    assert_type(
        await client.smart_trades.wait_until_closed(ids, timeout=5), CloseReport[SmartTrade]
    )


async def cancelling(client: AsyncClient, ids: Sequence[int]) -> None:
    batch = client.smart_trades.cancel_many(ids, confirm=True, deadline=60, on_outcome=print)
    assert_type(batch, CloseBatch[SmartTrade])
    assert_type(await batch, CloseReport[SmartTrade])
    assert_type(await client.smart_trades.cancel(1), SmartTrade)


async def watching(client: AsyncClient, ids: Sequence[int]) -> None:
    def on_error(trade_id: int, error: ThreeCommasError) -> None:
        assert_type(error.may_have_taken_effect, bool)

    watch = client.smart_trades.watch(ids, every=5, on_error=on_error, deadline=600, timeout=5)
    assert_type(watch, AsyncGenerator[SmartTrade, None])
    async for trade in watch:
        assert_type(trade, SmartTrade)
    assert_type(client.deals.watch(i for i in ids), AsyncGenerator[Deal, None])


async def deals(client: AsyncClient, ids: Sequence[int], since: datetime) -> None:
    assert_type(await client.deals.close_by_market(1, deadline=10), Deal)
    assert_type(client.deals.close_many(ids), CloseBatch[Deal])
    assert_type(client.deals.close_all(), CloseBatch[Deal])
    report = await client.deals.close_all(bot_id=1, confirm=True, deadline=600, dry_run=True)
    assert_type(report, CloseReport[Deal])
    assert_type(report[1].trade, Deal | None)
    assert_type(await client.deals.wait_until_closed(ids), CloseReport[Deal])
    assert_type(await client.deals.get(1), Deal)
    assert_type(
        client.deals.list(scope="active", bot_id=1, from_=since), AsyncGenerator[Deal, None]
    )
    assert_type(await client.deals.list_page(0, limit=1000, order="profit"), list[Deal])


def reports(report: CloseReport[SmartTrade]) -> None:
    assert_type(report.ok, bool)
    assert_type(len(report), int)
    assert_type(report.counts, Mapping[CloseState, int])
    assert_type(report.leftovers, tuple[int, ...])
    assert_type(report.outcomes, tuple[CloseOutcome[SmartTrade], ...])
    assert_type([outcome for outcome in report], list[CloseOutcome[SmartTrade]])  # noqa: C416
    outcome = report[1]
    assert_type(outcome, CloseOutcome[SmartTrade])
    assert_type(outcome.trade_id, int)
    assert_type(outcome.state, CloseState)
    assert_type(outcome.trade, SmartTrade | None)
    assert_type(outcome.error, ThreeCommasError | None)
    assert_type(outcome.attempts, int)
    assert_type(outcome.elapsed, float)
    assert_type(outcome.ok, bool)
    widened: CloseReport[object] = report  # reports and outcomes are covariant
    assert widened


async def reading(client: AsyncClient, since: datetime) -> None:
    listing = client.smart_trades.list(
        status="active", pair="USDT_BTC", from_=since, order_by="created_at", deadline=5
    )
    assert_type(listing, AsyncGenerator[SmartTrade, None])
    async for trade in listing:
        assert_type(trade, SmartTrade)
    assert_type([trade.id async for trade in client.smart_trades.list()], list[int])
    assert_type(await client.smart_trades.list_page(2, per_page=50), list[SmartTrade])
    assert_type(await client.smart_trades.get(1), SmartTrade)
    assert_type(await client.users.validate(), ValidateResult)


async def raw_answers(client: AsyncClient) -> None:
    answer = await client.request(GET, path={"trade_id": 1})
    assert_type(answer, Response[SmartTrade])
    assert_type(answer.data, SmartTrade)
    assert_type(answer.content, bytes)
    assert_type(answer.headers, Mapping[str, str])
    assert_type(answer.status_code, int)
    assert_type(answer.request_id, str | None)
    page = await client.request(LIST, query={"page": 1, "status": None, "account_id": 5})
    assert_type(page.data, list[SmartTrade])


def trades(trade: SmartTrade) -> None:
    assert_type(trade.id, int)
    assert_type(trade.pair, str | None)
    assert_type(trade.status, SmartTradeStatus)
    assert_type(trade.status.code, SmartTradeStatusCode | str)
    assert_type(trade.status.error, str | None)
    assert_type(trade.data.commission, Decimal | None)
    assert_type(trade.data.panic_sell_available, bool | None)
    assert_type(trade.data.closed_at, datetime | None)
    assert_type(trade.data.type, SmartTradeType | str | None)
    assert_type(trade.data.current_price.last, Decimal | None)
    assert_type(trade.profit.percent, Decimal | None)
    assert_type(trade.position.units.value, Decimal | None)
    assert_type(trade.take_profit.steps, tuple[Step, ...])
    assert_type(trade.market_close, MarketClose)


def errors(
    any_error: ThreeCommasError,
    status: APIStatusError,
    rate: RateLimitError,
    banned: IPBannedError,
) -> None:
    assert_type(any_error.may_have_taken_effect, bool)
    assert_type(status.status_code, int)
    assert_type(status.error, str | None)
    assert_type(status.error_description, str | None)
    assert_type(status.error_attributes, dict[str, tuple[str, ...]])
    assert_type(status.request_id, str | None)
    assert_type(status.method, str)
    assert_type(status.path, str)
    assert_type(status.body, str)
    assert_type(rate.retry_at, datetime | None)
    assert_type(banned.retry_at, datetime | None)


def more_errors(
    not_sent: RequestNotSentError,
    unknown: OutcomeUnknownError,
    undecoded: ResponseDecodeError,
    failed: CloseFailedError,
) -> None:
    assert_type(not_sent.available_in, float | None)
    assert_type(unknown.path, str)
    assert_type(undecoded.status_code, int)
    assert_type(undecoded.body, str)
    assert_type(failed.trade_id, int)
    assert_type(failed.reason, str | None)


def limiters_and_hooks(event: Event) -> None:
    shared: RateLimiter = SlidingWindowLimiter()
    assert_type(shared.blocked_for(), float)
    watch: Callable[[Event], None] = print
    AsyncClient("key", secret="secret", rate_limiter=shared, hooks=[watch])
    redis: RateLimiter = RedisLimiter("redis://127.0.0.1", 50, key="bots", on_lost="share", share=1)
    AsyncClient("key", secret="secret", rate_limiter=redis)
    match event:
        case AttemptEnded():
            assert_type(event.fate, Fate)
            assert_type(event.error, ThreeCommasError | None)
        case Blocked():
            assert_type(event.seconds, float)


async def rehearsals() -> None:
    faults = Faults.mixed(0.3, silence=0.2)
    limit = RateLimit(requests=20, window=3, bodies=("text",))
    async with Sandbox(trades=5, faults=faults, rate_limit=limit) as sandbox:
        assert_type(sandbox.base_url, str)
        assert_type(sandbox.trade_ids, tuple[int, ...])
        assert_type(sandbox.ledger, Ledger)
        assert_type(sandbox.ledger.trade(1), TradeRecord)
        assert_type(sandbox.ledger.applied, frozenset[int])
        await sandbox.restart(downtime=0.1)
