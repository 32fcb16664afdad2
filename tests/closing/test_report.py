"""The report: one outcome for every id, in order, and what is left to do."""

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
def test_an_outcome_is_ok_when_the_trade_is_closing_or_closed(state: CloseState) -> None:
    settled = {CloseState.ACCEPTED, CloseState.CLOSED, CloseState.ALREADY_CLOSED}
    assert CloseOutcome[str](1, state).ok is (state in settled)


def test_an_outcome_without_more_is_bare() -> None:
    assert CloseOutcome[str](1, CloseState.UNKNOWN) == CloseOutcome[str](
        1, CloseState.UNKNOWN, trade=None, error=None, attempts=0, elapsed=0.0
    )


def test_an_outcome_leaves_its_trade_out_of_its_text() -> None:
    assert "trade 30" not in repr(ACCEPTED)
    assert "trade_id=30" in repr(ACCEPTED)
    assert "ACCEPTED" in repr(ACCEPTED)


def test_a_report_keeps_the_order_of_the_ids() -> None:
    assert [outcome.trade_id for outcome in MIXED] == [30, 40, 10, 50, 60]
    assert MIXED.outcomes == tuple(MIXED)
    assert len(MIXED) == 5


def test_an_outcome_is_found_by_its_id() -> None:
    assert MIXED[50] is FAILED
    assert 50 in MIXED
    assert 51 not in MIXED
    assert "50" not in MIXED
    with pytest.raises(KeyError):
        MIXED[51]


def test_states_are_counted_and_one_that_did_not_occur_counts_nought() -> None:
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
def test_a_report_is_ok_when_all_are(
    report: CloseReport[str],
    ok: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert report.ok is ok


def test_a_report_of_nothing_is_empty() -> None:
    assert len(EMPTY) == 0
    assert list(EMPTY) == []
    assert EMPTY.counts == {}
    assert EMPTY.leftovers == ()


def test_reports_are_frozen_and_equal_by_their_outcomes() -> None:
    assert CloseReport((ACCEPTED, CLOSED)) == CloseReport((ACCEPTED, CLOSED))
    assert CloseReport((ACCEPTED, CLOSED)) != CloseReport((CLOSED, ACCEPTED))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(GOOD, "outcomes", ())  # noqa: B010 - a type checker would not let us
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(ACCEPTED, "state", CloseState.FAILED)  # noqa: B010 - same


def test_a_report_is_pickled_whole() -> None:
    copied: object = pickle.loads(pickle.dumps(GOOD))  # noqa: S301 - our own bytes
    assert copied == GOOD
    assert isinstance(copied, CloseReport)
    assert copied[10].state is CloseState.CLOSED


def test_a_report_that_could_not_look_for_others_is_not_ok() -> None:
    assert not attrs.evolve(GOOD, unlisted=STOPPED).ok
    assert not attrs.evolve(EMPTY, unlisted=STOPPED).ok


# --- raise_for_failures


def test_nothing_is_raised_when_all_went_well() -> None:
    GOOD.raise_for_failures()
    EMPTY.raise_for_failures()


def test_each_failure_is_raised_with_a_note_that_names_trade_and_state() -> None:
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


def test_an_error_shared_by_many_outcomes_is_not_changed() -> None:
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


def test_a_failure_without_an_error_is_of_unknown_outcome() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        CloseReport((WITHOUT_ERROR,)).raise_for_failures()
    (error,) = caught.value.exceptions
    assert isinstance(error, OutcomeUnknownError)
    assert error.may_have_taken_effect
    assert error.__notes__ == ["70: unknown"]


def test_failures_can_be_caught_by_kind() -> None:
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


def test_filters_that_match_nothing_are_no_success() -> None:
    unmatched = InvalidRequestError("no open trade passes the filters; open are USDT_BTC")
    report = attrs.evolve(EMPTY, unmatched=unmatched)
    assert not report.ok
    with pytest.raises(ExceptionGroup, match="no open trade passes the filters") as caught:
        report.raise_for_failures()
    assert caught.value.exceptions == (unmatched,)


def test_what_was_left_alone_counts_for_nothing() -> None:
    report = attrs.evolve(GOOD, skipped=(NOT_SENT,))
    assert report.ok
    assert (len(report), report.leftovers, report.counts) == (len(GOOD), (), GOOD.counts)
    assert NOT_SENT.trade_id not in report
    report.raise_for_failures()


def test_why_others_could_not_be_looked_for_is_raised_too() -> None:
    with pytest.raises(ExceptionGroup, match=r"0 of 3 not known .* whether others are") as caught:
        attrs.evolve(GOOD, unlisted=STOPPED).raise_for_failures()
    assert caught.value.exceptions == (STOPPED,)
    with pytest.raises(ExceptionGroup, match=r"3 of 5 not known .* whether others are") as caught:
        attrs.evolve(MIXED, unlisted=STOPPED).raise_for_failures()
    assert len(caught.value.exceptions) == 4
