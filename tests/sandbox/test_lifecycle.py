"""The life of a position: accepted once, over after its delay, whoever looks and whenever."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threecommas_async.sandbox.lifecycle import ACTIVE, OVER, Life, Phase


def test_a_close_is_over_after_its_delay_and_not_before() -> None:
    life = Life(delay=2.0)
    assert life.close(10.0)
    life.settle(10.9)
    assert (life.phase, life.ended_at) == (Phase.CLOSING, None)
    life.settle(11.9)
    assert (life.phase, life.ended_at) == (Phase.SELLING, None)
    life.settle(12.0)
    assert (life.phase, life.ended_at) == (Phase.CLOSED, 12.0)


def test_who_looks_late_sees_the_time_at_which_it_was_over() -> None:
    life = Life(delay=2.0)
    life.close(10.0)
    life.settle(500.0)
    assert life.ended_at == 12.0


def test_some_closes_end_in_failure() -> None:
    life = Life(delay=1.0, fails=True)
    life.close(0.0)
    life.settle(1.0)
    assert life.phase is Phase.FAILED


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.OPEN])
def test_a_cancellation_ends_as_cancelled_also_for_who_would_fail(phase: Phase) -> None:
    life = Life(delay=1.0, fails=True, phase=phase)
    assert life.cancel(0.0)
    phases: list[Phase] = []
    for at in (0.9, 1.0):
        life.settle(at)
        phases.append(life.phase)
    assert phases == [Phase.CANCELLING, Phase.CANCELLED]


def test_what_is_not_open_is_not_closed() -> None:
    pending = Life(delay=1.0, phase=Phase.PENDING)
    assert not pending.close(0.0)
    assert pending.phase is Phase.PENDING
    cancelling = Life(delay=1.0)
    cancelling.cancel(0.0)
    assert not cancelling.close(0.5)


def test_the_last_change_is_known() -> None:
    life = Life(delay=1.0)
    changes = [life.changed_at]
    life.close(5.0)
    changes.append(life.changed_at)
    for at in (5.6, 9.0):
        life.settle(at)
        changes.append(life.changed_at)
    assert changes == [None, 5.0, 5.5, 6.0]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    ("first", "act"),
    [(Phase.OPEN, Life.close), (Phase.OPEN, Life.cancel), (Phase.PENDING, Life.cancel)],
)
def test_a_life_can_be_seen_as_it_stood_at_any_time(
    first: Phase, act: Callable[[Life, float], bool], *, fails: bool
) -> None:
    life, watched = (Life(delay=2.0, phase=first, fails=fails) for _ in range(2))
    seen: dict[float, tuple[Phase, float | None]] = {0.0: (first, None)}
    act(watched, 1.0)
    for at in (1.0, 1.9, 2.0, 2.9, 3.0, 9.0):
        watched.settle(at)
        seen[at] = watched.phase, watched.ended_at

    act(life, 1.0)
    life.settle(9.0)

    past = {at: life.at(at) for at in seen}
    assert {at: (then.phase, then.ended_at) for at, then in past.items()} == seen
    assert past[9.0] is life
    assert Life(delay=1.0).at(0.0) == Life(delay=1.0)


@given(st.lists(st.tuples(st.sampled_from(["close", "cancel", "look"]), st.floats(0, 2))))
def test_whatever_is_asked_of_it_a_life_is_accepted_once(actions: list[tuple[str, float]]) -> None:
    life, now, accepted = Life(delay=1.0), 0.0, 0
    for action, pause in actions:
        now += pause
        if action == "look":
            life.settle(now)
        else:
            accepted += life.close(now) if action == "close" else life.cancel(now)
    assert accepted == (any(action != "look" for action, _ in actions))
    assert (life.phase in ACTIVE) != (life.phase in OVER)
