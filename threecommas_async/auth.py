"""Signing: the signature covers exactly the bytes that go out.

The payload starts with the path *including* its prefix (`/public/api/...`), without scheme and
host, followed by the encoded query and the body:

======================  ====================  =================================================
parameters sent as      bytes signed          source
======================  ====================  =================================================
nothing                 ``PATH``              seen in public clients; not documented
query string            ``PATH?QUERY``        both signing pages
form body               ``PATH?BODY``         both signing pages
JSON body, HMAC         ``PATH?BODY``         the signature printed on the HMAC page
JSON body, RSA          ``PATH`` + ``BODY``   the RSA page
======================  ====================  =================================================

The two pages disagree on JSON, and both forms are reported to work with HMAC, so the form is a
setting of the signer (`JsonForm`) whose default is what the algorithm's own page proves.

https://developers.3commas.io/quick-start/signing-a-request-using-hmac-sha256
https://developers.3commas.io/quick-start/signing-a-request-using-rsa
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json as jsonlib
import re
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NoReturn, Protocol, TypeVar

import httpx

from .errors import ConfigurationError
from .messages import target_of

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

__all__ = [
    "Hidden",
    "HmacSigner",
    "JsonForm",
    "RsaSigner",
    "Signer",
    "SigningAuth",
    "signing_payload",
]

T = TypeVar("T")

_MIN_RSA_BITS = 2048
_RSA_THREADS = 2
_BLOT = "[redacted]"


class JsonForm(Enum):
    """What stands between path and JSON body in the signed bytes."""

    QUESTION_MARK = "?"
    """``PATH?BODY``: the default with HMAC."""
    CONCATENATED = ""
    """``PATHBODY``: the default with RSA."""


def signing_payload(target: bytes, body: bytes, *, json: bool, json_form: JsonForm) -> bytes:
    """Return the bytes to sign.

    Args:
        target: path with prefix and encoded query, as it stands in the request line.
        body: the request's body, as it goes out.
        json: whether the body is JSON; any other body is signed as form parameters.
        json_form: what stands between path and JSON body.
    """
    if not body:
        return target
    if b"?" in target:
        # "totalParams consists of the query string concatenated with the request body": no
        # separator is shown, and no call of ours sends both.
        return target + body
    separator = json_form.value.encode() if json else b"?"
    return target + separator + body


class Signer(Protocol):
    """Makes signatures with one key."""

    json_form: JsonForm

    async def sign(self, payload: bytes) -> str:
        """Return the signature of `payload` as it goes into the `Signature` header."""
        ...

    def close(self) -> None:
        """Give back what the signer holds."""
        ...


class _HoldsKey:
    """A key that cannot be shown, copied or pickled by accident."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        msg = f"{type(self).__name__} holds a key and cannot be pickled or copied"
        raise TypeError(msg)


class Hidden(_HoldsKey, Generic[T]):
    """Keeps a secret out of the repr and the tracebacks of what holds it.

    Crash reporters show the local variables of every frame of a traceback. So a frame of this
    library that may raise, or call what raises, keeps a secret in here and nowhere else.
    """

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value


class HmacSigner(_HoldsKey):
    """HMAC-SHA256, hexadecimal: for system-generated keys.

    The key's state is prepared once and copied for each signature.
    """

    __slots__ = ("_prepared", "json_form")

    def __init__(self, secret: str, *, json_form: JsonForm = JsonForm.QUESTION_MARK) -> None:
        hidden = Hidden(secret)
        del secret
        _check_credential(hidden, "secret")
        self._prepared = hmac.new(hidden.value.encode(), digestmod="sha256")
        self.json_form = json_form

    async def sign(self, payload: bytes) -> str:
        """Return the signature of `payload` in lower-case hexadecimal."""
        mac = self._prepared.copy()
        mac.update(payload)
        return mac.hexdigest()

    def close(self) -> None:
        """Nothing to give back."""


