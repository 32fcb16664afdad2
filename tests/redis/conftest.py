"""A Redis for the tests that need a real one. Without one they fail, and say what to install."""

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
    """Where a Redis is that lives longer than the test. Use it with a `key` of the test's own."""
    return shared_server.url


@pytest.fixture
def key() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of the test's own, to be killed."""
    with running(RedisServer()) as server:
        yield server
