"""Errors: their class, their message, and whether the request may have taken effect."""

import copy
import json
import pickle
from collections.abc import Callable

import pytest

from tests.refusals import CLOSE_PATH, answer
from threecommas_async import errors
from threecommas_async.errors import (
    APIStatusError,
    AuthenticationError,
    ClientClosedError,
    CloseFailedError,
    ConfigurationError,
    Fate,
    InvalidRequestError,
    NotFoundError,
    OutcomeUnknownError,
    RateLimitError,
    RequestNotSentError,
    ResponseDecodeError,
    ThreeCommasError,
    fate_of_status,
)

# --- may it have taken effect?


@pytest.mark.parametrize("status_code", [301, 302, 307, 408, 500, 502, 503, 504, 599])
def test_ambiguous_status_may_have_taken_effect_if_the_call_is_unsafe(
    status_code: int,
) -> None:
    unsafe, safe = answer(status_code), answer(status_code, unsafe=False)
    assert unsafe.may_have_taken_effect
    assert "read the entity before repeating it" in str(unsafe)
    assert not safe.may_have_taken_effect
    assert "may have" not in str(safe)


@pytest.mark.parametrize("status_code", [400, 401, 403, 404, 409, 418, 422, 429])
@pytest.mark.parametrize("unsafe", [True, False])
def test_refusal_has_not_taken_effect(
    status_code: int,
    unsafe: bool,  # noqa: FBT001 - a column of the table
) -> None:
    error = answer(status_code, {"error": "some_code"}, unsafe=unsafe)
    assert not error.may_have_taken_effect
    assert "may have" not in str(error)


@pytest.mark.parametrize(
    "body",
    ["", "<html><h1>404 Not Found</h1></html>", "Not found", "[]", '"x"', '{"message": "x"}', "{"],
)
def test_404_of_a_gateway_may_have_taken_effect_if_the_call_is_unsafe(body: str) -> None:
    unsafe, safe = answer(404, body), answer(404, body, unsafe=False)
    for error in (unsafe, safe):
        assert type(error) is NotFoundError
        assert not error.from_api
        assert "something in between, not an answer of the API" in str(error)
    assert unsafe.may_have_taken_effect
    assert "read the entity before repeating it" in str(unsafe)
    assert not safe.may_have_taken_effect
    assert "may have" not in str(safe)


@pytest.mark.parametrize("status_code", [400, 404])
def test_not_found_of_the_api_has_not_taken_effect(status_code: int) -> None:
    error = answer(status_code, {"error": "Not found"})
    assert type(error) is NotFoundError
    assert error.from_api
    assert not error.may_have_taken_effect
    assert "in between" not in str(error)


def test_errors_without_an_answer_tell_whether_they_may_have_taken_effect() -> None:
    assert not ThreeCommasError("x").may_have_taken_effect
    assert not ConfigurationError("x").may_have_taken_effect
    assert not RequestNotSentError("x").may_have_taken_effect
    assert not InvalidRequestError("x").may_have_taken_effect
    assert OutcomeUnknownError("x").may_have_taken_effect
    assert not OutcomeUnknownError("x", may_have_taken_effect=False).may_have_taken_effect
    assert decode_error().may_have_taken_effect


def test_configuration_and_invalid_request_errors_are_value_errors() -> None:
    assert issubclass(ConfigurationError, ValueError)
    assert issubclass(InvalidRequestError, ValueError)
    assert issubclass(InvalidRequestError, RequestNotSentError)


# --- attributes


def test_error_keeps_every_field_of_the_answer() -> None:
    body = {
        "error": "record_invalid",
        "error_description": "Invalid parameters",
        "error_attributes": {"units": ["is too small", "is odd"], "pair": "is missing"},
    }
    error = answer(422, body)
    assert error.error == "record_invalid"
    assert error.error_description == "Invalid parameters"
    assert error.error_attributes == {
        "units": ("is too small", "is odd"),
        "pair": ("is missing",),
    }
    assert (error.method, error.path, error.request_id) == ("POST", CLOSE_PATH, "req-1")
    assert json.loads(error.body) == body


