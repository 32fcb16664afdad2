"""The report: one outcome for every id, in order, and the leftovers."""

import copy
import pickle

import attrs
import pytest

from threecommas_async import (
    CloseFailedError,
    CloseOutcome,
    CloseReport,
    CloseState,
    NotFoundError,
    OutcomeUnknownError,
    RequestNotSentError,
)
from threecommas_async.errors import InvalidRequestError

ACCEPTED = CloseOutcome(30, CloseState.ACCEPTED, trade="trade 30", attempts=1, elapsed=0.5)
CLOSED = CloseOutcome(10, CloseState.CLOSED, trade="trade 10", attempts=2, elapsed=2.0)
ALREADY = CloseOutcome(20, CloseState.ALREADY_CLOSED, trade="trade 20")
STOPPED = RequestNotSentError("no slot before the deadline", available_in=12.0)
NOT_SENT = CloseOutcome[str](40, CloseState.NOT_SENT, error=STOPPED)
NOT_SENT_EITHER = CloseOutcome[str](60, CloseState.NOT_SENT, error=STOPPED)
FAILED = CloseOutcome(50, CloseState.FAILED, error=CloseFailedError(50, "no balance"), trade="t")
WITHOUT_ERROR = CloseOutcome[str](70, CloseState.UNKNOWN)

GOOD = CloseReport((ACCEPTED, CLOSED, ALREADY))
MIXED = CloseReport((ACCEPTED, NOT_SENT, CLOSED, FAILED, NOT_SENT_EITHER))
EMPTY = CloseReport[str](())


@pytest.mark.parametrize("state", CloseState)
def test_outcome_is_ok_if_the_trade_is_closing_or_closed(state: CloseState) -> None:
    settled = {CloseState.ACCEPTED, CloseState.CLOSED, CloseState.ALREADY_CLOSED}
    assert CloseOutcome[str](1, state).ok is (state in settled)


def test_outcome_defaults_are_empty() -> None:
    assert CloseOutcome[str](1, CloseState.UNKNOWN) == CloseOutcome[str](
        1, CloseState.UNKNOWN, trade=None, error=None, attempts=0, elapsed=0.0
    )


def test_repr_of_an_outcome_omits_its_trade() -> None:
    assert "trade 30" not in repr(ACCEPTED)
    assert "trade_id=30" in repr(ACCEPTED)
    assert "ACCEPTED" in repr(ACCEPTED)


def test_report_keeps_the_order_of_the_ids() -> None:
    assert [outcome.trade_id for outcome in MIXED] == [30, 40, 10, 50, 60]
    assert MIXED.outcomes == tuple(MIXED)
    assert len(MIXED) == 5


def test_report_gives_an_outcome_by_its_id() -> None:
    assert MIXED[50] is FAILED
    assert 50 in MIXED
    assert 51 not in MIXED
    assert "50" not in MIXED
    with pytest.raises(KeyError):
        MIXED[51]


def test_counts_of_a_report_are_zero_for_absent_states() -> None:
    assert MIXED.counts == {
        CloseState.ACCEPTED: 1,
        CloseState.CLOSED: 1,
        CloseState.NOT_SENT: 2,
        CloseState.FAILED: 1,
    }
    assert MIXED.counts[CloseState.UNKNOWN] == 0
    assert sum(MIXED.counts[state] for state in CloseState) == len(MIXED)


def test_leftovers_are_the_ids_to_close_again_in_order() -> None:
    assert MIXED.leftovers == (40, 50, 60)
    assert GOOD.leftovers == ()


