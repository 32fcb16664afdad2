"""Signatures, and the protection of secrets in memory and in texts.

A signature covers exactly the bytes that are sent. The payload starts with the path *including* its
prefix (`/public/api/...`), without scheme and host, followed by the encoded query and the body:

======================  ====================  =================================================
parameters sent as      bytes signed          source
======================  ====================  =================================================
nothing                 ``PATH``              seen in public clients; not documented
query string            ``PATH?QUERY``        both signing pages
form body               ``PATH?BODY``         both signing pages
JSON body, HMAC         ``PATH?BODY``         the signature printed on the HMAC page
JSON body, RSA          ``PATH`` + ``BODY``   the RSA page
======================  ====================  =================================================

The two pages disagree on JSON, and both forms are reported to work with HMAC. So the form is a
setting of the signer (`JsonForm`); the default is the form on the algorithm's own page.

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

from .errors import ConfigurationError

if TYPE_CHECKING:
    import os

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

__all__ = [
    "Confidential",
    "HmacSigner",
    "JsonForm",
    "RsaSigner",
    "Secret",
    "Signer",
    "check_credential",
    "redact",
    "signing_payload",
]

T = TypeVar("T")

_MIN_RSA_BITS = 2048
_RSA_THREADS = 2
_REDACTED = "[redacted]"


class JsonForm(Enum):
    """The separator between path and JSON body in the signed bytes."""

    QUESTION_MARK = "?"
    """``PATH?BODY``: the default with HMAC."""
    CONCATENATED = ""
    """``PATHBODY``: the default with RSA."""


def signing_payload(target: bytes, body: bytes, *, json: bool, json_form: JsonForm) -> bytes:
    """Return the bytes to sign.

    Args:
        target: path with prefix and encoded query, as in the request line.
        body: the request's body, as it is sent.
        json: whether the body is JSON; any other body is signed as form parameters.
        json_form: the separator between path and JSON body.
    """
    if not body:
        return target
    if b"?" in target:
        # The HMAC page: "totalParams consists of the query string concatenated with the request
        # body". It shows no separator. No call of this library sends both.
        return target + body
    separator = json_form.value.encode() if json else b"?"
    return target + separator + body


class Signer(Protocol):
    """Makes signatures with one key."""

    json_form: JsonForm

    async def sign(self, payload: bytes) -> str:
        """Return the signature of `payload` for the `Signature` header."""
        ...

    def close(self) -> None:
        """Release the signer's resources."""
        ...


class Confidential:
    """Base of objects with a key: they cannot be printed, copied or pickled by accident."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        msg = f"{type(self).__name__} holds a key and cannot be pickled or copied"
        raise TypeError(msg)


class Secret(Confidential, Generic[T]):
    """A secret value that no repr and no traceback shows.

    Crash reporters show the local variables of every frame of a traceback. So a function of this
    library that may raise has secrets in its local variables only in this wrapper.
    """

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value: T = value


class HmacSigner(Confidential):
    """HMAC-SHA256, hexadecimal: for system-generated keys.

    The state of the HMAC is prepared once and copied for each signature.
    """

    __slots__ = ("_prepared", "json_form")

    def __init__(self, secret: str, *, json_form: JsonForm = JsonForm.QUESTION_MARK) -> None:
        wrapped = Secret(secret)
        del secret
        check_credential(wrapped, "secret")
        self._prepared = hmac.new(wrapped.value.encode(), digestmod="sha256")
        self.json_form: JsonForm = json_form

    async def sign(self, payload: bytes) -> str:
        """Return the signature of `payload` in lower-case hexadecimal."""
        mac = self._prepared.copy()
        mac.update(payload)
        return mac.hexdigest()

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


class RsaSigner(Confidential):
    """RSASSA-PKCS1-v1_5 with SHA-256, Base64: for self-generated keys.

    The key is parsed once, which takes tens of milliseconds. Signatures are made in two threads: an
    RSA-4096 signature takes milliseconds, and a batch on the event loop would delay all other tasks
    of the bot.
    """

    __slots__ = ("_key", "_threads", "json_form")

    def __init__(
        self,
        private_key: str | bytes | os.PathLike[str],
        *,
        json_form: JsonForm = JsonForm.CONCATENATED,
    ) -> None:
        wrapped = Secret(private_key)
        del private_key
        self._key = _load_rsa_key(wrapped)
        self._threads = ThreadPoolExecutor(_RSA_THREADS, thread_name_prefix="threecommas-rsa")
        self.json_form: JsonForm = json_form

    async def sign(self, payload: bytes) -> str:
        """Return the signature of `payload` in Base64, one line."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._sign, payload)

    def _sign(self, payload: bytes) -> str:
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

        return base64.b64encode(self._key.sign(payload, PKCS1v15(), SHA256())).decode()

    def close(self) -> None:
        """Stop the signing threads."""
        self._threads.shutdown(wait=False)


