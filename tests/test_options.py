"""Arguments are checked before anything is sent."""

import enum
import math
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import partial
from typing import Any, cast
from unittest.mock import AsyncMock

import httpx
import pytest

from tests.support import Api, client_of
from threecommas_async import AsyncClient, ConfigurationError, InvalidRequestError
from threecommas_async.endpoint import Endpoint, Safety
from threecommas_async.options import (
    CallOptions,
    check_callback,
    check_count,
    check_filter,
    check_id,
    check_ids,
    check_options,
    check_seconds,
)


class Number(enum.IntEnum):
    ONE = 1


# --- ids


@pytest.mark.parametrize("value", [1, 12345678, 2**31, 2**63 - 1])
def test_id_may_be_any_positive_int_below_2_to_the_63(value: int) -> None:
    assert check_id(value) == value


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "bool"),
        ("1", "str"),
        ("1/../2", "str"),
        (b"1", "bytes"),
        (1.0, "float"),
        (1.5, "float"),
        (Decimal(1), "Decimal"),
        (None, "NoneType"),
        ([1], "list"),
        (Number.ONE, "Number"),
    ],
)
def test_id_of_another_type_is_refused(value: object, kind: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"trade_id must be an int, not {kind}; nothing"):
        check_id(value)


@pytest.mark.parametrize("value", [0, -1, -(2**63), 2**63, 10**100])
def test_id_out_of_range_is_refused(value: int) -> None:
    with pytest.raises(InvalidRequestError, match=f"positive and below 2\\^63, not {value};"):
        check_id(value)


def test_id_error_names_the_argument() -> None:
    with pytest.raises(InvalidRequestError, match=r"^page must be an int"):
        check_id("1", "page")
    with pytest.raises(InvalidRequestError, match=r"^page must be positive"):
        check_id(0, "page")


@pytest.mark.parametrize(
    ("values", "checked"),
    [
        ([], []),
        ([3, 1, 2], [3, 1, 2]),
        ((3, 1, 3, 2, 1), [3, 1, 2]),
        (range(1, 4), [1, 2, 3]),
        (iter([2, 1]), [2, 1]),
        ({5: "five"}, [5]),
    ],
    ids=["none", "list", "duplicates", "range", "iterator", "mapping"],
)
def test_ids_keep_their_order_without_duplicates(values: Iterable[int], checked: list[int]) -> None:
    assert check_ids(values) == checked


@pytest.mark.parametrize("values", ["123", b"456", 789, None])
def test_value_that_is_not_a_collection_of_ids_is_refused(values: object) -> None:
    with pytest.raises(InvalidRequestError, match="trade_ids must be an iterable of ids, not"):
        check_ids(values)


@pytest.mark.parametrize("wrong", [True, "1/../2", 1.5, 0, 2**63, None])
def test_one_invalid_id_refuses_the_whole_collection(wrong: object) -> None:
    with pytest.raises(InvalidRequestError, match=r"^each of trade_ids must be"):
        check_ids([1, 2, wrong, 3])


# --- seconds


@pytest.mark.parametrize(("value", "seconds"), [(None, None), (0, 0.0), (5, 5.0), (0.25, 0.25)])
def test_seconds_from_zero_up_are_accepted(value: object, seconds: float | None) -> None:
    checked = check_seconds(value, "deadline")
    assert checked == seconds
    assert checked is None or type(checked) is float


@pytest.mark.parametrize("value", [True, "5", Decimal(5), [5]])
def test_seconds_of_another_type_are_refused(value: object) -> None:
    with pytest.raises(InvalidRequestError, match=r"^deadline must be a number of seconds, not"):
        check_seconds(value, "deadline")


@pytest.mark.parametrize("value", [-1, -0.001, math.nan, math.inf, -math.inf])
def test_negative_or_infinite_seconds_are_refused(value: float) -> None:
    with pytest.raises(InvalidRequestError, match=r"^timeout must be a finite number of seconds"):
        check_seconds(value, "timeout")


# --- options


def options_of(**given: object) -> CallOptions:
    """Return options as an untyped caller would pass them."""
    return cast("CallOptions", given)


@pytest.mark.parametrize(
    "options",
    [
        options_of(),
        options_of(timeout=5),
        options_of(deadline=None),
        options_of(timeout=0.5, deadline=60, extra_headers={"X-Trace": "a b, c", "X-Empty": ""}),
    ],
)
def test_valid_call_options_are_accepted(options: CallOptions) -> None:
    check_options(options)