@pytest.mark.parametrize(
    "body", ["", "<html>Bad Gateway</html>", "[]", '"text"', "null", "5", '{"error": null}', "{"]
)
def test_body_without_an_error_object_is_kept_as_text(body: str) -> None:
    error = answer(502, body)
    assert error.error is None
    assert error.error_description is None
    assert error.error_attributes == {}
    assert error.body == body


@pytest.mark.parametrize(
    ("attributes", "read"),
    [
        (None, {}),
        ({}, {}),
        ("", {}),
        ("pair is missing", {"": ("pair is missing",)}),
        ({"pair": []}, {"pair": ()}),
        ({"pair": [1, None]}, {"pair": ("1", "None")}),
    ],
)
def test_error_attributes_of_any_shape_are_read(
    attributes: object, read: dict[str, tuple[str, ...]]
) -> None:
    error = answer(400, {"error": "record_invalid", "error_attributes": attributes})
    assert error.error_attributes == read


def test_error_code_that_is_not_a_string_is_kept_as_text() -> None:
    error = answer(400, {"error": 17, "error_description": ["a", "b"]})
    assert error.error == "17"
    assert error.error_description == "['a', 'b']"


# --- messages


def decode_error() -> ResponseDecodeError:
    return ResponseDecodeError(
        "SmartTrade.id: expected a value, got NoneType",
        status_code=201,
        method="POST",
        path=CLOSE_PATH,
        body="{}",
        request_id="req-1",
    )


