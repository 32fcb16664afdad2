"""Keys: RSA, invalid keys, and that no key is ever shown."""

import base64
import copy
import logging
import pickle
import shutil
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.vectors import API_KEY, BASE, CHANGE_MODE, JSON_BODY, PATH, SECRET, Server, hmac_of
from threecommas_async import APIStatusError, AsyncClient, ConfigurationError
from threecommas_async.http.auth import SigningAuth
from threecommas_async.signing import HmacSigner, JsonForm, RsaSigner


@pytest.fixture
def server() -> Server:
    return Server()


# --- RSA


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


AnyPrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def pem_of(
    key: AnyPrivateKey,
    form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
    *,
    passphrase: bytes | None = None,
) -> bytes:
    encryption = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, form, encryption)


@pytest.fixture
def signer(rsa_key: rsa.RSAPrivateKey) -> RsaSigner:
    return RsaSigner(pem_of(rsa_key))


def openssl_signature(key_file: Path, payload: bytes) -> str:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command is not installed")
    command = [openssl, "dgst", "-sha256", "-sign", str(key_file)]
    done = subprocess.run(command, input=payload, capture_output=True, check=True)  # noqa: S603
    return base64.b64encode(done.stdout).decode()


@pytest.mark.parametrize(
    "payload",
    [b"", PATH, PATH + b"?mode=paper", PATH + JSON_BODY, bytes(range(256)) * 40],
    ids=["nothing", "path", "parameters", "json", "binary"],
)
async def test_rsa_signature_equals_that_of_the_openssl_command(
    rsa_key: rsa.RSAPrivateKey, signer: RsaSigner, tmp_path: Path, payload: bytes
) -> None:
    key_file = tmp_path / "key.pem"
    key_file.write_bytes(pem_of(rsa_key))
    assert await signer.sign(payload) == openssl_signature(key_file, payload)


def as_text(pem: bytes, _: Path) -> str:
    return pem.decode()


def as_bytes(pem: bytes, _: Path) -> bytes:
    return pem


def as_one_line(pem: bytes, _: Path) -> str:
    return pem.decode().replace("\n", "\\n")


def as_path(pem: bytes, folder: Path) -> Path:
    path = folder / "key.pem"
    path.write_bytes(pem)
    return path


def as_path_text(pem: bytes, folder: Path) -> str:
    return str(as_path(pem, folder))


@pytest.mark.parametrize("given_as", [as_text, as_bytes, as_one_line, as_path, as_path_text])
@pytest.mark.parametrize(
    "form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL]
)
async def test_rsa_key_is_accepted_as_text_bytes_or_path(
    rsa_key: rsa.RSAPrivateKey,
    tmp_path: Path,
    given_as: Callable[[bytes, Path], str | bytes | Path],
    form: serialization.PrivateFormat,
) -> None:
    signature = await RsaSigner(given_as(pem_of(rsa_key, form), tmp_path)).sign(b"payload")
    rsa_key.public_key().verify(
        base64.b64decode(signature, validate=True), b"payload", padding.PKCS1v15(), hashes.SHA256()
    )


@pytest.mark.parametrize(
    ("json_form", "separator"),
    [(None, b""), (JsonForm.CONCATENATED, b""), (JsonForm.QUESTION_MARK, b"?")],
)
async def test_rsa_concatenates_path_and_json_by_default(
    rsa_key: rsa.RSAPrivateKey, server: Server, json_form: JsonForm | None, separator: bytes
) -> None:
    client = AsyncClient(
        API_KEY,
        private_key=pem_of(rsa_key),
        json_form=json_form,
        transport=httpx.MockTransport(server),
    )
    async with client:
        await client.request(CHANGE_MODE, json={"mode": "paper"})
    rsa_key.public_key().verify(
        base64.b64decode(server.signature, validate=True),
        PATH + separator + b'{"mode":"paper"}',
        padding.PKCS1v15(),
        hashes.SHA256(),
    )


