"""The text of the progress, and how it is displayed."""

import asyncio
import sys

import pytest
from attrs import evolve

from tests.cli.conftest import Terminal
from threecommas_async import (
    CloseOutcome,
    CloseState,
    OutcomeUnknownError,
    RequestNotSentError,
    SmartTrade,
    ThreeCommasError,
)
from threecommas_async.cli.limiter import TrackingLimiter
from threecommas_async.cli.output import Output
from threecommas_async.cli.progress import CloseProgress
from threecommas_async.cli.traffic import TrafficMonitor
from threecommas_async.endpoint import Priority
from threecommas_async.errors import Fate
from threecommas_async.hooks import AttemptEnded, Blocked

ACCEPTED = CloseOutcome[SmartTrade](1, CloseState.ACCEPTED, attempts=1)
NOT_SENT = CloseOutcome[SmartTrade](
    2, CloseState.NOT_SENT, error=RequestNotSentError("no slot"), attempts=1
)


def control_characters(text: str) -> set[str]:
    return {c for c in text if not c.isprintable() and c != "\n"}


def new_progress(
    limiter: TrackingLimiter, total: int, deadline: float | None = None
) -> tuple[CloseProgress, TrafficMonitor]:
    traffic = TrafficMonitor(limiter, "api.3commas.io")
    return CloseProgress(traffic, range(1, total + 1), deadline=deadline), traffic


def attempt(path: str, error: ThreeCommasError | None = None, method: str = "POST") -> AttemptEnded:
    return AttemptEnded(
        method=method,
        path=path,
        attempt=1,
        fate=Fate.UNKNOWN if error else Fate.DONE,
        status_code=None,
        waited=0.0,
        elapsed=0.1,
        error=error,
    )


@pytest.mark.looptime
async def test_progress_shows_closed_waiting_and_time_left() -> None:
    limiter = TrackingLimiter(limit=2, window=60.0, penalty=300.0)
    progress, traffic = new_progress(limiter, 5)
    assert str(progress) == "closed 0 of 5, 5 waiting for a slot, about 120 s left"

    permits = [await limiter.acquire(Priority.CLOSE) for _ in range(2)]
    assert str(progress) == ("closed 0 of 5, 2 in flight, 3 waiting for a slot, about 120 s left")
    for number, permit in enumerate(permits, 1):
        await limiter.release(permit, sent=True)
        traffic(attempt(f"/{number}"))
    progress.record(ACCEPTED)
    progress.record(NOT_SENT)
    await asyncio.sleep(10)

    assert str(progress) == "closed 1 of 5, 1 not closed, 3 waiting for a slot, about 110 s left"
    assert progress.done_and_total == (2, 5)


@pytest.mark.looptime
async def test_progress_shows_lost_answers_and_checks() -> None:
    limiter = TrackingLimiter(limit=20, window=60.0)
    progress, traffic = new_progress(limiter, 3)

    traffic(attempt("/1", OutcomeUnknownError("no answer came")))
    traffic(attempt("/1", method="GET"))
    traffic(Blocked(status_code=429, seconds=1.0))
    assert str(progress) == (
        "closed 0 of 3, 1 being checked, 2 waiting for a slot, 1 answer lost, about 0 s left"
    )

    traffic(attempt("/1", OutcomeUnknownError("no answer came")))
    traffic(attempt("/2"))
    progress.record(CloseOutcome(1, CloseState.CLOSED, attempts=2))
    progress.record(CloseOutcome(2, CloseState.ACCEPTED, attempts=1))
    progress.record(CloseOutcome(3, CloseState.ALREADY_CLOSED))
    assert str(progress) == "closed 3 of 3, 2 answers lost"


def connection_refused(path: str, reason: str = "Connection refused") -> AttemptEnded:
    error = RequestNotSentError(f"POST {path}: not sent, no connection ({reason})")
    error.__cause__ = ConnectionRefusedError(reason)
    return evolve(attempt(path, error), fate=Fate.NOT_SENT)


@pytest.mark.looptime
async def test_progress_without_a_connection_shows_the_error_instead_of_an_estimate() -> None:
    progress, traffic = new_progress(TrackingLimiter(), 30)

    for number in range(1, 31):
        traffic(connection_refused(f"/{number}/close_by_market"))
    assert str(progress) == (
        "closed 0 of 30, 30 waiting, cannot reach api.3commas.io (Connection refused), trying again"
    )

    traffic(attempt("/1/close_by_market"))
    progress.record(ACCEPTED)
    assert str(progress) == "closed 1 of 30, 29 waiting for a slot, about 0 s left"


@pytest.mark.looptime
async def test_connection_error_is_hidden_once_all_outcomes_are_known() -> None:
    progress, traffic = new_progress(TrackingLimiter(), 1)

    traffic(connection_refused("/1"))
    progress.record(CloseOutcome(1, CloseState.NOT_SENT, attempts=1))

    assert str(progress) == "closed 0 of 1, 1 not closed"


