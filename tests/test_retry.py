"""Retry decisions: pure functions, tested with tables."""

import math
from typing import Any

import pytest

from threecommas_async.endpoint import Safety
from threecommas_async.errors import (
    BadRequestError,
    ConfigurationError,
    IPBannedError,
    NotFoundError,
    OutcomeUnknownError,
    PlanLimitError,
    RateLimitError,
    RequestNotSentError,
    ResponseDecodeError,
    ServerError,
    ThreeCommasError,
)
from threecommas_async.retry import RetryPolicy, next_delay

SAFE, UNSAFE = Safety.SAFE, Safety.UNSAFE


# --- RetryPolicy


def test_default_retry_policy() -> None:
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
def test_invalid_retry_policy_is_refused(name: str, value: float) -> None:
    settings: dict[str, Any] = {name: value}
    with pytest.raises(ConfigurationError, match=f"^RetryPolicy: {name} must be"):
        RetryPolicy(**settings)


def test_retry_policy_accepts_its_extreme_values() -> None:
    policy = RetryPolicy(attempts=1, backoff=0, max_backoff=0, jitter=0, rate_limit_waits=0)
    assert policy.pause(1) == 0
    assert RetryPolicy(jitter=1).pause(1, chance=1) == 0


def test_pauses_double_up_to_max_backoff() -> None:
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


def test_pauses_are_random_within_the_jitter() -> None:
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
def test_next_delay_by_safety_error_and_attempts(
    safety: Safety, error: ThreeCommasError, attempts: int, delay: float | None
) -> None:
    assert next_delay(POLICY, safety, error, attempts, refusals=0) == delay


@pytest.mark.parametrize("safety", list(Safety))
@pytest.mark.parametrize(("refusals", "delay"), [(1, 0.0), (2, 0.0), (3, None)])
def test_next_delay_of_a_429_depends_on_the_refusals_and_not_on_the_attempts(
    safety: Safety, refusals: int, delay: float | None
) -> None:
    for attempts in (0, POLICY.attempts):
        assert next_delay(POLICY, safety, RATE, attempts, refusals) == delay


def test_next_delay_of_the_first_429_is_none_without_rate_limit_waits() -> None:
    assert next_delay(RetryPolicy(rate_limit_waits=0), SAFE, RATE, 0, refusals=1) is None