async def test_rsa_signature_is_computed_off_the_event_loop(
    signer: RsaSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def record_thread_and_pad() -> padding.PKCS1v15:
        threads.append(threading.current_thread())
        return original()

    original = padding.PKCS1v15
    monkeypatch.setattr(padding, "PKCS1v15", record_thread_and_pad)
    await signer.sign(b"payload")
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()
    assert threads[0].name.startswith("threecommas-rsa")


async def test_closed_client_stops_its_signing_threads(
    rsa_key: rsa.RSAPrivateKey, server: Server
) -> None:
    before = set(threading.enumerate())
    client = AsyncClient(
        API_KEY, private_key=pem_of(rsa_key), transport=httpx.MockTransport(server)
    )
    async with client:
        await client.users.validate()
        started = set(threading.enumerate()) - before
        assert started
    for thread in started:
        thread.join(10)
    assert not any(thread.is_alive() for thread in started)


# --- invalid keys


def encrypted(key: rsa.RSAPrivateKey) -> bytes:
    return pem_of(key, passphrase=b"passphrase")


def encrypted_in_the_old_form(key: rsa.RSAPrivateKey) -> bytes:
    return pem_of(key, serialization.PrivateFormat.TraditionalOpenSSL, passphrase=b"passphrase")


def elliptic(_: rsa.RSAPrivateKey) -> bytes:
    return pem_of(ec.generate_private_key(ec.SECP256R1()))


def too_short(_: rsa.RSAPrivateKey) -> bytes:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
    return pem_of(short)


def public_half(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def cut_off(key: rsa.RSAPrivateKey) -> str:
    return pem_of(key).decode()[:900]


def damaged(key: rsa.RSAPrivateKey) -> str:
    lines = pem_of(key).decode().splitlines()
    return "\n".join([*lines[:3], "!garbage!", *lines[4:]])


def garbage(_: rsa.RSAPrivateKey) -> bytes:
    return b"\x00\xff not a key, but long enough to be seen in a message"


def without_its_first_line(key: rsa.RSAPrivateKey) -> str:
    return "\n".join(pem_of(key).decode().splitlines()[1:])


def name_of_no_file(_: rsa.RSAPrivateKey) -> str:
    return "/nowhere/with-a-secret-name.pem"


def name_no_file_can_have(_: rsa.RSAPrivateKey) -> str:
    return "no\0file\0has\0such\0a\0name"


def nothing(_: rsa.RSAPrivateKey) -> str:
    return ""


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (encrypted, "is encrypted"),
        (encrypted_in_the_old_form, "is encrypted"),
        (elliptic, "not an RSA key"),
        (too_short, "has 1024 bits; 3Commas takes 2048 or 4096"),
        (public_half, "not a PEM private key"),
        (cut_off, "not a PEM private key"),
        (damaged, "not a PEM private key"),
        (garbage, "not a PEM private key"),
        (without_its_first_line, "neither PEM text nor a readable file"),
        (name_of_no_file, "neither PEM text nor a readable file"),
        (name_no_file_can_have, "neither PEM text nor a readable file"),
        (nothing, "neither PEM text nor a readable file"),
    ],
)
def test_key_that_cannot_sign_is_refused_without_being_shown(
    rsa_key: rsa.RSAPrivateKey,
    wrong: Callable[[rsa.RSAPrivateKey], str | bytes],
    says: str,
) -> None:
    given = wrong(rsa_key)
    with pytest.raises(ConfigurationError, match=says) as caught:
        AsyncClient(API_KEY, private_key=given)
    shown = "".join(traceback.format_exception(caught.value))
    text = given if isinstance(given, str) else given.decode("latin-1")
    assert not any(line in shown for line in text.splitlines() if line)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_rsa_without_its_extra_says_what_to_install(
    rsa_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Sign once before hiding the module: what cryptography fails to import stays broken.
    pem = pem_of(rsa_key)
    RsaSigner(pem)
    rsa_key.sign(b"", padding.PKCS1v15(), hashes.SHA256())
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    with pytest.raises(ConfigurationError, match=r"threecommas-async\[rsa\]"):
        RsaSigner(pem)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "must be a str, not NoneType"),
        (b"hidden-secret", "must be a str, not bytes"),
        ("", "is empty"),
        ("hidden-secret\n", "holds white space or characters that no key has"),
        ("hidden secret", "holds white space or characters that no key has"),
        ("hidden-secret\t", "holds white space or characters that no key has"),
        ("hidden-sécret", "holds white space or characters that no key has"),
        ("hidden-secret\x00", "holds white space or characters that no key has"),
    ],
)
def test_credentials_with_invalid_characters_are_refused_without_being_shown(
    value: str, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"^secret {says}") as of_secret:
        HmacSigner(value)
    with pytest.raises(ConfigurationError, match=f"^api_key {says}") as of_key:
        SigningAuth(value, HmacSigner(SECRET))
    assert "hidden" not in f"{of_secret.value!r} {of_key.value!r}"


