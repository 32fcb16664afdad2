"""How long nothing is sent after a 429 or 418."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import httpx
import pytest

from threecommas_async.endpoint import Safety
from threecommas_async.http.refusals import read_block

SAFE, UNSAFE = Safety.SAFE, Safety.UNSAFE


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
def test_time_named_in_the_text_ends_the_block_after_its_second(body: str) -> None:
    assert block_seconds(body=body) == 8 * 60 + 36 + 1


def test_named_time_is_compared_with_the_servers_clock() -> None:
    date = "Tue, 11 Nov 2025 17:08:06 GMT"
    assert block_seconds(body=TEXT, headers={"date": date}) == 31


def test_server_clock_that_is_days_off_is_ignored() -> None:
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
def test_server_date_may_be_in_any_time_zone(date: str) -> None:
    assert block_seconds(body=TEXT, headers={"date": date}) == 31


@pytest.mark.parametrize("date", ["", "yesterday", "Tue, 99 Nov 2025 17:08:06 GMT"])
def test_invalid_server_date_falls_back_to_the_local_clock(date: str) -> None:
    assert block_seconds(body=TEXT, headers={"date": date}) == 517


def test_time_named_in_the_text_takes_precedence_over_retry_after() -> None:
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
def test_retry_after_applies_if_the_text_names_no_time(value: str, seconds: float) -> None:
    assert block_seconds(body="Too many requests", headers={"retry-after": value}) == seconds


def test_retry_after_date_is_compared_with_the_servers_clock() -> None:
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
        "Next request at 2025-11-11 16:59:59 UTC",  # past
        "Next request at 2025-11-11 17:00:00 UTC",  # now
        "Next request at 2025-99-99 17:08:36 UTC",  # no such day
        "Next request at 5 pm",
        "",
    ],
)
def test_unusable_time_in_the_text_falls_back_to_retry_after_and_then_to_the_penalty(
    body: str,
) -> None:
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
def test_unusable_retry_after_falls_back_to_the_penalty(value: str) -> None:
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
def test_block_tells_whether_the_server_named_its_length(
    body: str, headers: Mapping[str, str], *, named: bool
) -> None:
    assert read_block(429, headers, body, penalty=PENALTY, now=NOW).named is named


def test_ban_without_a_named_time_lasts_at_least_the_shortest_ban() -> None:
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
