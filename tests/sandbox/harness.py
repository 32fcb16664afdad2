"""A sandbox to test, and a client that shares no code with it: plain httpx and its own signer."""

import asyncio
import hashlib
import hmac
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import httpx

from threecommas_async.sandbox import Ledger, Sandbox

PREFIX = "/public/api"
_TLS = ssl.create_default_context()  # unused, but httpx would create one per client, which is slow


class ManualClock:
    """A clock that only moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def sign(secret: str, payload: bytes) -> str:
    return hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()


@attrs.frozen
class Harness:
    """A running sandbox, its clock, and a client to call it."""

    sandbox: Sandbox
    clock: ManualClock
    client: httpx.AsyncClient

    def shorten_read_timeout(self) -> None:
        """Let the client give up on an answer almost at once."""
        self.client.timeout = httpx.Timeout(5, read=0.02)

    @property
    def ledger(self) -> Ledger:
        return self.sandbox.ledger

    async def call(
        self,
        method: str,
        path: str,
        *,
        content: bytes = b"",
        headers: Mapping[str, str | bytes] | None = None,
    ) -> httpx.Response:
        """Send a request with a valid signature, unless `headers` override it."""
        target = f"{PREFIX}{path}"
        payload = f"{target}?".encode() + content if content else target.encode()
        signed = {
            b"Apikey": self.sandbox.api_key.encode(),
            b"Signature": sign(self.sandbox.secret, payload).encode(),
        }
        for name, value in (headers or {}).items():
            signed[name.encode()] = value.encode() if isinstance(value, str) else value
        url = self.sandbox.base_url.removesuffix(PREFIX) + target
        return await self.client.request(method, url, content=content, headers=signed)

    async def get(self, path: str) -> Any:
        """Return the JSON of a GET that must succeed."""
        answer = await self.call("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def close(self, trade_id: int) -> httpx.Response:
        return await self.call("POST", f"/v2/smart_trades/{trade_id}/close_by_market")


async def wait_until(condition: Callable[[], object]) -> None:
    """Wait at most five seconds for a condition."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def running_sandbox(**settings: Any) -> AsyncGenerator[Harness]:
    """Run a sandbox whose clock only moves when told to."""
    clock = ManualClock()
    all_settings: dict[str, Any] = {"trades": 3, "clock": clock, **settings}
    async with (
        Sandbox(**all_settings) as sandbox,
        httpx.AsyncClient(
            verify=_TLS, timeout=5, limits=httpx.Limits(max_connections=10)
        ) as client,
    ):
        yield Harness(sandbox, clock, client)
