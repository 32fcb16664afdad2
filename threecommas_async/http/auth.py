"""Signing as an httpx user knows it: an `httpx.Auth`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from ..signing import Hidden, HoldsKey, check_credential, redacted, signing_payload
from .request import target_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..signing import Signer

__all__ = ["SigningAuth"]


class SigningAuth(HoldsKey, httpx.Auth):
    """Signs a request as the last thing that happens to it before it goes out."""

    requires_request_body = True

    def __init__(self, api_key: str, signer: Signer) -> None:
        self._api_key = Hidden(api_key)
        del api_key
        check_credential(self._api_key, "api_key")
        self._signer = signer

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Sign the request in httpx's way."""
        await self.sign(request)
        yield request

    async def sign(self, request: httpx.Request) -> None:
        """Sign the built request: the bytes of its target and body, whatever made them."""
        body = await request.aread()
        payload = target_of(request).encode()
        if body:
            json = request.headers.get("content-type", "").startswith("application/json")
            payload = signing_payload(payload, body, json=json, json_form=self._signer.json_form)
        request.headers["Apikey"] = self._api_key.value
        request.headers["Signature"] = await self._signer.sign(payload)

    def redact(self, text: str, request: httpx.Request | None = None) -> str:
        """Return `text` without the key and the signature that a server may have echoed.

        Args:
            text: what the server said.
            request: the one that it answered, whose signature it may have echoed; None where that
                is not known.
        """
        signature = None if request is None else request.headers.get("Signature")
        for secret in (self._api_key.value, signature):
            if secret:
                text = redacted(text, secret)
        return text

    def close(self) -> None:
        """Give back what the signer holds."""
        self._signer.close()