# A printable ASCII character as escaped in JSON, Python, a URL or HTML. A run of backslashes is
# matched only from its first one: it may be as long as an answer, and the search be quadratic.
_ESCAPED = re.compile(
    r"(?<!\\)\\++(?:(?:u00|x)(?P<a>[2-7][0-9a-f])|(?P<slash>/))|%(?P<b>[2-7][0-9a-f])"
    r"|&#x0*(?P<c>[2-7][0-9a-f]);|&#0*(?P<decimal>[1-9][0-9]{1,2});",
    re.IGNORECASE,
)


def redact(text: str, secret: str) -> str:
    """Return `text` without a secret, also where its characters are escaped.

    Redact before a text is shortened: a part of a key would not be found.
    """
    for spelling in (secret, jsonlib.dumps(secret)[1:-1]):
        text = text.replace(spelling, _REDACTED)
    plain = _ESCAPED.sub(_unescaped, text)
    return plain.replace(secret, _REDACTED) if secret in plain else text


def _unescaped(found: re.Match[str]) -> str:
    """Return the character for an escape, unless JSON would need it escaped."""
    if found["slash"]:
        return "/"
    digits = found["a"] or found["b"] or found["c"]
    char = chr(int(digits, 16) if digits else int(found["decimal"]))
    return char if char.isascii() and char.isprintable() and char not in '"\\' else found[0]


def check_credential(secret: Secret[str], name: str) -> None:
    """Check a key or secret.

    Raises:
        ConfigurationError: it cannot work; the message says why without showing it.
    """
    if problem := _credential_problem(secret.value):
        msg = f"{name} {problem}"
        raise ConfigurationError(msg)


def _credential_problem(credential: object) -> str:
    """Return what is wrong with a credential; empty if nothing is."""
    if not isinstance(credential, str):
        return f"must be a str, not {type(credential).__name__}"
    if not credential:
        return "is empty"
    if not (credential.isascii() and credential.isprintable()) or " " in credential:
        return "holds white space or characters that no key has; was it cut or quoted?"
    return ""


def _load_rsa_key(secret: Secret[str | bytes | os.PathLike[str]]) -> RSAPrivateKey:
    key = _rsa_key_or_problem(secret.value)
    if isinstance(key, str):
        raise ConfigurationError(key)
    return key


def _rsa_key_or_problem(private_key: str | bytes | os.PathLike[str]) -> RSAPrivateKey | str:
    """Return the key, or what is wrong with it.

    It does not raise, because a traceback would show the key text among its local variables.
    """
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
        # The message does not quote `private_key`: it may be a key without its first line.
        return f"private_key is neither PEM text nor a readable file ({type(error).__name__})"
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        return "private_key is encrypted; give it without a passphrase"
    except Exception:  # noqa: BLE001 - of any kind; its text may quote the key
        return "private_key is not a PEM private key"
    if not isinstance(key, rsa.RSAPrivateKey):
        return "private_key is not an RSA key"
    return _check_key_size(key)


def _check_key_size(key: RSAPrivateKey) -> RSAPrivateKey | str:
    if key.key_size < _MIN_RSA_BITS:
        return f"private_key has {key.key_size} bits; 3Commas takes 2048 or 4096"
    return key


def _pem_bytes(private_key: str | bytes | os.PathLike[str]) -> bytes:
    """Return PEM bytes from PEM text, PEM bytes, or the path of a PEM file."""
    if isinstance(private_key, str) and "-----BEGIN" in private_key:
        private_key = private_key.encode(errors="replace")
    if isinstance(private_key, bytes):
        # In an environment variable, line ends are often written as the two characters "\n".
        return private_key.replace(b"\\r", b"").replace(b"\\n", b"\n")
    return Path(private_key).read_bytes()
