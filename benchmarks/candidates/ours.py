"""This package as its users use it: signed, paced, parsed into models, gathered."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from benchmarks.candidates.base import API_KEY, CONNECTIONS, SECRET, CloseAll, gathered
from threecommas_async import AsyncClient, SlidingWindowLimiter

UNREACHABLE_LIMIT = 10_000_000
"""A limit that is never reached, so that the limiter runs but no request waits."""


def client(
    base_url: str,
    *,
    secret: str | None = None,
    private_key: bytes | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncClient:
    """Return a client with default settings except for the limit."""
    return AsyncClient(
        API_KEY,
        secret=secret,
        private_key=private_key,
        base_url=f"{base_url}/public/api",
        rate_limiter=SlidingWindowLimiter(limit=UNREACHABLE_LIMIT),
        max_connections=CONNECTIONS,
        transport=transport,
    )


@asynccontextmanager
async def opened(base_url: str) -> AsyncGenerator[CloseAll]:
    """Sign with HMAC."""
    async with client(base_url, secret=SECRET) as threecommas:
        yield gathered(threecommas.smart_trades.close_by_market)


@asynccontextmanager
async def opened_speed(base_url: str) -> AsyncGenerator[CloseAll]:
    """Sign with HMAC, and use the transport of the extra `speed`."""
    from threecommas_async.speed import FastTransport

    async with client(base_url, secret=SECRET, transport=FastTransport()) as threecommas:
        yield gathered(threecommas.smart_trades.close_by_market)


@asynccontextmanager
async def opened_rsa(base_url: str) -> AsyncGenerator[CloseAll]:
    """Sign with a new RSA-4096 key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=4096)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    async with client(base_url, private_key=pem) as threecommas:
        yield gathered(threecommas.smart_trades.close_by_market)


@asynccontextmanager
async def opened_pages(base_url: str) -> AsyncGenerator[CloseAll]:
    """Read as many trades from the list instead of closing them."""
    async with client(base_url, secret=SECRET) as threecommas:

        async def read_all(trade_ids: Sequence[int]) -> list[Any]:
            read = 0
            async for _ in threecommas.smart_trades.list():
                read += 1
                if read == len(trade_ids):
                    break
            return [{"id": trade_id} for trade_id in trade_ids[:read]]

        yield read_all
