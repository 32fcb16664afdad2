"""What goes to the screen, and what never does."""

import asyncio
import json
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from attrs import evolve

from tests.cli.conftest import Terminal
from threecommas_async import (
    CloseOutcome,
    CloseReport,
    CloseState,
    OutcomeUnknownError,
    RequestNotSentError,
    SmartTrade,
    ThreeCommasError,
)
from threecommas_async.cli.pace import Traffic, WatchedLimiter
from threecommas_async.cli.progress import ClosingProgress
from threecommas_async.cli.render import report_table, table, trade_table, trades_table
from threecommas_async.cli.screen import Screen, printable
from threecommas_async.endpoint import Priority
from threecommas_async.errors import Fate
from threecommas_async.hooks import AttemptEnded, Blocked
from threecommas_async.models.smart_trade import SmartTradeData, SmartTradeStatus, Step, TakeProfit

ACCEPTED = CloseOutcome[SmartTrade](1, CloseState.ACCEPTED, attempts=1)
NOT_SENT = CloseOutcome[SmartTrade](
    2, CloseState.NOT_SENT, error=RequestNotSentError("no slot"), attempts=1
)


def shown(capsys: pytest.CaptureFixture[str], *parts: object) -> str:
    Screen().result(None, *parts)  # type: ignore[arg-type]
    return capsys.readouterr().out


def control_characters(text: str) -> set[str]:
    return {c for c in text if not c.isprintable() and c != "\n"}


def test_a_program_gets_numbers_to_the_last_digit_and_times_in_iso(
    capsys: pytest.CaptureFixture[str],
) -> None:
    trade = SmartTrade(
        id=1,
        status=SmartTradeStatus(basic_type="new_code"),
        data=SmartTradeData(
            commission=Decimal("0.10000000000000000000000000000000000000000001"),
            created_at=datetime(2026, 11, 22, 12, 0, 0, 5000, UTC),
        ),
    )

    Screen(as_json=True).result([trade], "for people")

    (data,) = json.loads(capsys.readouterr().out)
    assert data["data"]["commission"] == "0.10000000000000000000000000000000000000000001"
    assert datetime.fromisoformat(data["data"]["created_at"]) == trade.data.created_at
    assert data["status"]["basic_type"] == "new_code"


def test_a_line_is_never_wrapped_so_that_it_can_be_pasted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = "export KEY=" + "0123456789abcdef " * 30

    assert shown(capsys, line) == f"{line}\n"


def test_what_somebody_typed_at_3commas_cannot_steer_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    trade = SmartTrade(
        id=1, status=SmartTradeStatus(), note="[bold]50 % off[/bold]\x1b[2J\x9b1;1H\a\r\nowned"
    )

    out = shown(capsys, trade_table(trade))

    assert not control_characters(out)
    assert "[bold]50 % off[/bold]" in out
    assert printable("a\x1b\n") == "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"


def test_a_trade_with_nothing_but_id_and_status_can_be_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    trade = SmartTrade(id=5, status=SmartTradeStatus(basic_type="created"))

    out = shown(capsys, trades_table([trade], "one"), trade_table(trade))

    words = out.split()
    assert words.count("created") == 3  # the name of a column, and twice the status
    assert not {"None", "at", "profit", "entry"} & set(words[words.index("SmartTrade") :])


def test_the_steps_of_a_trade_and_why_it_failed_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    trade = SmartTrade(
        id=5,
        status=SmartTradeStatus(basic_type="failed", title="Failed", error="no funds"),
        take_profit=TakeProfit(steps=(Step(volume=Decimal(100)), Step(volume=Decimal("1E-8")))),
        data=SmartTradeData(panic_sell_available=False),
    )

    out = shown(capsys, trade_table(trade))

    assert "no funds" in out
    assert "100 % at" in out
    assert "0.00000001 % at" in out
    assert "no" in out


@pytest.mark.parametrize("forced", ["FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE"])
def test_a_log_gets_no_control_characters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, forced: str
) -> None:
    monkeypatch.setenv(forced, "1")

    out = shown(capsys, report_table(CloseReport((ACCEPTED, NOT_SENT))), table("a", "b", rows=[]))

    assert not control_characters(out)
    assert "1 of 2 closing or closed, 1 not known to be" in out
    assert "no slot" in out