def test_timeout_of_zero_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"^timeout must be longer than 0 seconds; noth"):
        check_options(options_of(timeout=0))


def test_unknown_option_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequestError, match=r"^unknown option retries, timeouts; nothing"):
        check_options(options_of(timeouts=5, timeout=5, retries=1))


@pytest.mark.parametrize("name", ["timeout", "deadline"])
def test_invalid_time_option_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"^{name} must be"):
        check_options(options_of(**{name: -1}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", "1\r\nSignature: mine"),
        ("X", "1\nSignature: mine"),
        ("X", "1\rSignature: mine"),
        ("X", "1\0"),
        ("X: 1\r\nSignature", "mine"),
        ("", "1"),
        ("X-é", "1"),
        ("X Y", "1"),
        (5, "1"),
        ("X", 5),
        ("X", " mine"),
        ("X", "mine "),
        ("X", "mine\t"),
        ("X", "mine\x7f"),
        ("X", "minë"),
        ("X", "\ud800mine"),
        ("X", " "),
        ("é" * 10_000, "mine"),
    ],
)
def test_header_that_cannot_be_sent_unchanged_is_refused(name: object, value: object) -> None:
    with pytest.raises(InvalidRequestError, match="is not a header that can be sent") as caught:
        check_options(options_of(extra_headers={name: value}))
    assert "mine" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "name",
    ["Apikey", "SIGNATURE", "host", "Content-Length", "transfer-encoding", "Connection"],
)
def test_header_of_the_signature_or_the_framing_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"{name} is set by the client") as caught:
        check_options(options_of(extra_headers={name: "mine"}))
    assert "mine" not in str(caught.value)


# --- callbacks


async def coroutine_function(_: object) -> None: ...


@pytest.mark.parametrize("callback", [None, print, len, check_seconds])
def test_plain_function_is_accepted_as_callback(callback: object) -> None:
    check_callback(callback)


class Awaited:
    async def __call__(self, _: object) -> None: ...


class Plain:
    def __call__(self, _: object) -> None: ...


async def asynchronous_generator(_: object) -> AsyncIterator[int]:
    yield 1


def generator(_: object) -> Iterator[int]:
    yield 1


@pytest.mark.parametrize("callback", [Plain(), Plain, partial(print, "x"), set[object]().add])
def test_callable_object_or_partial_is_accepted_as_callback(callback: object) -> None:
    check_callback(callback)


@pytest.mark.parametrize(
    "callback",
    [
        coroutine_function,
        "print",
        1,
        Awaited(),
        Awaited().__call__,
        partial(coroutine_function, 1),
        partial(Awaited(), 1),
        partial(partial(coroutine_function), 1),
        asynchronous_generator,
        generator,
        AsyncMock(),
    ],
)
def test_callback_that_would_never_run_is_refused(callback: object) -> None:
    with pytest.raises(InvalidRequestError, match="on_outcome must be a plain function"):
        check_callback(callback)


# --- filters

AWARE = datetime(2026, 1, 5, tzinfo=UTC)


class Broken(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta:
        raise ZeroDivisionError

    dst = utcoffset

    def tzname(self, _: datetime | None) -> str:
        return "broken"


class Group(enum.StrEnum):
    ACTIVE = "active"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("account_id", 1),
        ("bot_id", 2**63 - 1),
        ("pair", "USDT_BTC"),
        ("note", "größe: 5"),
        ("status", Group.ACTIVE),
        ("from_", AWARE),
        ("from", AWARE),
        ("to", AWARE.astimezone(timezone(timedelta(hours=3)))),
    ],
)
def test_valid_filter_is_accepted(name: str, value: object) -> None:
    assert check_filter(name, value) is value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("account_id", value) for value in (True, False, 0, -1, 1.0, "1", None, Decimal(1))),
        *(("pair", value) for value in ("", " ", "a\n", "\ud800", 5, True, None, math.nan)),
        *(("base", value) for value in (Decimal("NaN"), Decimal(1), b"BTC", ["BTC"], AWARE)),
        *(("from_", value) for value in ("yesterday", 5, None, math.nan, date(2026, 1, 5))),
        ("to", datetime(2026, 1, 5)),  # noqa: DTZ001 - without a time zone on purpose
        ("to", datetime.max.replace(tzinfo=timezone(timedelta(hours=-3)))),
        ("to", datetime(2026, 1, 5, tzinfo=Broken())),
    ],
)
def test_filter_that_the_server_could_ignore_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidRequestError, match=f"^{name} .*; nothing was sent$"):
        check_filter(name, value)


