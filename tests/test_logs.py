"""Exceptions in log handlers and filters change nothing."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from threecommas_async.logs import log


class RaisingHandler(logging.Handler):
    """A handler and filter that raises the error given."""

    def __init__(self, failure: BaseException) -> None:
        super().__init__()
        self.failure = failure
        self.calls = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.fail()

    def fail(self, *_: object) -> bool:
        self.calls += 1
        raise self.failure


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("threecommas_async")
    level, handlers, filters = logger.level, logger.handlers[:], logger.filters[:]
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.setLevel(level)
    logger.handlers, logger.filters = handlers, filters


@pytest.mark.parametrize("failure", [ZeroDivisionError(), asyncio.CancelledError()])
@pytest.mark.parametrize("place", ["handler", "filter"])
def test_exception_in_a_log_handler_or_filter_is_suppressed(
    logger: logging.Logger, failure: BaseException, place: str
) -> None:
    handler = RaisingHandler(failure)
    if place == "handler":
        logger.addHandler(handler)
    else:
        logger.addFilter(handler.fail)
    log.debug("a %s", "text")
    log.warning("a %s", "text")
    log.exception("a %s", "text")
    assert handler.calls == 3


def test_keyboard_interrupt_in_a_log_handler_is_raised(logger: logging.Logger) -> None:
    logger.addHandler(RaisingHandler(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        log.warning("text")


def test_log_records_name_logger_level_and_caller(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="threecommas_async")
    log.debug("not shown")
    try:
        int("x")
    except ValueError:
        log.exception("trade %d failed", 7)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("threecommas_async", logging.ERROR)
    assert record.getMessage() == "trade 7 failed"
    assert record.filename == "test_logs.py"
    assert record.exc_info
    assert log.isEnabledFor(logging.INFO)
    assert not log.isEnabledFor(logging.DEBUG)
