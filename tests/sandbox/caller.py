"""A caller of the sandbox that shares nothing with it: plain httpx, a signer of five lines."""

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
_TLS = ssl.create_default_context()  # of no use here, but httpx makes one per client unless given


class Time:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


def sign(secret: str, payload: bytes) -> str:
    return hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()


@attrs.frozen
class Stage:
    """A running sandbox, the time it lives by, and a client to call it with."""

    sandbox: Sandbox
    time: Time
    client: httpx.AsyncClient

    def be_impatient(self) -> None:
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
        """Send one request, rightly signed unless `headers` say otherwise."""
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
        """Read something that must be there."""
        answer = await self.call("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def close(self, trade_id: int) -> httpx.Response:
        return await self.call("POST", f"/v2/smart_trades/{trade_id}/close_by_market")


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that is about to happen, on however busy a machine."""
    async with asyncio.timeout(5):
        while not condition():  # nobody there to set an event
            await asyncio.sleep(0.001)


@asynccontextmanager
async def stage(**settings: Any) -> AsyncGenerator[Stage]:
    """Set up a sandbox whose time stands still."""
    time = Time()
    all_settings: dict[str, Any] = {"trades": 3, "clock": time, **settings}
    async with (
        Sandbox(**all_settings) as sandbox,
        httpx.AsyncClient(
            verify=_TLS, timeout=5, limits=httpx.Limits(max_connections=10)
        ) as client,
    ):
        yield Stage(sandbox, time, client)
