"""The sandbox's own check of signatures, over the bytes that came in and nothing else.

Written apart from the client's signer on purpose: two readings of the rules, one the judge of
the other.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from typing import TypeAlias

Verifier: TypeAlias = Callable[[bytes, str], bool]
"""Tells whether a signature (the header's value) is that of a payload."""


def payloads(target: bytes, body: bytes, *, is_json: bool) -> tuple[bytes, ...]:
    """List what may have been signed, given the raw request target and the raw body.

    Without a body that is the target as it stands. With one it is target, question mark, body;
    for JSON the form without the question mark is in use as well. Query and body together are
    signed one after the other behind the one question mark there is.
    """
    if not body:
        return (target,)
    if b"?" in target:
        return (target + body,)
    if is_json:
        return (target + b"?" + body, target + body)
    return (target + b"?" + body,)


def hmac_verifier(secret: str) -> Verifier:
    """Check HMAC-SHA256 signatures, hexadecimal in either case."""
    key = secret.encode()

    def verify(payload: bytes, signature: str) -> bool:
        expected = hmac.new(key, payload, hashlib.sha256).hexdigest()
        return same(expected, signature.lower())

    return verify


def same(expected: str, given: str) -> bool:
    """Compare in constant time what anybody may have put into a header."""
    # As bytes, for text must be ASCII here; headers that are not UTF-8 come with surrogates.
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogateescape"))


def rsa_verifier(public_key: str | bytes) -> Verifier:
    """Check RSA signatures (PKCS #1 v1.5, SHA-256, Base64 in one line) against a PEM key."""
    # Here, not above: only who signs with RSA needs this package to be installed.
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