@pytest.mark.parametrize(
    ("error", "facts", "advice"),
    [
        (
            answer(
                422,
                {
                    "error": "record_invalid",
                    "error_description": "Invalid parameters",
                    "error_attributes": {"units": ["is too small", "is odd"], "pair": "is bad"},
                },
            ),
            "422 record_invalid: Invalid parameters; units: is too small, is odd; pair: is bad",
            "",
        ),
        (
            answer(404, {"error": "Not found", "error_description": "Smart Trade not found"}),
            "404 Not found: Smart Trade not found",
            "",
        ),
        (
            answer(401, {"error": "signature_invalid"}),
            "401 signature_invalid",
            ". Check the key, its secret, and the addresses it is allowed from.",
        ),
        (
            answer(403, {"error": "access_denied"}),
            "403 access_denied",
            ". Check the key's permissions and the state of the entity.",
        ),
        (
            answer(429, {"error": "rate_limit"}),
            "429 rate_limit",
            ". Nothing is sent by this limiter until 2026-11-22 17:08:37 UTC.",
        ),
        (
            answer(429, {"error": "plan_limit"}),
            "429 plan_limit",
            ". The subscription plan does not allow this call; waiting does not help.",
        ),
        (
            answer(500, {"error": "unknown_error"}),
            "500 unknown_error",
            ". It may have taken effect all the same: read the entity before repeating it.",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, APIStatusError) else "",
)
def test_message_names_the_request_the_answer_and_the_advice(
    error: APIStatusError, facts: str, advice: str
) -> None:
    assert str(error) == f"POST {CLOSE_PATH}: {facts} [request req-1]{advice}"


def test_ban_message_warns_that_further_requests_prolong_the_ban() -> None:
    message = str(answer(418, {"error": "banned"}))
    assert message.endswith(
        "Nothing is sent by this limiter until 2026-11-22 17:08:37 UTC. "
        "Going on would make the ban longer."
    )


def test_message_omits_missing_facts() -> None:
    error = APIStatusError(status_code=409, method="GET", path="/a")
    assert str(error) == "GET /a: 409 without an error text"
    blocked = RateLimitError(status_code=429, method="GET", path="/a", error="rate_limit")
    assert blocked.retry_at is None
    assert str(blocked) == "GET /a: 429 rate_limit. Nothing is sent by this limiter."


@pytest.mark.parametrize(
    "body", ["", "  ", " <html>Down</html>", "[]", "null", '{"error": null}', '{"error": ""}']
)
def test_html_and_json_without_an_error_text_are_omitted_from_the_message(body: str) -> None:
    assert f"{CLOSE_PATH}: 502 without an error text" in str(answer(502, body))


def test_plain_text_body_is_shown_on_one_line() -> None:
    body = "Rate limit exceeded.\n  Next request at 2026-11-22 17:08:36 UTC."
    assert str(answer(429, body)) == (
        f"POST {CLOSE_PATH}: 429 Rate limit exceeded. Next request at 2026-11-22 17:08:36 UTC. "
        "[request req-1]. Nothing is sent by this limiter until 2026-11-22 17:08:37 UTC."
    )


def test_long_text_is_truncated_in_the_message() -> None:
    error = APIStatusError(status_code=409, method="GET", path="/a", body="x" * 10_000)
    assert str(error) == "GET /a: 409 " + "x" * 499 + "…"


def test_server_texts_are_bounded_and_printable_on_one_line() -> None:
    forged = "refused\r\n2026-01-01 INFO closed all\x1b[2K\u202e\ud800" + " x" * 1_000
    body = {
        "error": forged,
        "error_description": forged,
        "error_attributes": {f"{number}{forged}": [forged] * 100 for number in range(3)},
    }
    error = APIStatusError(
        status_code=422,
        method="GET",
        path="/a",
        body="x" * 1_000_000,
        error=answer(422, body).error,
        error_description=answer(422, body).error_description,
        error_attributes=answer(422, body).error_attributes,
        request_id=forged,
    )
    attributes = [*error.error_attributes, *sum(error.error_attributes.values(), ())]
    for text in (error.error, error.error_description, error.request_id, *attributes):
        assert text
        assert text.isprintable()
        assert len(text) == 500
        assert text.endswith("…")
    assert error.error
    assert error.error.startswith("refused 2026-01-01 INFO closed all [2K x x")
    assert len(attributes) == 3 + 3 * 5
    assert len(error.body) == 10_000
    assert str(error).isprintable()
    assert len(str(error)) < 3_000


def test_at_most_20_error_attributes_are_kept() -> None:
    error = answer(422, {"error": "x", "error_attributes": dict.fromkeys(map(str, range(99)), "y")})
    assert len(error.error_attributes) == 20


def test_leading_white_space_of_a_body_is_skipped() -> None:
    assert ": 502 down… [" in str(answer(502, "\n" * 5_000 + "down" + "\0" * 5_000 + "."))
    assert "without an error text" in str(answer(502, "\n" * 5_000 + "<html>down</html>"))


def test_reason_of_a_failed_close_is_bounded_and_on_one_line() -> None:
    error = CloseFailedError(7, "no\nfunds" + "!" * 1_000)
    assert str(error).isprintable()
    assert error.reason
    assert error.reason.startswith("no funds!")
    assert len(error.reason) == 500


def test_unparsable_body_is_kept_whole_and_its_message_is_one_line() -> None:
    body = "x" * 1_000_000
    error = ResponseDecodeError(
        "odd\n" * 1_000, status_code=201, method="GET", path="/a", body=body, request_id="a\nb"
    )
    assert error.body == body
    assert error.request_id == "a b"
    assert str(error).isprintable()
    assert len(str(error)) < 1_000


def test_full_stop_of_the_server_is_not_doubled() -> None:
    error = AuthenticationError(status_code=401, method="GET", path="/a", error="Wrong key.")
    assert str(error).startswith("GET /a: 401 Wrong key. Check the key")


def test_decode_error_of_an_unsafe_call_says_that_it_was_carried_out() -> None:
    assert str(decode_error()) == (
        f"POST {CLOSE_PATH}: answered 201, but the body cannot be understood "
        "(SmartTrade.id: expected a value, got NoneType); "
        "the server carried it out: do not repeat it, read the entity"
    )


def test_decode_error_of_a_read_says_that_nothing_changed() -> None:
    error = ResponseDecodeError(
        "not JSON", status_code=200, method="GET", path="/a", body="", may_have_taken_effect=False
    )
    assert not error.may_have_taken_effect
    assert str(error).endswith("(not JSON); it only reads, so nothing has changed")


@pytest.mark.parametrize(
    ("reason", "says"),
    [("Insufficient balance", "Insufficient balance"), (None, "the server gives no reason")],
)
def test_close_failed_message_names_trade_reason_and_advice(reason: str | None, says: str) -> None:
    error = CloseFailedError(7, reason)
    assert (error.trade_id, error.reason) == (7, reason)
    assert str(error) == (
        f"trade 7 ended in failure: {says}. What it held may still be on the exchange: look there."
    )


# --- pickling and copying

EVERY_ERROR: list[ThreeCommasError] = [
    ThreeCommasError("something"),
    ConfigurationError("secret is empty"),
    RequestNotSentError("no slot", available_in=12.5),
    ClientClosedError("closed"),
    InvalidRequestError("trade_id must be positive"),
    OutcomeUnknownError("no answer", method="GET", path="/a", may_have_taken_effect=False),
    decode_error(),
    CloseFailedError(7, "Insufficient balance"),
    answer(302),
    answer(400, {"error": "record_invalid", "error_attributes": {"pair": ["is bad"]}}),
    answer(401, {"error": "signature_invalid"}),
    answer(403, {"error": "access_denied"}),
    answer(404, {"error": "Not found"}),
    answer(418, {"error": "banned"}),
    answer(422, {"error": "record_invalid"}),
    answer(429, {"error": "rate_limit"}),
    answer(429, {"error": "plan_limit"}),
    answer(504),
]


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("copying", [pickle.dumps, copy.copy, copy.deepcopy])
def test_errors_survive_copying_and_pickling(
    error: ThreeCommasError, copying: Callable[[ThreeCommasError], object]
) -> None:
    copied = copying(error)
    if isinstance(copied, bytes):
        copied = pickle.loads(copied)  # noqa: S301 - our own bytes
    assert isinstance(copied, ThreeCommasError)
    assert copied is not error
    assert type(copied) is type(error)
    assert copied.args == error.args
    assert vars(copied) == vars(error)
    assert (str(copied), repr(copied)) == (str(error), repr(error))
    assert copied.may_have_taken_effect is error.may_have_taken_effect


def test_notes_of_an_error_survive_pickling() -> None:
    error = CloseFailedError(7, None)
    error.add_note("trade 7: failed")
    copied: object = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert isinstance(copied, CloseFailedError)
    assert copied.__notes__ == ["trade 7: failed"]


def test_every_public_error_is_in_the_list_above() -> None:
    public = {getattr(errors, name) for name in errors.__all__ if name.endswith("Error")}
    assert {type(error) for error in EVERY_ERROR} == public
    assert all(issubclass(cls, ThreeCommasError) for cls in public)


# --- fate


@pytest.mark.parametrize("status_code", [200, 201, 202, 204, 226, 299])
def test_fate_of_any_2xx_is_done(status_code: int) -> None:
    assert fate_of_status(status_code) is Fate.DONE


@pytest.mark.parametrize("status_code", [400, 401, 403, 404, 409, 418, 422, 429, 499])
def test_fate_of_a_refusal_is_rejected(status_code: int) -> None:
    assert fate_of_status(status_code) is Fate.REJECTED


@pytest.mark.parametrize("status_code", [100, 199, 300, 302, 307, 399, 408, 500, 502, 504, 599])
def test_fate_of_an_ambiguous_status_is_unknown(status_code: int) -> None:
    assert fate_of_status(status_code) is Fate.UNKNOWN


def test_fate_of_a_404_is_rejected_only_if_it_is_from_the_api() -> None:
    assert fate_of_status(404, from_api=True) is Fate.REJECTED
    assert fate_of_status(404, from_api=False) is Fate.UNKNOWN
    assert fate_of_status(403, from_api=False) is Fate.REJECTED