# --- no key is shown


@pytest.fixture(params=["HmacSigner", "RsaSigner", "SigningAuth"])
def key_holder(request: pytest.FixtureRequest, signer: RsaSigner) -> object:
    holders: dict[str, object] = {
        "HmacSigner": HmacSigner(SECRET),
        "RsaSigner": signer,
        "SigningAuth": SigningAuth(API_KEY, HmacSigner(SECRET)),
    }
    return holders[request.param]


def test_repr_of_a_key_holder_shows_its_class_only(key_holder: object) -> None:
    name = f"<{type(key_holder).__name__}>"
    assert [repr(key_holder), str(key_holder), f"{key_holder}"] == [name] * 3


@pytest.mark.parametrize("copying", [pickle.dumps, copy.copy, copy.deepcopy])
def test_key_holder_cannot_be_pickled_or_copied(
    key_holder: object, copying: Callable[[object], object]
) -> None:
    with pytest.raises(TypeError, match="holds a key and cannot be pickled or copied"):
        copying(key_holder)


def test_client_shows_neither_key_nor_secret_and_cannot_be_pickled() -> None:
    client = AsyncClient(API_KEY, secret=SECRET, transport=httpx.MockTransport(Server()))
    assert repr(client) == str(client) == f"<AsyncClient {BASE}>"
    with pytest.raises(TypeError, match="holds a key"):
        pickle.dumps(client)


async def test_key_and_signature_echoed_by_the_server_are_redacted_in_error_and_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def echo(request: httpx.Request) -> httpx.Response:
        headers = request.headers
        text = f"key {headers['Apikey']} made {headers['Signature']} of {headers['Signature']}"
        return httpx.Response(401, json={"error": "signature_invalid", "error_description": text})

    caplog.set_level(logging.DEBUG)
    async with AsyncClient(API_KEY, secret=SECRET, transport=httpx.MockTransport(echo)) as client:
        with pytest.raises(APIStatusError) as caught:
            await client.users.validate()
    error = caught.value
    assert "/ver1/validate" in caplog.text
    assert error.error_description == "key [redacted] made [redacted] of [redacted]"
    shown = "".join(
        [
            *traceback.format_exception(error),
            repr(error),
            repr(vars(error)),
            pickle.dumps(error).decode("latin-1"),
            caplog.text,
        ]
    )
    for secret in (API_KEY, SECRET, hmac_of(b"/public/api/ver1/validate")):
        assert secret not in shown


def test_redact_without_a_signature_redacts_the_key() -> None:
    auth = SigningAuth(API_KEY, HmacSigner(SECRET))
    request = httpx.Request("GET", BASE)
    assert auth.redact(f"the key {API_KEY} is unknown", request) == "the key [redacted] is unknown"
    assert auth.redact("nothing to hide", request) == "nothing to hide"