@pytest.mark.parametrize(
    ("report", "ok"), [(GOOD, True), (MIXED, False), (EMPTY, True)], ids=["good", "mixed", "empty"]
)
def test_report_is_ok_if_all_outcomes_are_ok(
    report: CloseReport[str],
    ok: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert report.ok is ok


def test_report_without_outcomes_is_empty() -> None:
    assert len(EMPTY) == 0
    assert list(EMPTY) == []
    assert EMPTY.counts == {}
    assert EMPTY.leftovers == ()


def test_reports_are_frozen_and_compare_by_their_outcomes() -> None:
    assert CloseReport((ACCEPTED, CLOSED)) == CloseReport((ACCEPTED, CLOSED))
    assert CloseReport((ACCEPTED, CLOSED)) != CloseReport((CLOSED, ACCEPTED))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(GOOD, "outcomes", ())  # noqa: B010 - a type checker would reject it
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(ACCEPTED, "state", CloseState.FAILED)  # noqa: B010 - same


def test_report_survives_pickling() -> None:
    copied: object = pickle.loads(pickle.dumps(GOOD))  # noqa: S301 - our own bytes
    assert copied == GOOD
    assert isinstance(copied, CloseReport)
    assert copied[10].state is CloseState.CLOSED


def test_report_with_an_unlisted_error_is_not_ok() -> None:
    assert not attrs.evolve(GOOD, unlisted=STOPPED).ok
    assert not attrs.evolve(EMPTY, unlisted=STOPPED).ok


# --- raise_for_failures


def test_raise_for_failures_of_an_ok_report_raises_nothing() -> None:
    GOOD.raise_for_failures()
    EMPTY.raise_for_failures()


def test_raise_for_failures_raises_each_error_with_a_note_of_trade_and_state() -> None:
    with pytest.raises(ExceptionGroup, match="3 of 5 not known to be closing or closed") as caught:
        MIXED.raise_for_failures()
    errors = caught.value.exceptions
    assert [type(error) for error in errors] == [
        RequestNotSentError,
        CloseFailedError,
        RequestNotSentError,
    ]
    assert [error.__notes__ for error in errors] == [
        ["40: not_sent"],
        ["50: failed"],
        ["60: not_sent"],
    ]
    first = errors[0]
    assert isinstance(first, RequestNotSentError)
    assert (str(first), first.available_in) == ("no slot before the deadline", 12.0)


def test_raise_for_failures_does_not_change_an_error_shared_by_many_outcomes() -> None:
    shared = RequestNotSentError("stopped")
    before = copy.deepcopy(vars(shared))
    report = CloseReport(
        tuple(CloseOutcome[str](i, CloseState.NOT_SENT, error=shared) for i in range(1, 4))
    )
    for _ in range(2):
        with pytest.raises(ExceptionGroup) as caught:
            report.raise_for_failures()
        assert [e.__notes__ for e in caught.value.exceptions] == [
            ["1: not_sent"],
            ["2: not_sent"],
            ["3: not_sent"],
        ]
    assert vars(shared) == before
    assert shared.__traceback__ is None


def test_failure_without_an_error_raises_outcome_unknown() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        CloseReport((WITHOUT_ERROR,)).raise_for_failures()
    (error,) = caught.value.exceptions
    assert isinstance(error, OutcomeUnknownError)
    assert error.may_have_taken_effect
    assert error.__notes__ == ["70: unknown"]


def test_failures_can_be_caught_by_type() -> None:
    gone = NotFoundError(status_code=404, method="POST", path="/a", error="Not found")
    report = CloseReport((NOT_SENT, CloseOutcome[str](80, CloseState.NOT_FOUND, error=gone)))
    kinds: list[type[BaseException]] = []
    try:
        report.raise_for_failures()
    except* NotFoundError as group:
        kinds += [type(error) for error in group.exceptions]
    except* RequestNotSentError as group:
        kinds += [type(error) for error in group.exceptions]
    assert kinds == [NotFoundError, RequestNotSentError]


def test_report_with_an_unmatched_error_is_not_ok() -> None:
    unmatched = InvalidRequestError("no open trade passes the filters; open are USDT_BTC")
    report = attrs.evolve(EMPTY, unmatched=unmatched)
    assert not report.ok
    with pytest.raises(ExceptionGroup, match="no open trade passes the filters") as caught:
        report.raise_for_failures()
    assert caught.value.exceptions == (unmatched,)


def test_skipped_trades_do_not_count_in_a_report() -> None:
    report = attrs.evolve(GOOD, skipped=(NOT_SENT,))
    assert report.ok
    assert (len(report), report.leftovers, report.counts) == (len(GOOD), (), GOOD.counts)
    assert NOT_SENT.trade_id not in report
    report.raise_for_failures()


def test_raise_for_failures_includes_the_unlisted_error() -> None:
    with pytest.raises(ExceptionGroup, match=r"0 of 3 not known .* whether others are") as caught:
        attrs.evolve(GOOD, unlisted=STOPPED).raise_for_failures()
    assert caught.value.exceptions == (STOPPED,)
    with pytest.raises(ExceptionGroup, match=r"3 of 5 not known .* whether others are") as caught:
        attrs.evolve(MIXED, unlisted=STOPPED).raise_for_failures()
    assert len(caught.value.exceptions) == 4
