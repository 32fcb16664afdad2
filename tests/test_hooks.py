"""Hooks receive every event, and their exceptions go no further."""

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


def test_emit_without_hooks_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    emit([], BLOCKED)
    assert caplog.records == []


def test_hook_that_raises_is_logged_and_the_others_are_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
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
def test_keyboard_interrupt_and_system_exit_in_a_hook_are_raised(stop: type[BaseException]) -> None:
    def stopping(_: Event) -> None:
        raise stop

    with pytest.raises(stop):
        emit([stopping], BLOCKED)


def test_cancelled_error_in_a_hook_is_not_raised() -> None:
    """A hook that reads a cancelled future must not cancel a close."""
    called: list[Event] = []

    def broken(_: Event) -> None:
        raise asyncio.CancelledError

    emit([broken, called.append], BLOCKED)
    assert called == [BLOCKED]


def test_events_are_frozen_and_have_their_fields() -> None:
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
        setattr(event, "attempt", 3)  # noqa: B010 - a type checker would reject it