@pytest.mark.parametrize("value", [0, 5, 1000])
def test_count_within_its_bounds_is_accepted(value: int) -> None:
    assert check_count(value, "offset", most=1000) == value


@pytest.mark.parametrize("value", [-1, 1001, "a", True, False, None, 1.0])
def test_count_out_of_its_bounds_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequestError, match=r"^offset must be an int from 0 to 1000, not "):
        check_count(value, "offset", most=1000)


def test_number_with_too_many_digits_is_refused_as_out_of_range() -> None:
    with pytest.raises(InvalidRequestError, match=r"^trade_id must be positive and below"):
        check_id(10**5000)
    with pytest.raises(InvalidRequestError, match=r"^offset must be an int from 0 to"):
        check_count(10**5000, "offset")


# --- through the client


@pytest.mark.parametrize("wrong", [True, "1", 1.5, "1/../2", 0, -1, 2**63])
async def test_invalid_id_is_refused_before_anything_is_sent(wrong: Any) -> None:
    def server(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.url)

    client = AsyncClient("key", secret="secret", transport=httpx.MockTransport(server))
    async with client:
        with pytest.raises(InvalidRequestError):
            await client.smart_trades.close_by_market(wrong)
        with pytest.raises(InvalidRequestError):
            await client.smart_trades.get(wrong)
        with pytest.raises(InvalidRequestError):
            await client.smart_trades.cancel(wrong)
        with pytest.raises(InvalidRequestError):
            client.smart_trades.close_many([1, wrong])


NO_PATH_PARTS: list[object] = [None, 1.5, True, [], "", ".", "\ud800"]
CHANGE = Endpoint("POST", "/ver1/things/{name}", object, Safety.UNSAFE)


class NotJson:
    """An object that cannot be written as JSON."""


@pytest.mark.parametrize(
    "arguments",
    [
        {"endpoint": "GET"},
        {"endpoint": CHANGE},
        {"endpoint": CHANGE, "path": {"other": 1}},
        {"endpoint": CHANGE, "path": 5},
        {"endpoint": CHANGE, "path": {5: 5}},
        *({"endpoint": CHANGE, "path": {"name": part}} for part in NO_PATH_PARTS),
        *(
            {"endpoint": CHANGE, "path": {"name": 1}, "query": query}
            for query in (
                5,
                {5: 5},
                {"\ud800": 5},
                {"a": "\ud800"},
                {"a": math.nan},
                {"a": Decimal("NaN")},
                {"a": [1]},
                {"a": datetime(2026, 1, 5)},  # noqa: DTZ001 - without a time zone on purpose
                {"a": datetime.max.replace(tzinfo=timezone(timedelta(hours=-3)))},
            )
        ),
        {"endpoint": CHANGE, "path": {"name": 1}, "json": NotJson()},
        {"endpoint": CHANGE, "path": {"name": 1}, "json": "\ud800"},
        {"endpoint": Endpoint("GET", "/ver1/a", NotJson, Safety.SAFE)},
        {"endpoint": Endpoint("GET", "/ver1/a", list[NotJson], Safety.SAFE)},
    ],
)
async def test_invalid_request_is_refused_before_anything_is_sent(
    arguments: dict[str, Any],
) -> None:
    def server(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.url)

    client = AsyncClient("key", secret="secret", transport=httpx.MockTransport(server))
    async with client:
        with pytest.raises(InvalidRequestError):
            await client.request(**arguments)


async def test_extra_headers_that_are_not_a_mapping_are_refused() -> None:
    async with client_of(Api([7])) as client:
        with pytest.raises(InvalidRequestError, match="must be a mapping"):
            await client.smart_trades.get(7, extra_headers=cast("Any", [("X", "1")]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "get"},
        {"method": "GE T"},
        {"method": None},
        {"path": "a"},
        {"safety": "unsafe"},
        {"safety": None},
    ],
)
def test_invalid_endpoint_is_refused(wrong: dict[str, Any]) -> None:
    right = {"method": "GET", "path": "/a", "returns": object, "safety": Safety.SAFE}
    arguments: dict[str, Any] = {**right, **wrong}
    with pytest.raises(ConfigurationError, match="of an endpoint is"):
        Endpoint(**arguments)