@pytest.mark.looptime
async def test_connection_error_is_shortened_to_one_line() -> None:
    progress, traffic = new_progress(TrackingLimiter(), 1)

    traffic(connection_refused("/1", "\x1b[2J\r\n" + "word " * 500))
    long = str(progress)
    traffic(connection_refused("/1", ""))
    unnamed = str(progress)
    traffic(evolve(connection_refused("/1"), error=RequestNotSentError("no route")))

    assert len(long) < 250
    assert not control_characters(long)
    assert "(ConnectionRefusedError)" in unnamed
    assert "(no route)" in str(progress)


@pytest.mark.looptime
async def test_estimate_is_capped_at_the_deadline() -> None:
    limiter = TrackingLimiter(limit=2, window=60.0)
    progress, traffic = new_progress(limiter, 5, deadline=90.0)
    assert str(progress) == (
        "closed 0 of 5, 5 waiting for a slot, about 90 s left until the deadline"
    )

    await asyncio.sleep(80)
    traffic(connection_refused("/1"))
    assert str(progress).endswith("trying again, about 10 s left until the deadline")

    await asyncio.sleep(20)
    traffic(attempt("/1"))
    assert str(progress).endswith("about 0 s left until the deadline")
    for number in (2, 3, 4, 5):
        progress.record(CloseOutcome(number, CloseState.NOT_SENT))
    progress.record(ACCEPTED)
    assert str(progress) == "closed 1 of 5, 4 not closed"


@pytest.mark.looptime
async def test_estimate_within_the_deadline_is_not_capped() -> None:
    progress, _ = new_progress(TrackingLimiter(limit=2, window=60.0), 4, deadline=90.0)

    assert str(progress) == "closed 0 of 4, 4 waiting for a slot, about 60 s left"


@pytest.mark.looptime
async def test_known_outcomes_are_not_counted_as_being_checked() -> None:
    progress, traffic = new_progress(TrackingLimiter(), 3)

    traffic(attempt("/v2/smart_trades/1/close_by_market", OutcomeUnknownError("no answer")))
    progress.record(CloseOutcome(2, CloseState.NOT_SENT, attempts=5))  # never had a connection
    progress.record(CloseOutcome(3, CloseState.ACCEPTED, attempts=1))

    assert "1 being checked" in str(progress)


@pytest.mark.looptime
async def test_estimate_for_checks_excludes_slots_reserved_for_closes() -> None:
    limiter = TrackingLimiter(limit=10, window=60.0)
    progress, traffic = new_progress(limiter, 1)
    permits = [await limiter.acquire(Priority.CLOSE) for _ in range(9)]
    for permit in permits:
        await limiter.release(permit, sent=True)
    traffic(attempt("/1", OutcomeUnknownError("no answer came")))

    await asyncio.sleep(20)

    # One slot is free, but it is reserved for closes.
    assert str(progress) == "closed 0 of 1, 1 being checked, 1 answer lost, about 40 s left"


@pytest.mark.looptime
async def test_id_found_later_adds_to_the_total() -> None:
    progress, _ = new_progress(TrackingLimiter(), 1)

    progress.record(CloseOutcome(7, CloseState.ACCEPTED))
    progress.record(CloseOutcome(7, CloseState.CLOSED))

    assert progress.done_and_total == (1, 2)


@pytest.mark.looptime
async def test_progress_shows_a_block_by_the_server() -> None:
    limiter = TrackingLimiter(limit=100)
    await limiter.block(300.0)
    progress, _ = new_progress(limiter, 5)

    assert "refused by the server for 300 s more, about 300 s left" in str(progress)


@pytest.mark.looptime
async def test_progress_without_ids_has_no_estimate() -> None:
    progress, _ = new_progress(TrackingLimiter(), 0)

    assert TrackingLimiter().seconds_until_sent(0) == 0.0
    assert str(progress) == "closed 0 of 0"


@pytest.mark.looptime
async def test_progress_without_a_terminal_is_logged_every_five_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress, _ = new_progress(TrackingLimiter(), 2)

    async with progress.displayed(Output()):
        await asyncio.sleep(11)
        progress.record(ACCEPTED)

    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.partition(",")[0] for line in captured.err.splitlines()] == [
        "closed 0 of 2",
        "closed 0 of 2",
        "closed 1 of 2",
    ]


@pytest.mark.looptime
async def test_progress_on_a_terminal_is_drawn_in_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress, _ = new_progress(TrackingLimiter(), 2)

    async with progress.displayed(Output()):
        await asyncio.sleep(0.35)
        progress.record(ACCEPTED)

    drawn = terminal.getvalue()
    assert "closed 0 of 2" in drawn
    assert "closed 1 of 2" in drawn
    assert "\x1b[" in drawn