def test_that_there_may_be_others_is_not_kept_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    report = CloseReport((ACCEPTED,), unlisted=RequestNotSentError("the list was not read"))

    out = shown(capsys, report_table(report))

    assert "1 of 1 closing or closed" in out
    assert "There may be others: the list was not read" in out


@pytest.mark.parametrize(("term", "live"), [("xterm", True), ("dumb", False)])
def test_progress_is_drawn_in_place_only_where_it_can_be(
    monkeypatch: pytest.MonkeyPatch, term: str, *, live: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", term)

    assert Screen().live is live


def progress_of(
    limiter: WatchedLimiter, total: int, deadline: float | None = None
) -> tuple[ClosingProgress, Traffic]:
    traffic = Traffic(limiter, "api.3commas.io")
    return ClosingProgress(traffic, range(1, total + 1), deadline=deadline), traffic


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
async def test_progress_tells_what_is_closed_and_what_waits_and_how_long() -> None:
    limiter = WatchedLimiter(limit=2, window=60.0, penalty=300.0)
    progress, traffic = progress_of(limiter, 5)
    assert str(progress) == "closed 0 of 5, 5 waiting for a slot, about 120 s left"

    permits = [await limiter.acquire(Priority.CLOSE) for _ in range(2)]
    assert str(progress) == ("closed 0 of 5, 2 in flight, 3 waiting for a slot, about 120 s left")
    for number, permit in enumerate(permits, 1):
        await limiter.release(permit, sent=True)
        traffic(attempt(f"/{number}"))
    progress.saw(ACCEPTED)
    progress.saw(NOT_SENT)
    await asyncio.sleep(10)

    assert str(progress) == "closed 1 of 5, 1 not closed, 3 waiting for a slot, about 110 s left"
    assert progress.share == (2, 5)


@pytest.mark.looptime
async def test_progress_tells_which_answers_were_lost_and_are_being_checked() -> None:
    limiter = WatchedLimiter(limit=20, window=60.0)
    progress, traffic = progress_of(limiter, 3)

    traffic(attempt("/1", OutcomeUnknownError("no answer came")))
    traffic(attempt("/1", method="GET"))
    traffic(Blocked(status_code=429, seconds=1.0))
    assert str(progress) == (
        "closed 0 of 3, 1 being checked, 2 waiting for a slot, 1 answer lost, about 0 s left"
    )

    traffic(attempt("/1", OutcomeUnknownError("no answer came")))
    traffic(attempt("/2"))
    progress.saw(CloseOutcome(1, CloseState.CLOSED, attempts=2))
    progress.saw(CloseOutcome(2, CloseState.ACCEPTED, attempts=1))
    progress.saw(CloseOutcome(3, CloseState.ALREADY_CLOSED))
    assert str(progress) == "closed 3 of 3, 2 answers lost"


def no_connection(path: str, reason: str = "Connection refused") -> AttemptEnded:
    error = RequestNotSentError(f"POST {path}: not sent, no connection ({reason})")
    error.__cause__ = ConnectionRefusedError(reason)
    return evolve(attempt(path, error), fate=Fate.NOT_SENT)


@pytest.mark.looptime
async def test_without_a_connection_progress_says_so_instead_of_how_long_it_takes() -> None:
    progress, traffic = progress_of(WatchedLimiter(), 30)

    for number in range(1, 31):
        traffic(no_connection(f"/{number}/close_by_market"))
    assert str(progress) == (
        "closed 0 of 30, 30 waiting, cannot reach api.3commas.io (Connection refused), trying again"
    )

    traffic(attempt("/1/close_by_market"))
    progress.saw(ACCEPTED)
    assert str(progress) == "closed 1 of 30, 29 waiting for a slot, about 0 s left"


@pytest.mark.looptime
async def test_once_all_is_known_nothing_is_tried_again() -> None:
    progress, traffic = progress_of(WatchedLimiter(), 1)

    traffic(no_connection("/1"))
    progress.saw(CloseOutcome(1, CloseState.NOT_SENT, attempts=1))

    assert str(progress) == "closed 0 of 1, 1 not closed"


@pytest.mark.looptime
async def test_why_there_is_no_connection_is_told_in_a_few_words_on_one_line() -> None:
    progress, traffic = progress_of(WatchedLimiter(), 1)

    traffic(no_connection("/1", "\x1b[2J\r\n" + "word " * 500))
    long = str(progress)
    traffic(no_connection("/1", ""))
    unnamed = str(progress)
    traffic(evolve(no_connection("/1"), error=RequestNotSentError("no route")))

    assert len(long) < 250
    assert not control_characters(long)
    assert "(ConnectionRefusedError)" in unnamed
    assert "(no route)" in str(progress)


@pytest.mark.looptime
async def test_an_estimate_goes_no_further_than_the_deadline() -> None:
    limiter = WatchedLimiter(limit=2, window=60.0)
    progress, traffic = progress_of(limiter, 5, deadline=90.0)
    assert str(progress) == (
        "closed 0 of 5, 5 waiting for a slot, about 90 s left until the deadline"
    )

    await asyncio.sleep(80)
    traffic(no_connection("/1"))
    assert str(progress).endswith("trying again, about 10 s left until the deadline")

    await asyncio.sleep(20)
    traffic(attempt("/1"))
    assert str(progress).endswith("about 0 s left until the deadline")
    for number in (2, 3, 4, 5):
        progress.saw(CloseOutcome(number, CloseState.NOT_SENT))
    progress.saw(ACCEPTED)
    assert str(progress) == "closed 1 of 5, 4 not closed"


@pytest.mark.looptime
async def test_an_estimate_within_the_deadline_is_left_as_it_is() -> None:
    progress, _ = progress_of(WatchedLimiter(limit=2, window=60.0), 4, deadline=90.0)

    assert str(progress) == "closed 0 of 4, 4 waiting for a slot, about 60 s left"


@pytest.mark.looptime
async def test_what_was_tried_and_is_known_leaves_those_that_are_being_checked() -> None:
    progress, traffic = progress_of(WatchedLimiter(), 3)

    traffic(attempt("/v2/smart_trades/1/close_by_market", OutcomeUnknownError("no answer")))
    progress.saw(CloseOutcome(2, CloseState.NOT_SENT, attempts=5))  # never had a connection
    progress.saw(CloseOutcome(3, CloseState.ACCEPTED, attempts=1))

    assert "1 being checked" in str(progress)


@pytest.mark.looptime
async def test_what_is_being_checked_waits_for_a_slot_that_reads_may_take() -> None:
    limiter = WatchedLimiter(limit=10, window=60.0)
    progress, traffic = progress_of(limiter, 1)
    permits = [await limiter.acquire(Priority.CLOSE) for _ in range(9)]
    for permit in permits:
        await limiter.release(permit, sent=True)
    traffic(attempt("/1", OutcomeUnknownError("no answer came")))

    await asyncio.sleep(20)

    # One slot is free, and it is the one in reserve for closes.
    assert str(progress) == "closed 0 of 1, 1 being checked, 1 answer lost, about 40 s left"


@pytest.mark.looptime
async def test_one_that_turns_up_later_counts_as_well() -> None:
    progress, _ = progress_of(WatchedLimiter(), 1)

    progress.saw(CloseOutcome(7, CloseState.ACCEPTED))
    progress.saw(CloseOutcome(7, CloseState.CLOSED))

    assert progress.share == (1, 2)


@pytest.mark.looptime
async def test_progress_tells_of_a_refusal_by_the_server() -> None:
    limiter = WatchedLimiter(limit=100)
    await limiter.block(300.0)
    progress, _ = progress_of(limiter, 5)

    assert "refused by the server for 300 s more, about 300 s left" in str(progress)


@pytest.mark.looptime
async def test_progress_of_nothing_to_do_has_nothing_left() -> None:
    progress, _ = progress_of(WatchedLimiter(), 0)

    assert WatchedLimiter().seconds_until_sent(0) == 0.0
    assert str(progress) == "closed 0 of 0"


@pytest.mark.looptime
async def test_away_from_a_terminal_progress_is_a_line_every_few_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress, _ = progress_of(WatchedLimiter(), 2)

    async with progress.shown(Screen()):
        await asyncio.sleep(11)
        progress.saw(ACCEPTED)

    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.partition(",")[0] for line in captured.err.splitlines()] == [
        "closed 0 of 2",
        "closed 0 of 2",
        "closed 1 of 2",
    ]


@pytest.mark.looptime
async def test_on_a_terminal_progress_is_drawn_over_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress, _ = progress_of(WatchedLimiter(), 2)

    async with progress.shown(Screen()):
        await asyncio.sleep(0.35)
        progress.saw(ACCEPTED)

    drawn = terminal.getvalue()
    assert "closed 0 of 2" in drawn
    assert "closed 1 of 2" in drawn
    assert "\x1b[" in drawn
