"""The dice: which request meets which fault, for the same seed always the same."""

from collections import Counter

import pytest

from threecommas_async.sandbox import Fault, Faults
from threecommas_async.sandbox.faults import MIXED, Dice


def test_nothing_goes_wrong_unless_asked_for() -> None:
    dice = Dice(Faults(), seed=7)
    assert not any(dice.throw(id_, closes=True) for id_ in range(100))


def test_every_fault_has_a_rate_of_its_own() -> None:
    assert set(Faults().rates) == set(Fault) - {Fault.READ_LAG}  # which has seconds
    for fault in Faults().rates:
        dice = Dice(Faults(**{fault.value: 1.0}), seed=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        assert dice.throw(1, closes=True) is fault


def test_faults_strike_about_as_often_as_asked_for() -> None:
    dice = Dice(Faults(reset_before=0.1, garbage_after=0.2), seed=7)
    hits = Counter(dice.throw(id_, closes=True) for id_ in range(10_000))
    assert hits[Fault.RESET_BEFORE] == pytest.approx(1000, rel=0.15)
    assert hits[Fault.GARBAGE_AFTER] == pytest.approx(2000, rel=0.15)
    assert hits[None] + hits[Fault.RESET_BEFORE] + hits[Fault.GARBAGE_AFTER] == 10_000


def test_the_throws_of_a_trade_do_not_depend_on_the_order_of_arrival() -> None:
    there, back = (Dice(Faults.mixed(0.5), seed=7) for _ in range(2))
    forwards = {id_: there.throw(id_, closes=True) for id_ in range(100)}
    backwards = {id_: back.throw(id_, closes=True) for id_ in reversed(range(100))}
    assert forwards == backwards


def test_another_seed_gives_other_throws() -> None:
    one, other = (Dice(Faults.mixed(0.5), seed) for seed in (1, 2))
    throws = [(one.throw(id_, closes=True), other.throw(id_, closes=True)) for id_ in range(100)]
    assert any(first is not second for first, second in throws)


def test_a_trade_is_spared_after_so_many_faults() -> None:
    dice = Dice(Faults(reset_before=1.0, max_per_trade=2), seed=7)
    throws = [dice.throw(1, closes=True) for _ in range(4)]
    assert throws == [Fault.RESET_BEFORE, Fault.RESET_BEFORE, None, None]
    assert dice.throw(2, closes=True) is Fault.RESET_BEFORE


def test_no_trade_is_spared_without_a_maximum() -> None:
    dice = Dice(Faults(reset_before=1.0, max_per_trade=None), seed=7)
    assert all(dice.throw(1, closes=True) for _ in range(20))


def test_reads_are_left_alone_unless_asked_for() -> None:
    dice = Dice(Faults(reset_before=1.0), seed=7)
    assert dice.throw(1, closes=False) is None


def test_reads_meet_only_the_faults_that_leave_a_request_undone() -> None:
    after = Dice(Faults(reset_after=1.0, closes_only=False), seed=7)
    before = Dice(Faults(reset_before=1.0, closes_only=False), seed=7)
    assert after.throw(1, closes=False) is None
    assert before.throw(1, closes=False) is Fault.RESET_BEFORE


def test_lists_are_never_spared_for_they_are_no_trade() -> None:
    dice = Dice(Faults(reset_before=1.0, closes_only=False, max_per_trade=1), seed=7)
    assert [dice.throw(None, closes=False) for _ in range(3)] == [Fault.RESET_BEFORE] * 3


def test_a_mixed_rate_is_spread_over_what_a_client_can_get_through() -> None:
    faults = Faults.mixed(0.32, silence=0.1, max_per_trade=None, closes_only=False, slow=0.2)
    assert sum(faults.rates.values()) == pytest.approx(0.32)
    assert {fault for fault, rate in faults.rates.items() if rate} == set(MIXED)
    assert not set(MIXED) & {Fault.BAN, Fault.PLAN_REFUSAL, Fault.EARLY_429_JSON}
    assert (faults.silence, faults.slow, faults.max_per_trade) == (0.1, 0.2, None)
    assert not faults.closes_only


def test_everything_may_go_wrong_but_not_more() -> None:
    assert Dice(Faults.mixed(1.0), seed=7).throw(1, closes=True) is not None
    with pytest.raises(ValueError, match="exceed 1"):
        Faults(reset_before=0.6, reset_after=0.6)
    with pytest.raises(ValueError, match="reset_before"):
        Faults(reset_before=-0.1)
    for never in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="read_lag"):
            Faults(read_lag=never)


def test_what_is_asked_for_by_name_leaves_the_throws_of_older_seeds_as_they_were() -> None:
    dice = Dice(Faults.mixed(0.5), seed=7)
    struck = [dice.throw(id_, closes=True) for id_ in range(12)]
    assert [fault and fault.value for fault in struck] == [
        *("stale_before", "unavailable_after", "gateway_timeout_before", None, None, None),
        *("gateway_timeout_after", None, "reset_before", None, "truncated_after", None),
    ]


def test_a_fault_knows_whether_the_request_is_carried_out_before_it_strikes() -> None:
    assert Fault.RESET_AFTER.applied
    assert not Fault.RESET_BEFORE.applied
    assert not Fault.BAN.applied