class RsaSigner(_HoldsKey):
    """RSASSA-PKCS1-v1_5 with SHA-256, Base64: for self-generated keys.

    The key is parsed once (parsing costs tens of milliseconds). Signatures are made in two threads
    beside the event loop: an RSA-4096 signature takes milliseconds, and a batch of them made in
    line would hold up every price feed of the bot.
    """

    __slots__ = ("_key", "_threads", "json_form")

    def __init__(
        self,
        private_key: str | bytes | os.PathLike[str],
        *,
        json_form: JsonForm = JsonForm.CONCATENATED,
    ) -> None:
        hidden = Hidden(private_key)
        del private_key
        self._key = _load_rsa_key(hidden)
        self._threads = ThreadPoolExecutor(_RSA_THREADS, thread_name_prefix="threecommas-rsa")
        self.json_form = json_form

    async def sign(self, payload: bytes) -> str:
        """Return the signature of `payload` in Base64, one line."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._sign, payload)

    def _sign(self, payload: bytes) -> str:
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

        return base64.b64encode(self._key.sign(payload, PKCS1v15(), SHA256())).decode()

    def close(self) -> None:
        """End the signing threads."""
        self._threads.shutdown(wait=False)


class SigningAuth(_HoldsKey, httpx.Auth):
    """Signs a request as the last thing that happens to it before it goes out."""

    requires_request_body = True

    def __init__(self, api_key: str, signer: Signer) -> None:
        self._api_key = Hidden(api_key)
        del api_key
        _check_credential(self._api_key, "api_key")
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

        Spellings with escapes are found too. Redact before a text is cut: half a key is still too
        much of it.

        Args:
            text: what the server said.
            request: the one that it answered, whose signature it may have echoed; None where that
                is not known.
        """
        signature = None if request is None else request.headers.get("Signature")
        for secret in (self._api_key.value, signature):
            if secret:
                text = _blotted(text, secret)
        return text

    def close(self) -> None:
        """Give back what the signer holds."""
        self._signer.close()


# A printable character of ASCII as JSON, Python, a URL or HTML may write it.
# A run of backslashes is looked at once, from its first one: it may be as long as an answer.
_ESCAPED = re.compile(
    r"(?<!\\)\\++(?:(?:u00|x)(?P<a>[2-7][0-9a-f])|(?P<slash>/))|%(?P<b>[2-7][0-9a-f])"
    r"|&#x0*(?P<c>[2-7][0-9a-f]);|&#0*(?P<decimal>[1-9][0-9]{1,2});",
    re.IGNORECASE,
)


def _blotted(text: str, secret: str) -> str:
    for spelling in (secret, jsonlib.dumps(secret)[1:-1]):
        text = text.replace(spelling, _BLOT)
    plain = _ESCAPED.sub(_unescaped, text)
    return plain.replace(secret, _BLOT) if secret in plain else text


def _unescaped(found: re.Match[str]) -> str:
    """Return the character that an escape stands for, where JSON takes it unescaped as well."""
    if found["slash"]:
        return "/"
    digits = found["a"] or found["b"] or found["c"]
    char = chr(int(digits, 16) if digits else int(found["decimal"]))
    return char if char.isascii() and char.isprintable() and char not in '"\\' else found[0]


def _check_credential(hidden: Hidden[str], name: str) -> None:
    """Check a key or secret that is to be sent, or say what is wrong without showing it."""
    if problem := _problem_of(hidden.value):
        msg = f"{name} {problem}"
        raise ConfigurationError(msg)


def _problem_of(credential: object) -> str:
    if not isinstance(credential, str):
        return f"must be a str, not {type(credential).__name__}"
    if not credential:
        return "is empty"
    if not (credential.isascii() and credential.isprintable()) or " " in credential:
        return "holds white space or characters that no key has; was it cut or quoted?"
    return ""


def _load_rsa_key(hidden: Hidden[str | bytes | os.PathLike[str]]) -> RSAPrivateKey:
    key = _rsa_key(hidden.value)
    if isinstance(key, str):
        raise ConfigurationError(key)
    return key


def _rsa_key(private_key: str | bytes | os.PathLike[str]) -> RSAPrivateKey | str:
    """Return the key, or what is wrong with it: nothing that has it as a local may raise."""
    try:
        from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
            load_pem_private_key,
        )
    except ImportError:
        return "RSA keys need an extra: pip install 'threecommas-async[rsa]'"
    try:
        pem = _pem_bytes(private_key)
    except (OSError, ValueError, TypeError) as error:
        # The text is not repeated: it may be a key that lost its first line.
        return f"private_key is neither PEM text nor a readable file ({type(error).__name__})"
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        return "private_key is encrypted; give it without a passphrase"
    except Exception:  # noqa: BLE001 - whatever is wrong with it, the key is not shown
        return "private_key is not a PEM private key"
    return _usable(key) if isinstance(key, rsa.RSAPrivateKey) else "private_key is not an RSA key"


def _usable(key: RSAPrivateKey) -> RSAPrivateKey | str:
    if key.key_size < _MIN_RSA_BITS:
        return f"private_key has {key.key_size} bits; 3Commas takes 2048 or 4096"
    return key


def _pem_bytes(private_key: str | bytes | os.PathLike[str]) -> bytes:
    """Return PEM bytes from PEM text, PEM bytes, or the path of a PEM file."""
    if isinstance(private_key, str) and "-----BEGIN" in private_key:
        private_key = private_key.encode(errors="replace")
    if isinstance(private_key, bytes):
        # An environment variable often carries the line ends as the two characters "\n".
        return private_key.replace(b"\\r", b"").replace(b"\\n", b"\n")
    return Path(private_key).read_bytes()
