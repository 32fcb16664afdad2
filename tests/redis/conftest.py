"""A real Redis for the tests that need one. Without one they fail and say what to install."""

import uuid
from collections.abc import Iterator

import pytest

from tests.redis.server import RedisServer, running


@pytest.fixture(scope="session")
def shared_server() -> Iterator[RedisServer]:
    with running(RedisServer()) as server:
        yield server


@pytest.fixture
def url(shared_server: RedisServer) -> str:
    """URL of a Redis shared by all tests; use it with the fixture `key`."""
    return shared_server.url


@pytest.fixture
def key() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of the test's own, which it may kill."""
    with running(RedisServer()) as server:
        yield server
