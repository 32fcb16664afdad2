"""The lifecycle of a position: one close or cancellation, completed after its delay."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threecommas_async.sandbox.lifecycle import ACTIVE, TERMINAL, Lifecycle, Phase


def test_a_close_completes_after_its_delay() -> None:
    lifecycle = Lifecycle(delay=2.0)
    assert lifecycle.close(10.0)
    lifecycle.advance(10.9)
    assert (lifecycle.phase, lifecycle.ended_at) == (Phase.CLOSING, None)
    lifecycle.advance(11.9)
    assert (lifecycle.phase, lifecycle.ended_at) == (Phase.SELLING, None)
    lifecycle.advance(12.0)
    assert (lifecycle.phase, lifecycle.ended_at) == (Phase.CLOSED, 12.0)


def test_a_late_advance_still_records_when_the_close_completed() -> None:
    lifecycle = Lifecycle(delay=2.0)
    lifecycle.close(10.0)
    lifecycle.advance(500.0)
    assert lifecycle.ended_at == 12.0


def test_a_failing_close_ends_as_failed() -> None:
    lifecycle = Lifecycle(delay=1.0, fails=True)
    lifecycle.close(0.0)
    lifecycle.advance(1.0)
    assert lifecycle.phase is Phase.FAILED


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.OPEN])
def test_a_cancellation_ends_as_cancelled_even_if_a_close_would_fail(phase: Phase) -> None:
    lifecycle = Lifecycle(delay=1.0, fails=True, phase=phase)
    assert lifecycle.cancel(0.0)
    phases: list[Phase] = []
    for at in (0.9, 1.0):
        lifecycle.advance(at)
        phases.append(lifecycle.phase)
    assert phases == [Phase.CANCELLING, Phase.CANCELLED]


def test_only_an_open_position_can_be_closed() -> None:
    pending = Lifecycle(delay=1.0, phase=Phase.PENDING)
    assert not pending.close(0.0)
    assert pending.phase is Phase.PENDING
    cancelling = Lifecycle(delay=1.0)
    cancelling.cancel(0.0)
    assert not cancelling.close(0.5)


def test_changed_at_is_the_time_of_the_last_transition() -> None:
    lifecycle = Lifecycle(delay=1.0)
    changes = [lifecycle.changed_at]
    lifecycle.close(5.0)
    changes.append(lifecycle.changed_at)
    for at in (5.6, 9.0):
        lifecycle.advance(at)
        changes.append(lifecycle.changed_at)
    assert changes == [None, 5.0, 5.5, 6.0]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    ("first", "act"),
    [
        (Phase.OPEN, Lifecycle.close),
        (Phase.OPEN, Lifecycle.cancel),
        (Phase.PENDING, Lifecycle.cancel),
    ],
)
def test_at_returns_the_state_at_any_earlier_time(
    first: Phase, act: Callable[[Lifecycle, float], bool], *, fails: bool
) -> None:
    lifecycle, watched = (Lifecycle(delay=2.0, phase=first, fails=fails) for _ in range(2))
    seen: dict[float, tuple[Phase, float | None]] = {0.0: (first, None)}
    act(watched, 1.0)
    for at in (1.0, 1.9, 2.0, 2.9, 3.0, 9.0):
        watched.advance(at)
        seen[at] = watched.phase, watched.ended_at

    act(lifecycle, 1.0)
    lifecycle.advance(9.0)

    past = {at: lifecycle.at(at) for at in seen}
    assert {at: (then.phase, then.ended_at) for at, then in past.items()} == seen
    assert past[9.0] is lifecycle
    assert Lifecycle(delay=1.0).at(0.0) == Lifecycle(delay=1.0)


@given(st.lists(st.tuples(st.sampled_from(["close", "cancel", "advance"]), st.floats(0, 2))))
def test_only_one_close_or_cancellation_is_accepted(actions: list[tuple[str, float]]) -> None:
    lifecycle, now, accepted = Lifecycle(delay=1.0), 0.0, 0
    for action, pause in actions:
        now += pause
        if action == "advance":
            lifecycle.advance(now)
        else:
            accepted += lifecycle.close(now) if action == "close" else lifecycle.cancel(now)
    assert accepted == (any(action != "advance" for action, _ in actions))
    assert (lifecycle.phase in ACTIVE) != (lifecycle.phase in TERMINAL)
