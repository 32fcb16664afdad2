"""Arguments are checked before anything leaves."""

import enum
import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, cast

import httpx
import pytest

from threecommas_async import AsyncClient, InvalidRequestError
from threecommas_async.options import (
    CallOptions,
    check_callback,
    check_id,
    check_ids,
    check_options,
    check_seconds,
)


class Number(enum.IntEnum):
    ONE = 1


# --- ids


@pytest.mark.parametrize("value", [1, 12345678, 2**31, 2**63 - 1])
def test_a_positive_int_below_2_to_the_63_is_an_id(value: int) -> None:
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
def test_an_id_of_another_type_is_refused(value: object, kind: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"trade_id must be an int, not {kind}; nothing"):
        check_id(value)


@pytest.mark.parametrize("value", [0, -1, -(2**63), 2**63, 10**100])
def test_an_id_out_of_range_is_refused(value: int) -> None:
    with pytest.raises(InvalidRequestError, match=f"positive and below 2\\^63, not {value};"):
        check_id(value)


def test_the_argument_is_named() -> None:
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
def test_ids_keep_their_order_and_come_once(values: Iterable[int], checked: list[int]) -> None:
    assert check_ids(values) == checked


@pytest.mark.parametrize("values", ["123", b"456", 789, None])
def test_what_is_no_collection_of_ids_is_refused(values: object) -> None:
    with pytest.raises(InvalidRequestError, match="trade_ids must be ids to go through, not"):
        check_ids(values)


@pytest.mark.parametrize("wrong", [True, "1/../2", 1.5, 0, 2**63, None])
def test_one_wrong_id_refuses_all(wrong: object) -> None:
    with pytest.raises(InvalidRequestError, match=r"^each of trade_ids must be"):
        check_ids([1, 2, wrong, 3])


# --- seconds


@pytest.mark.parametrize(("value", "seconds"), [(None, None), (0, 0.0), (5, 5.0), (0.25, 0.25)])
def test_seconds_from_nought_up_pass(value: object, seconds: float | None) -> None:
    checked = check_seconds(value, "deadline")
    assert checked == seconds
    assert checked is None or type(checked) is float


@pytest.mark.parametrize("value", [True, "5", Decimal(5), [5]])
def test_seconds_of_another_type_are_refused(value: object) -> None:
    with pytest.raises(InvalidRequestError, match=r"^deadline must be a number of seconds, not"):
        check_seconds(value, "deadline")


@pytest.mark.parametrize("value", [-1, -0.001, math.nan, math.inf, -math.inf])
def test_seconds_that_cannot_pass_are_refused(value: float) -> None:
    with pytest.raises(InvalidRequestError, match=r"^timeout must be a finite number of seconds"):
        check_seconds(value, "timeout")


# --- options


def options_of(**given: object) -> CallOptions:
    """Options as they come from a caller without a type checker."""
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
def test_options_of_a_call_pass(options: CallOptions) -> None:
    check_options(options)


def test_an_option_that_is_none_is_named() -> None:
    with pytest.raises(InvalidRequestError, match=r"^unknown option retries, timeouts; nothing"):
        check_options(options_of(timeouts=5, timeout=5, retries=1))


@pytest.mark.parametrize("name", ["timeout", "deadline"])
def test_a_wrong_time_is_named(name: str) -> None:
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
    ],
)
def test_a_header_that_would_smuggle_another_in_is_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidRequestError, match="is not a header that can be sent") as caught:
        check_options(options_of(extra_headers={name: value}))
    assert "mine" not in str(caught.value)


# --- callbacks


async def coroutine_function(_: object) -> None: ...


@pytest.mark.parametrize("callback", [None, print, len, check_seconds])
def test_a_plain_function_may_be_called_back(callback: object) -> None:
    check_callback(callback)


@pytest.mark.parametrize("callback", [coroutine_function, "print", 1])
def test_what_would_never_run_is_refused(callback: object) -> None:
    with pytest.raises(InvalidRequestError, match="on_outcome must be a plain function"):
        check_callback(callback)


# --- through the client


@pytest.mark.parametrize("wrong", [True, "1", 1.5, "1/../2", 0, -1, 2**63])
async def test_nothing_is_sent_for_a_wrong_id(wrong: Any) -> None:
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
