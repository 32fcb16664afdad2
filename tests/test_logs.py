"""What a log handler or filter raises changes nothing."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from threecommas_async.logs import log


class Foreign(logging.Handler):
    """A handler and filter that raises what it is given."""

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
def test_a_handler_or_filter_that_raises_stops_nobody(
    logger: logging.Logger, failure: BaseException, place: str
) -> None:
    foreign = Foreign(failure)
    if place == "handler":
        logger.addHandler(foreign)
    else:
        logger.addFilter(foreign.fail)
    log.debug("a %s", "text")
    log.warning("a %s", "text")
    log.exception("a %s", "text")
    assert foreign.calls == 3


def test_what_is_meant_to_end_the_program_goes_through(logger: logging.Logger) -> None:
    logger.addHandler(Foreign(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        log.warning("text")


def test_records_name_the_library_the_level_and_the_place(caplog: pytest.LogCaptureFixture) -> None:
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
