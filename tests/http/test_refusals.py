"""The error class for each error answer."""

import pytest

from tests.refusals import CLOSE_PATH, RETRY_AT, answer
from threecommas_async.errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    IPBannedError,
    NotFoundError,
    PermissionDeniedError,
    PlanLimitError,
    RateLimitError,
    ServerError,
    UnprocessableEntityError,
)
from threecommas_async.http.refusals import api_status_error

# --- error classes


@pytest.mark.parametrize(
    ("status_code", "expected"),
    [
        (302, APIStatusError),
        (400, BadRequestError),
        (401, AuthenticationError),
        (402, APIStatusError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (408, APIStatusError),
        (409, APIStatusError),
        (418, IPBannedError),
        (422, UnprocessableEntityError),
        (429, RateLimitError),
        (500, ServerError),
        (502, ServerError),
        (504, ServerError),
        (599, ServerError),
    ],
)
def test_status_decides_the_error_class(status_code: int, expected: type[APIStatusError]) -> None:
    error = answer(status_code, {"error": "some_code"})
    assert type(error) is expected
    assert error.status_code == status_code


@pytest.mark.parametrize("spelling", ["Not found", "not_found", "NOT FOUND", " Not_Found "])
def test_not_found_with_status_400_is_a_not_found_error(spelling: str) -> None:
    assert type(answer(400, {"error": spelling})) is NotFoundError


@pytest.mark.parametrize("code", ["record_invalid", "Account not found in list", "", None])
def test_any_other_400_is_a_bad_request_error(code: str | None) -> None:
    assert type(answer(400, {"error": code})) is BadRequestError


def test_deeply_nested_body_gives_an_ordinary_error() -> None:
    error = answer(500, "[" * 100_000)
    assert type(error) is ServerError
    assert len(str(error)) < 200


def test_not_found_code_with_another_status_is_not_a_not_found_error() -> None:
    assert type(answer(422, {"error": "Not found"})) is UnprocessableEntityError


@pytest.mark.parametrize(
    "body",
    [
        {"error": "plan_limit"},
        {"error": "forbidden", "error_description": "Not available on your subscription"},
        {"error": "Upgrade your plan to use this endpoint"},
        {"error": "limit", "error_description": "Your TARIFF does not include API access"},
        {"error": "Subscribe to go on"},
        {
            "error": "forbidden",
            "error_description": "The request type 'write' is not available "
            "with your current subscription plan",
        },
        "The request type 'write' is not available with your current subscription plan",
    ],
)
def test_429_about_the_plan_is_a_plan_limit_error(body: object) -> None:
    error = answer(429, body)
    assert type(error) is PlanLimitError
    assert "waiting does not help" in str(error)
    assert not error.may_have_taken_effect


@pytest.mark.parametrize(
    "body",
    [
        "Rate limit exceeded. Next request at 2025-11-11 17:08:36 UTC",
        "<html><title>429 Too Many Requests</title></html>",
        "",
        {"error": "rate_limit_exceeded"},
        {"error": "Rate limit of your plan exceeded"},
        {"error": "too many requests", "error_description": "upgrade your subscription"},
        {"error": "limit", "error_description": "100 requests per minute on this plan"},
        {"error": "plan", "error_description": "Retry later"},
        {"error": "explanation"},
        {"error": "You exceeded the 100 requests/minute limit of your subscription"},
        {"error": "You exceeded the limit of 50 of your plan"},
        {"error": "Subscription allows 5 requests / min"},
        {"error": "Your plan is used up, wait 60 seconds"},
        "exceeded the 100 requests/minute limit of your subscription",
    ],
)
def test_429_about_the_rate_or_without_a_reason_is_a_rate_limit_error(body: object) -> None:
    error = answer(429, body)
    assert isinstance(error, RateLimitError)
    assert error.retry_at == RETRY_AT


def test_429_about_the_plan_that_names_a_time_is_a_rate_limit_error() -> None:
    error = api_status_error(
        status_code=429,
        method="POST",
        path=CLOSE_PATH,
        body='{"error": "Limit of your subscription"}',
        unsafe=True,
        retry_at=RETRY_AT,
        time_named=True,
    )
    assert isinstance(error, RateLimitError)
    assert error.retry_at == RETRY_AT


@pytest.mark.parametrize(
    "body",
    [
        {"error": "access_denied", "error_description": "Active subscription is required"},
        {"error": "active subscription is required"},
        "active subscription is required",
    ],
)
def test_403_about_the_subscription_is_a_plan_limit_error(body: object) -> None:
    error = answer(403, body)
    assert type(error) is PlanLimitError
    assert error.status_code == 403
    assert "waiting does not help" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        {"error": "access_denied", "error_description": "Api key doesn't have enough permissions"},
        {"error": "Api key not authorized for this action"},
        "<html>Forbidden by the plan of our firewall</html>",
        "",
    ],
)
def test_any_other_403_is_a_permission_denied_error(body: object) -> None:
    assert type(answer(403, body)) is PermissionDeniedError


def test_ban_error_has_the_time_at_which_it_ends() -> None:
    error = answer(418)
    assert isinstance(error, IPBannedError)
    assert error.retry_at == RETRY_AT
