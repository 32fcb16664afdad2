"""The clock of the sandbox: its own seconds, real seconds, and dates."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.sandbox.harness import ManualClock
from threecommas_async.sandbox.clock import Clock


def test_the_clock_starts_at_zero_and_runs_at_its_scale() -> None:
    source = ManualClock()
    clock = Clock(source, scale=10)
    assert clock.now() == 0
    source.advance(1.5)
    assert clock.now() == 15
    assert clock.real(15) == 1.5


def test_the_date_follows_real_time() -> None:
    clock = Clock(ManualClock(), scale=10)
    assert clock.utc(100) - clock.utc(0) == timedelta(seconds=10)
    assert abs(clock.utc(0) - datetime.now(UTC)) < timedelta(seconds=5)
    assert clock.iso(0).endswith("Z")
    assert len(clock.iso(0)) == len("2026-01-05T09:30:00.000Z")


def test_the_end_of_a_block_is_rounded_up_to_a_whole_second_of_real_time() -> None:
    clock = Clock(ManualClock(), scale=10)
    before = datetime.now(UTC)
    end = clock.next_whole_second(300)
    assert end.microsecond == 0
    assert timedelta(seconds=30) <= end - before < timedelta(seconds=36)


@pytest.mark.parametrize("scale", [0, -1, float("nan")])
def test_a_scale_that_is_not_positive_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="time_scale"):
        Clock(ManualClock(), scale)
