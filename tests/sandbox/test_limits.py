"""Rate limits in virtual time: windows, penalties, blocks and bans."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threecommas_async.sandbox import Cause, RateLimit
from threecommas_async.sandbox.limits import MAX_BAN, Limiter, Refusal


def flood(limiter: Limiter, requests: int, *, at: float = 0.0) -> list[Refusal | None]:
    return [limiter.arrive(at) for _ in range(requests)]


def test_exceeding_the_limit_starts_the_penalty() -> None:
    limiter = Limiter(RateLimit(requests=3, window=60, penalty=300))
    assert flood(limiter, 3) == [None] * 3
    assert limiter.arrive(59.9) == Refusal(429, Cause.LIMIT, 359.9)


def test_requests_during_a_penalty_are_refused_and_do_not_prolong_it() -> None:
    limiter = Limiter(RateLimit(requests=1, window=1, penalty=300))
    flood(limiter, 2)
    assert limiter.arrive(299.9) == Refusal(429, Cause.PENALTY, 300.0)
    assert limiter.arrive(300.9) is None


def test_refused_requests_count_in_the_window() -> None:
    limiter = Limiter(RateLimit(requests=1, window=60, penalty=10))
    flood(limiter, 2)
    assert limiter.arrive(10.0) == Refusal(429, Cause.LIMIT, 20.0)


def test_a_rolling_window_drops_a_request_after_its_span() -> None:
    limiter = Limiter(RateLimit(requests=2, window=60))
    assert [limiter.arrive(t) for t in (0.0, 30.0, 60.0, 90.0)] == [None] * 4
    assert limiter.arrive(119.9) is not None


def test_a_fixed_window_starts_with_a_request_and_drops_all_at_its_end() -> None:
    limiter = Limiter(RateLimit(requests=2, window=60, policy="fixed"))
    assert [limiter.arrive(t) for t in (5.0, 64.9, 65.0, 65.1)] == [None] * 4
    assert limiter.arrive(124.9) == Refusal(429, Cause.LIMIT, 424.9)


@given(
    st.lists(st.integers(0, 40), max_size=60).map(sorted),
    st.integers(1, 5),
    st.integers(1, 20),
)
def test_a_rolling_window_agrees_with_a_direct_count(
    times: list[int], requests: int, window: int
) -> None:
    limiter = Limiter(RateLimit(requests=requests, window=window, penalty=0))
    for number, now in enumerate(times):
        held = sum(now - window < earlier <= now for earlier in times[: number + 1])
        assert (limiter.arrive(now) is not None) == (held > requests)


@given(st.lists(st.integers(0, 40), max_size=60).map(sorted), st.integers(1, 5))
def test_a_fixed_window_agrees_with_a_direct_count(times: list[int], requests: int) -> None:
    limiter = Limiter(RateLimit(requests=requests, window=10, penalty=0, policy="fixed"))
    window: list[int] = []
    for now in times:
        if window and now >= window[0] + 10:
            window = []
        window.append(now)
        assert (limiter.arrive(now) is not None) == (len(window) > requests)


def test_repeated_requests_during_a_penalty_cause_ever_longer_bans() -> None:
    limiter = Limiter(RateLimit(requests=1, window=1, penalty=300, ban_after=3, ban=120))
    statuses = [r.status for r in flood(limiter, 6) if r]
    assert statuses == [429, 429, 429, 418, 418]
    assert limiter.arrive(119.9) == Refusal(418, Cause.BAN, 120.0)
    flood(limiter, 3, at=400.0)
    assert limiter.arrive(400.0) == Refusal(429, Cause.PENALTY, 700.0)
    assert limiter.arrive(400.0) == Refusal(418, Cause.BAN, 640.0)


def test_a_ban_lasts_three_days_at_most() -> None:
    limiter = Limiter(RateLimit(requests=1, window=1, ban_after=1, ban=1e9))
    flood(limiter, 3)
    assert limiter.arrive(1.0) == Refusal(418, Cause.BAN, MAX_BAN)


def test_a_new_breach_resets_the_count_of_offences() -> None:
    limiter = Limiter(RateLimit(requests=1, window=1, penalty=10, ban_after=3))
    flood(limiter, 4)
    causes = [r.cause for r in flood(limiter, 4, at=20.0) if r]
    assert causes == [Cause.LIMIT, Cause.PENALTY, Cause.PENALTY]


@pytest.mark.parametrize(
    ("operation", "requests", "penalty"),
    [("list_smart_trades", 40, 10.0), ("list_deals", 120, 60.0), ("get_deal", 120, 60.0)],
)
def test_endpoints_have_limits_of_their_own(operation: str, requests: int, penalty: float) -> None:
    limiter = Limiter(RateLimit(requests=1000))
    assert [limiter.arrive(0.0, operation) for _ in range(requests)] == [None] * requests
    assert limiter.arrive(0.0, operation) == Refusal(429, Cause.LIMIT, penalty)
    assert limiter.arrive(0.0, "get_smart_trade") is None


def test_endpoint_limits_can_be_disabled() -> None:
    limiter = Limiter(RateLimit(requests=1000, endpoints=False))
    assert not any(limiter.arrive(0.0, "list_smart_trades") for _ in range(100))


def test_the_longest_block_and_the_most_severe_cause_win() -> None:
    limiter = Limiter(RateLimit(requests=1, window=60, penalty=5))
    limiter.arrive(0.0)
    limiter.block(100.0)
    assert limiter.arrive(0.0) == Refusal(429, Cause.LIMIT, 100.0)
    assert limiter.arrive(50.0) == Refusal(429, Cause.LIMIT, 100.0)
    assert limiter.arrive(52.0) == Refusal(429, Cause.PENALTY, 100.0)


def test_without_a_limit_only_blocks_and_bans_refuse() -> None:
    limiter = Limiter(None)
    assert not any(flood(limiter, 1000))
    limiter.block(10.0)
    assert limiter.arrive(9.0) == Refusal(429, Cause.BLOCK, 10.0)
    assert limiter.arrive(10.0) is None
    limiter.ban(20.0)
    assert limiter.arrive(19.0) == Refusal(418, Cause.BAN, 20.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"requests": 0},
        {"window": 0.0},
        {"penalty": -1.0},
        {"policy": "sliding"},
        {"ban_after": 0},
        {"bodies": ()},
        {"bodies": ("xml",)},
    ],
)
def test_an_invalid_limit_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RateLimit(**wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
