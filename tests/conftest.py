"""Configuration shared by all tests."""

import asyncio
import os
import ssl
import sys
from collections.abc import Generator

import hypothesis
import pytest

from tests.support import IDLE_TURNS
from threecommas_async import client

# A run must not depend on what earlier runs left in `.hypothesis`, nor on a busy machine. To
# reproduce a failure, use the blob that it prints.
hypothesis.settings.register_profile(
    "suite",
    database=None,
    print_blob=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--transport",
        choices=("own", "fast"),
        default="own",
        help="the connections of clients that are given none: the package's, or the extra `speed`",
    )


def pytest_configure(config: pytest.Config) -> None:
    # looptime asks for the current event loop even around a synchronous test. Setting it to None
    # keeps asyncio from creating one that would never be closed.
    asyncio.set_event_loop(None)
    config.addinivalue_line("markers", "own_transport: only for the package's own connections")
    if config.getoption("--transport") == "fast":
        from threecommas_async.speed import FastTransport  # noqa: PLC0415 - an extra

        def connections(_: object, tls: ssl.SSLContext | None, max_bytes: int) -> FastTransport:
            return FastTransport(tls=tls, max_bytes=max_bytes)

        setattr(client, "ConnectionSlots", connections)  # noqa: B010 - a different type


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Do not measure coverage in slow tests: they repeat at scale what smaller tests cover.

    Tracing them takes longer than running them. The marker `no_cover` is not enough: in the workers
    of pytest-xdist, tracing continues after pytest-cov has paused.
    """
    tracer = sys.gettrace()
    if item.get_closest_marker("slow"):
        sys.settrace(None)
    try:
        return (yield)
    finally:
        if sys.gettrace() is not tracer:
            sys.settrace(tracer)


@pytest.hookimpl(optionalhook=True)  # from pytest-xdist
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Return two workers for each core: tests wait for sockets, processes and clocks."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return 2 * cores


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    other_transport = config.getoption("--transport") != "own"
    for item in items:
        if item.get_closest_marker("looptime"):
            item.add_marker(pytest.mark.looptime(noop_cycles=IDLE_TURNS))
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(300))  # a busy machine must not fail a test
        if other_transport and item.get_closest_marker("own_transport"):
            item.add_marker(pytest.mark.skip(reason="only for the package's own connections"))
