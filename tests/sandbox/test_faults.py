"""Choice of the fault for a request, deterministic for a seed."""

from collections import Counter

import pytest

from threecommas_async.sandbox import Fault, Faults
from threecommas_async.sandbox.faults import MIXED, FaultInjector


def test_no_faults_are_injected_by_default() -> None:
    injector = FaultInjector(Faults(), seed=7)
    assert not any(injector.draw(id_, closes=True) for id_ in range(100))


def test_every_fault_has_a_rate_of_its_own() -> None:
    assert set(Faults().rates) == set(Fault) - {Fault.READ_LAG}  # has seconds instead of a rate
    for fault in Faults().rates:
        injector = FaultInjector(Faults(**{fault.value: 1.0}), seed=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        assert injector.draw(1, closes=True) is fault


def test_faults_are_injected_at_about_their_rate() -> None:
    injector = FaultInjector(Faults(reset_before=0.1, garbage_after=0.2), seed=7)
    counts = Counter(injector.draw(id_, closes=True) for id_ in range(10_000))
    assert counts[Fault.RESET_BEFORE] == pytest.approx(1000, rel=0.15)
    assert counts[Fault.GARBAGE_AFTER] == pytest.approx(2000, rel=0.15)
    assert counts[None] + counts[Fault.RESET_BEFORE] + counts[Fault.GARBAGE_AFTER] == 10_000


def test_the_throws_of_a_trade_do_not_depend_on_the_order_of_arrival() -> None:
    first, second = (FaultInjector(Faults.mixed(0.5), seed=7) for _ in range(2))
    forwards = {id_: first.draw(id_, closes=True) for id_ in range(100)}
    backwards = {id_: second.draw(id_, closes=True) for id_ in reversed(range(100))}
    assert forwards == backwards


def test_another_seed_gives_other_throws() -> None:
    one, other = (FaultInjector(Faults.mixed(0.5), seed) for seed in (1, 2))
    draws = [(one.draw(id_, closes=True), other.draw(id_, closes=True)) for id_ in range(100)]
    assert any(first is not second for first, second in draws)


def test_a_trade_gets_at_most_max_per_trade_faults() -> None:
    injector = FaultInjector(Faults(reset_before=1.0, max_per_trade=2), seed=7)
    draws = [injector.draw(1, closes=True) for _ in range(4)]
    assert draws == [Fault.RESET_BEFORE, Fault.RESET_BEFORE, None, None]
    assert injector.draw(2, closes=True) is Fault.RESET_BEFORE


def test_without_max_per_trade_a_trade_gets_any_number_of_faults() -> None:
    injector = FaultInjector(Faults(reset_before=1.0, max_per_trade=None), seed=7)
    assert all(injector.draw(1, closes=True) for _ in range(20))


def test_reads_get_no_faults_by_default() -> None:
    injector = FaultInjector(Faults(reset_before=1.0), seed=7)
    assert injector.draw(1, closes=False) is None


def test_reads_get_only_faults_of_the_before_kind() -> None:
    after = FaultInjector(Faults(reset_after=1.0, closes_only=False), seed=7)
    before = FaultInjector(Faults(reset_before=1.0, closes_only=False), seed=7)
    assert after.draw(1, closes=False) is None
    assert before.draw(1, closes=False) is Fault.RESET_BEFORE


def test_max_per_trade_does_not_apply_to_lists() -> None:
    injector = FaultInjector(Faults(reset_before=1.0, closes_only=False, max_per_trade=1), seed=7)
    assert [injector.draw(None, closes=False) for _ in range(3)] == [Fault.RESET_BEFORE] * 3


def test_a_mixed_rate_is_spread_over_the_faults_a_client_can_recover_from() -> None:
    faults = Faults.mixed(0.32, silence=0.1, max_per_trade=None, closes_only=False, slow=0.2)
    assert sum(faults.rates.values()) == pytest.approx(0.32)
    assert {fault for fault, rate in faults.rates.items() if rate} == set(MIXED)
    assert not set(MIXED) & {Fault.BAN, Fault.PLAN_REFUSAL, Fault.EARLY_429_JSON}
    assert (faults.silence, faults.slow, faults.max_per_trade) == (0.1, 0.2, None)
    assert not faults.closes_only


def test_rates_may_add_up_to_one_but_not_more() -> None:
    assert FaultInjector(Faults.mixed(1.0), seed=7).draw(1, closes=True) is not None
    with pytest.raises(ValueError, match="exceed 1"):
        Faults(reset_before=0.6, reset_after=0.6)
    with pytest.raises(ValueError, match="reset_before"):
        Faults(reset_before=-0.1)
    for never in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="read_lag"):
            Faults(read_lag=never)


def test_the_faults_of_a_seed_stay_the_same_between_versions() -> None:
    injector = FaultInjector(Faults.mixed(0.5), seed=7)
    drawn = [injector.draw(id_, closes=True) for id_ in range(12)]
    assert [fault and fault.value for fault in drawn] == [
        *("stale_before", "unavailable_after", "gateway_timeout_before", None, None, None),
        *("gateway_timeout_after", None, "reset_before", None, "truncated_after", None),
    ]


def test_a_fault_knows_whether_the_request_is_carried_out() -> None:
    assert Fault.RESET_AFTER.applied
    assert not Fault.RESET_BEFORE.applied
    assert not Fault.BAN.applied
