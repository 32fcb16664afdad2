"""Signing as an `httpx.Auth`: the last step before a request leaves.

It signs the bytes of the built request, and redacts the key and the signature from answers. How a
payload is composed and signed is decided in `signing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from ..signing import Confidential, Secret, check_credential, redact, signing_payload
from .request import target_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..signing import Signer

__all__ = ["SigningAuth"]


class SigningAuth(Confidential, httpx.Auth):
    """Signs a request as its last change before it leaves."""

    requires_request_body = True

    def __init__(self, api_key: str, signer: Signer) -> None:
        self._api_key = Secret(api_key)
        del api_key
        check_credential(self._api_key, "api_key")
        self._signer = signer

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Sign the request, see `httpx.Auth`."""
        await self.sign(request)
        yield request

    async def sign(self, request: httpx.Request) -> None:
        """Sign the bytes of the built request's target and body."""
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
            text: text of the server's.
            request: the answered request, whose signature may be echoed; None if it is not known.
        """
        signature = None if request is None else request.headers.get("Signature")
        for secret in (self._api_key.value, signature):
            if secret:
                text = redact(text, secret)
        return text

    def close(self) -> None:
        """Release the signer's resources."""
        self._signer.close()
