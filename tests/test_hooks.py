"""Hooks see every event, and nothing they do goes further."""

import asyncio
import logging

import attrs
import pytest

from threecommas_async import RequestNotSentError
from threecommas_async.errors import Fate
from threecommas_async.hooks import AttemptEnded, Blocked, Event, emit

BLOCKED = Blocked(status_code=429, seconds=300.0)


def test_each_hook_is_called_in_order_with_the_event() -> None:
    calls: list[tuple[str, Event]] = []
    emit(
        [lambda event: calls.append(("first", event)), lambda event: calls.append(("then", event))],
        BLOCKED,
    )
    assert calls == [("first", BLOCKED), ("then", BLOCKED)]


def test_without_hooks_nothing_happens(caplog: pytest.LogCaptureFixture) -> None:
    emit([], BLOCKED)
    assert caplog.records == []


def test_a_hook_that_fails_is_logged_and_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Event] = []

    def broken(event: Event) -> None:
        raise ZeroDivisionError(f"on {type(event).__name__}")

    emit([broken, seen.append], BLOCKED)
    assert seen == [BLOCKED]
    (record,) = caplog.records
    assert record.name == "threecommas_async"
    assert record.levelno == logging.ERROR
    assert "broken" in record.getMessage()
    assert "ZeroDivisionError: on Blocked" in caplog.text


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_what_is_meant_to_end_the_program_goes_through(stop: type[BaseException]) -> None:
    def stopping(_: Event) -> None:
        raise stop

    with pytest.raises(stop):
        emit([stopping], BLOCKED)


def test_a_hook_that_reads_a_cancelled_future_is_one_that_failed() -> None:
    """Its `CancelledError` cancels nobody: no close may be lost for it."""
    called: list[Event] = []

    def broken(_: Event) -> None:
        raise asyncio.CancelledError

    emit([broken, called.append], BLOCKED)
    assert called == [BLOCKED]


def test_events_are_frozen_and_tell_what_happened() -> None:
    error = RequestNotSentError("no connection")
    event = AttemptEnded(
        method="GET",
        path="/a",
        attempt=2,
        fate=Fate.NOT_SENT,
        status_code=None,
        waited=0.5,
        elapsed=0.25,
        error=error,
    )
    assert attrs.asdict(event) == {
        "method": "GET",
        "path": "/a",
        "attempt": 2,
        "fate": Fate.NOT_SENT,
        "status_code": None,
        "waited": 0.5,
        "elapsed": 0.25,
        "error": error,
    }
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(event, "attempt", 3)  # noqa: B010 - a type checker would not let us
