"""What an attempt came to, and what to do next: tables, for it is all pure."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from threecommas_async.endpoint import Safety
from threecommas_async.errors import (
    BadRequestError,
    ConfigurationError,
    Fate,
    IPBannedError,
    NotFoundError,
    OutcomeUnknownError,
    PlanLimitError,
    RateLimitError,
    RequestNotSentError,
    ResponseDecodeError,
    ServerError,
    ThreeCommasError,
    fate_of_status,
)
from threecommas_async.http.refusals import read_block
from threecommas_async.retry import RetryPolicy, next_delay

SAFE, UNSAFE = Safety.SAFE, Safety.UNSAFE


# --- classify


@pytest.mark.parametrize("status_code", [200, 201, 202, 204, 226, 299])
def test_any_2xx_is_done(status_code: int) -> None:
    assert fate_of_status(status_code) is Fate.DONE


@pytest.mark.parametrize("status_code", [400, 401, 403, 404, 409, 418, 422, 429, 499])
def test_a_refusal_is_rejected(status_code: int) -> None:
    assert fate_of_status(status_code) is Fate.REJECTED


@pytest.mark.parametrize("status_code", [100, 199, 300, 302, 307, 399, 408, 500, 502, 504, 599])
def test_an_answer_of_something_in_between_leaves_it_unknown(status_code: int) -> None:
    assert fate_of_status(status_code) is Fate.UNKNOWN


def test_a_404_is_rejected_only_if_it_is_the_apis_own() -> None:
    assert fate_of_status(404, from_api=True) is Fate.REJECTED
    assert fate_of_status(404, from_api=False) is Fate.UNKNOWN
    assert fate_of_status(403, from_api=False) is Fate.REJECTED


# --- RetryPolicy


def test_the_default_policy() -> None:
    assert RetryPolicy() == RetryPolicy(
        attempts=5, backoff=0.5, max_backoff=8.0, jitter=0.5, rate_limit_waits=3
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attempts", 0),
        ("attempts", -1),
        ("attempts", True),
        ("attempts", 2.0),
        ("rate_limit_waits", -1),
        ("rate_limit_waits", True),
        ("rate_limit_waits", 1.0),
        ("backoff", -0.1),
        ("backoff", math.inf),
        ("backoff", math.nan),
        ("max_backoff", -1),
        ("max_backoff", math.inf),
        ("max_backoff", math.nan),
        ("jitter", -0.1),
        ("jitter", 1.1),
        ("jitter", math.nan),
    ],
)
def test_a_policy_that_cannot_work_is_refused(name: str, value: float) -> None:
    settings: dict[str, Any] = {name: value}
    with pytest.raises(ConfigurationError, match=f"^RetryPolicy: {name} must be"):
        RetryPolicy(**settings)


def test_the_edges_of_a_policy_pass() -> None:
    policy = RetryPolicy(attempts=1, backoff=0, max_backoff=0, jitter=0, rate_limit_waits=0)
    assert policy.pause(1) == 0
    assert RetryPolicy(jitter=1).pause(1, chance=1) == 0


def test_pauses_double_up_to_the_longest() -> None:
    policy = RetryPolicy(backoff=0.5, max_backoff=3.0, jitter=0)
    assert [policy.pause(attempts) for attempts in range(1, 6)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert policy.pause(1000) == 3.0


@pytest.mark.parametrize(
    ("jitter", "chance", "pause"),
    [(0.5, 0.0, 4.0), (0.5, 1.0, 2.0), (0.5, 0.5, 3.0), (1.0, 1.0, 0.0), (0.25, 1.0, 3.0)],
)
def test_jitter_only_shortens_a_pause(jitter: float, chance: float, pause: float) -> None:
    policy = RetryPolicy(backoff=4.0, jitter=jitter)
    assert policy.pause(1, chance) == pause


def test_pauses_are_spread_at_random() -> None:
    policy = RetryPolicy(backoff=4.0, jitter=0.5)
    pauses = [policy.pause(1) for _ in range(200)]
    assert all(2.0 <= pause <= 4.0 for pause in pauses)
    assert max(pauses) - min(pauses) > 1.0


# --- next_delay

NO_CONNECTION = RequestNotSentError("no connection")
NO_SLOT = RequestNotSentError("no slot in time", available_in=3.0)
NO_ANSWER = OutcomeUnknownError("no answer")
FACTS: dict[str, Any] = {"method": "GET", "path": "/a"}
RATE = RateLimitError(status_code=429, **FACTS)
PLAN = PlanLimitError(status_code=429, **FACTS)
BAN = IPBannedError(status_code=418, **FACTS)
DOWN = ServerError(status_code=503, **FACTS)
WRONG = BadRequestError(status_code=400, **FACTS)
GONE = NotFoundError(status_code=404, error="Not found", **FACTS)
NOT_THERE = NotFoundError(status_code=404, body="<html>404 Not Found</html>", **FACTS)
ODD = ResponseDecodeError("not JSON", status_code=200, body="<", **FACTS)

POLICY = RetryPolicy(attempts=3, backoff=1.0, max_backoff=8.0, jitter=0, rate_limit_waits=2)


@pytest.mark.parametrize(
    ("safety", "error", "attempts", "delay"),
    [
        (SAFE, NO_CONNECTION, 1, 1.0),
        (UNSAFE, NO_CONNECTION, 1, 1.0),
        (UNSAFE, NO_CONNECTION, 2, 2.0),
        (UNSAFE, NO_CONNECTION, 3, None),
        (SAFE, NO_SLOT, 1, None),
        (UNSAFE, NO_SLOT, 1, None),
        (SAFE, NO_ANSWER, 1, 1.0),
        (SAFE, NO_ANSWER, 2, 2.0),
        (SAFE, NO_ANSWER, 3, None),
        (UNSAFE, NO_ANSWER, 1, None),
        (SAFE, DOWN, 1, 1.0),
        (SAFE, DOWN, 3, None),
        (UNSAFE, DOWN, 1, None),
        (SAFE, PLAN, 1, None),
        (SAFE, BAN, 1, None),
        (SAFE, WRONG, 1, None),
        (UNSAFE, WRONG, 1, None),
        (SAFE, GONE, 1, None),
        (SAFE, NOT_THERE, 1, 1.0),
        (SAFE, NOT_THERE, 3, None),
        (UNSAFE, NOT_THERE, 1, None),
        (SAFE, ODD, 1, None),
        (UNSAFE, ODD, 1, None),
    ],
    ids=lambda value: (
        type(value).__name__ if isinstance(value, Exception) else getattr(value, "value", None)
    ),
)
def test_what_may_be_sent_again_and_when(
    safety: Safety, error: ThreeCommasError, attempts: int, delay: float | None
) -> None:
    assert next_delay(POLICY, safety, error, attempts, refusals=0) == delay


@pytest.mark.parametrize("safety", list(Safety))
@pytest.mark.parametrize(("refusals", "delay"), [(1, 0.0), (2, 0.0), (3, None)])
def test_a_rate_refusal_waits_at_the_limiter_a_few_times_whatever_the_attempts(
    safety: Safety, refusals: int, delay: float | None
) -> None:
    for attempts in (0, POLICY.attempts):
        assert next_delay(POLICY, safety, RATE, attempts, refusals) == delay


def test_without_waits_the_first_rate_refusal_is_the_last() -> None:
    assert next_delay(RetryPolicy(rate_limit_waits=0), SAFE, RATE, 0, refusals=1) is None


# --- read_block

NOW = datetime(2025, 11, 11, 17, 0, 0, tzinfo=UTC)
TEXT = "Rate limit exceeded. Next request at 2025-11-11 17:08:36 UTC"
PENALTY = 300.0
THREE_DAYS = 3 * 24 * 3600.0


def block_seconds(
    *, body: str = "", headers: Mapping[str, str] | None = None, status_code: int = 429
) -> float:
    block = read_block(status_code, headers or {}, body, penalty=PENALTY, now=NOW)
    assert block.retry_at - NOW == timedelta(seconds=block.seconds)
    assert block.retry_at.tzinfo is UTC
    return block.seconds


@pytest.mark.parametrize(
    "body",
    [
        TEXT,
        "next request at 2025-11-11T17:08:36Z",
        '{"error": "rate_limit", "error_description": "Next Request At 2025-11-11 17:08:36 UTC."}',
        f"<html><p>{TEXT}</p></html>",
    ],
    ids=["text", "ISO", "JSON", "HTML"],
)
def test_the_time_named_in_the_text_counts_and_its_second_is_waited_out(body: str) -> None:
    assert block_seconds(body=body) == 8 * 60 + 36 + 1


def test_the_named_time_is_held_against_the_servers_own_clock() -> None:
    date = "Tue, 11 Nov 2025 17:08:06 GMT"
    assert block_seconds(body=TEXT, headers={"date": date}) == 31


def test_a_server_whose_clock_is_days_off_does_not_decide_how_long_to_wait() -> None:
    headers = {"date": format_datetime(NOW - timedelta(days=30))}
    in_half_a_minute = f"Next request at {NOW + timedelta(seconds=30):%Y-%m-%d %H:%M:%S} UTC"
    assert 30 <= block_seconds(body=in_half_a_minute, headers=headers) <= 32


def test_headers_are_found_in_any_case() -> None:
    headers = httpx.Headers({"Date": "Tue, 11 Nov 2025 17:08:06 GMT"})
    assert block_seconds(body=TEXT, headers=headers) == 31
    assert block_seconds(headers=httpx.Headers({"Retry-After": "7"})) == 7


@pytest.mark.parametrize(
    "date", ["Tue, 11 Nov 2025 17:08:06 -0000", "Tue, 11 Nov 2025 19:08:06 +0200"]
)
def test_the_servers_clock_may_be_given_in_any_zone(date: str) -> None:
    assert block_seconds(body=TEXT, headers={"date": date}) == 31


@pytest.mark.parametrize("date", ["", "yesterday", "Tue, 99 Nov 2025 17:08:06 GMT"])
def test_a_date_that_cannot_be_read_leaves_the_clock_here(date: str) -> None:
    assert block_seconds(body=TEXT, headers={"date": date}) == 517


def test_the_named_time_goes_before_retry_after() -> None:
    assert block_seconds(body=TEXT, headers={"retry-after": "7"}) == 517


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("7.5", 7.5),
        ("Tue, 11 Nov 2025 17:00:30 GMT", 31),
        ("Tue, 11 Nov 2025 18:00:30 +0100", 31),
    ],
)
def test_retry_after_counts_where_the_text_names_no_time(value: str, seconds: float) -> None:
    assert block_seconds(body="Too many requests", headers={"retry-after": value}) == seconds


def test_a_retry_after_date_is_held_against_the_servers_own_clock() -> None:
    zone = timezone(timedelta(hours=3))
    server_now = NOW + timedelta(hours=1)
    headers = {
        "date": format_datetime(server_now.astimezone(zone)),
        "retry-after": format_datetime(server_now + timedelta(seconds=20)),
    }
    assert block_seconds(headers=headers) == 21


@pytest.mark.parametrize(
    "body",
    [
        "Next request at 2025-11-11 16:59:59 UTC",  # over
        "Next request at 2025-11-11 17:00:00 UTC",  # over this very moment
        "Next request at 2025-99-99 17:08:36 UTC",  # no such day
        "Next request at 5 pm",
        "",
    ],
)
def test_without_a_time_to_believe_retry_after_counts_else_the_penalty(body: str) -> None:
    assert block_seconds(body=body, headers={"retry-after": "7"}) == 7
    assert block_seconds(body=body) == PENALTY


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "0",
        "-5",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "Tue, 11 Nov 2025 16:59:59 GMT",
        "Tue, 11 Nov 2025 99:99:99 GMT",
    ],
)
def test_a_retry_after_not_to_be_believed_leaves_the_penalty(value: str) -> None:
    assert block_seconds(headers={"retry-after": value}) == PENALTY


@pytest.mark.parametrize(
    ("body", "headers", "named"),
    [
        (TEXT, {}, True),
        ("", {"retry-after": "7"}, True),
        ("", {}, False),
        ("Next request at 2025-11-11 16:59:59 UTC", {"retry-after": "0"}, False),
    ],
)
def test_a_block_says_if_the_server_named_its_length(
    body: str, headers: Mapping[str, str], *, named: bool
) -> None:
    assert read_block(429, headers, body, penalty=PENALTY, now=NOW).named is named


def test_a_ban_that_names_no_time_lasts_at_least_the_shortest_ban() -> None:
    assert block_seconds(status_code=418) == 120
    assert block_seconds(status_code=418, headers={"retry-after": "600"}) == 600
    assert block_seconds(status_code=418, body=TEXT) == 517


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ("Next request at 9999-12-31 23:59:59", {}),
        ("", {"retry-after": "1e300"}),
        ("", {"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}),
    ],
    ids=["text", "seconds", "date"],
)
def test_no_block_is_longer_than_the_longest_ban(body: str, headers: Mapping[str, str]) -> None:
    assert block_seconds(body=body, headers=headers) == THREE_DAYS
    assert block_seconds(body=body, headers=headers, status_code=418) == THREE_DAYS
