"""Verification of signatures over the raw bytes received.

Deliberately shares no code with the client's signer: two implementations check each other.

https://developers.3commas.io/quick-start/signing-a-request-using-hmac-sha256
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from typing import TypeAlias

Verifier: TypeAlias = Callable[[bytes, str], bool]
"""Return whether a signature (the value of the header) matches a payload."""


def payloads(target: bytes, body: bytes, *, is_json: bool) -> tuple[bytes, ...]:
    """Return the payloads that may have been signed, given the raw request target and body.

    Without a body: the target. With a body: target, question mark, body; for JSON, clients also
    omit the question mark. With both query and body: the target followed by the body.
    """
    if not body:
        return (target,)
    if b"?" in target:
        return (target + body,)
    if is_json:
        return (target + b"?" + body, target + body)
    return (target + b"?" + body,)


def hmac_verifier(secret: str) -> Verifier:
    """Return a verifier of HMAC-SHA256 signatures in hexadecimal, upper or lower case."""
    key = secret.encode()

    def verify(payload: bytes, signature: str) -> bool:
        expected = hmac.new(key, payload, hashlib.sha256).hexdigest()
        return same(expected, signature.lower())

    return verify


def same(expected: str, given: str) -> bool:
    """Compare a header value in constant time."""
    # As bytes: `compare_digest` takes only ASCII text, and headers may contain surrogates.
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogateescape"))


def rsa_verifier(public_key: str | bytes) -> Verifier:
    """Return a verifier of RSA signatures (PKCS #1 v1.5, SHA-256, Base64 in one line).

    Raises:
        TypeError: the PEM holds a key of another kind.
    """
    # Imported here because cryptography is only needed for RSA.
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415

    pem = public_key.encode() if isinstance(public_key, str) else public_key
    key = serialization.load_pem_public_key(pem)
    if not isinstance(key, rsa.RSAPublicKey):
        raise TypeError("public_key must be an RSA key")

    def verify(payload: bytes, signature: str) -> bool:
        try:
            raw = base64.b64decode(signature, validate=True)
            key.verify(raw, payload, padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True

    return verify
