"""Signing: published vectors, and the exact bytes that are sent."""

import json
from collections.abc import Callable
from urllib.parse import quote

import httpx
import pytest

from tests.vectors import API_KEY, BASE, CHANGE_MODE, JSON_BODY, PATH, SECRET, Server, hmac_of
from threecommas_async import AsyncClient, InvalidRequestError
from threecommas_async.endpoint import Endpoint, Safety
from threecommas_async.http.auth import SigningAuth
from threecommas_async.models.user import ValidateResult
from threecommas_async.signing import HmacSigner, JsonForm, signing_payload

# From the vendor's page on HMAC signing.
PARAMETERS_SIGNED = "bca8d8c10acfbe8e76c5335d3efbe0a550487170a8bb7aaea0a13efabab55316"
JSON_SIGNED = "0475b407ba6f2388d213134e478b330f74073388a232737837f79018694ae373"
JSON_SIGNED_CONCATENATED = "a04435bdb0e7fc06450833a1e26d385c56ad3495c10cf3a36d432787591f5edb"
PATH_SIGNED = "2bedfe2a6b037b92c45a224103f4016da5df07149f34fa04e80f8e919b9a2103"

BY_NAME = Endpoint("GET", "/ver1/things/{name}", ValidateResult, Safety.SAFE)
PUBLIC = Endpoint("GET", "/ver1/public", ValidateResult, Safety.SAFE, signed=False)


@pytest.fixture
def server() -> Server:
    return Server()


def client_of(server: Server, *, json_form: JsonForm | None = None) -> AsyncClient:
    return AsyncClient(
        API_KEY, secret=SECRET, json_form=json_form, transport=httpx.MockTransport(server)
    )


def bare_http(server: Server, json_form: JsonForm = JsonForm.QUESTION_MARK) -> httpx.AsyncClient:
    """Return a plain httpx client that signs as ours does: it signs the bytes that it sends."""
    auth = SigningAuth(API_KEY, HmacSigner(SECRET, json_form=json_form))
    return httpx.AsyncClient(auth=auth, transport=httpx.MockTransport(server))


# --- what is signed


@pytest.mark.parametrize(
    ("payload", "signature"),
    [
        (PATH + b"?mode=paper", PARAMETERS_SIGNED),
        (PATH + b"?" + JSON_BODY, JSON_SIGNED),
        (PATH, PATH_SIGNED),
        (PATH + JSON_BODY, JSON_SIGNED_CONCATENATED),
    ],
)
async def test_hmac_signatures_equal_the_published_vectors(payload: bytes, signature: str) -> None:
    signer = HmacSigner(SECRET)
    assert await signer.sign(payload) == signature
    assert await signer.sign(payload) == signature  # the prepared state can be reused


@pytest.mark.parametrize(
    ("target", "body", "json", "json_form", "payload"),
    [
        (b"/a", b"", False, JsonForm.QUESTION_MARK, b"/a"),
        (b"/a?b=1", b"", False, JsonForm.QUESTION_MARK, b"/a?b=1"),
        (b"/a", b"b=1", False, JsonForm.QUESTION_MARK, b"/a?b=1"),
        (b"/a", b"b=1", False, JsonForm.CONCATENATED, b"/a?b=1"),
        (b"/a", b"{}", True, JsonForm.QUESTION_MARK, b"/a?{}"),
        (b"/a", b"{}", True, JsonForm.CONCATENATED, b"/a{}"),
        (b"/a", b"", True, JsonForm.QUESTION_MARK, b"/a"),
        (b"/a?b=1", b"{}", True, JsonForm.QUESTION_MARK, b"/a?b=1{}"),
        (b"/a?b=1", b"{}", True, JsonForm.CONCATENATED, b"/a?b=1{}"),
    ],
    ids=[
        "nothing",
        "query",
        "form",
        "form is never concatenated",
        "json",
        "json concatenated",
        "json without a body",
        "query and json",
        "query and json concatenated",
    ],
)
def test_signing_payload_follows_the_vendors_pages(
    target: bytes,
    body: bytes,
    json: bool,  # noqa: FBT001 - a column of the table
    json_form: JsonForm,
    payload: bytes,
) -> None:
    assert signing_payload(target, body, json=json, json_form=json_form) == payload


async def test_query_is_signed_as_published(server: Server) -> None:
    async with bare_http(server) as http:
        await http.post(f"{BASE}/ver1/users/change_mode", params={"mode": "paper"})
    assert server.signature == PARAMETERS_SIGNED
    assert server.requests[-1].headers["Apikey"] == API_KEY


async def test_form_body_is_signed_as_published(server: Server) -> None:
    async with bare_http(server) as http:
        await http.post(f"{BASE}/ver1/users/change_mode", data={"mode": "paper"})
    assert server.signature == PARAMETERS_SIGNED


@pytest.mark.parametrize(
    ("json_form", "signature"),
    [
        (JsonForm.QUESTION_MARK, JSON_SIGNED),
        (JsonForm.CONCATENATED, JSON_SIGNED_CONCATENATED),
    ],
)
async def test_json_body_is_signed_with_its_own_spacing(
    server: Server, json_form: JsonForm, signature: str
) -> None:
    async with bare_http(server, json_form) as http:
        await http.post(
            f"{BASE}/ver1/users/change_mode",
            content=JSON_BODY,
            headers={"Content-Type": "application/json; charset=utf-8"},
        )
    assert server.body == JSON_BODY
    assert server.signature == signature


# --- the signature covers the bytes that are sent


async def test_call_without_parameters_signs_its_path_with_the_prefix(server: Server) -> None:
    async with client_of(server) as client:
        await client.users.validate()
    assert server.target == b"/public/api/ver1/validate"
    assert server.signature == hmac_of(server.target)


async def test_custom_prefix_of_the_base_url_is_signed(server: Server) -> None:
    client = AsyncClient(
        API_KEY,
        secret=SECRET,
        base_url="http://localhost:8080/proxied/3commas/",
        transport=httpx.MockTransport(server),
    )
    async with client:
        await client.users.validate()
    assert server.target == b"/proxied/3commas/ver1/validate"
    assert server.signature == hmac_of(server.target)


async def test_json_body_is_encoded_once_and_signed_as_sent(server: Server) -> None:
    async with client_of(server) as client:
        await client.request(CHANGE_MODE, json={"mode": "paper", "note": "Größe ≤ 5"})
    assert server.body == '{"mode":"paper","note":"Größe ≤ 5"}'.encode()
    assert server.requests[-1].headers["Content-Type"] == "application/json"
    assert server.requests[-1].headers["Content-Length"] == str(len(server.body))
    assert server.signature == hmac_of(PATH + b"?" + server.body)


async def test_json_form_of_the_client_decides_the_signature(server: Server) -> None:
    async with client_of(server, json_form=JsonForm.CONCATENATED) as client:
        await client.request(CHANGE_MODE, json={"mode": "paper"})
    assert server.signature == hmac_of(PATH + server.body)


async def test_query_is_signed_in_its_encoded_form(server: Server) -> None:
    async with client_of(server) as client:
        await client.request(CHANGE_MODE, query={"pair": "USDT_BTC", "q": "a b&c=+%/é~"})
    assert server.target == PATH + b"?pair=USDT_BTC&q=a%20b%26c%3D%2B%25%2F%C3%A9~"
    assert server.signature == hmac_of(server.target)


async def test_path_parameter_is_signed_in_its_encoded_form(server: Server) -> None:
    async with client_of(server) as client:
        await client.request(BY_NAME, path={"name": "a/../b c?é"})
    assert server.target == b"/public/api/ver1/things/a%2F..%2Fb%20c%3F%C3%A9"
    assert server.signature == hmac_of(server.target)


async def test_extra_headers_cannot_replace_key_and_signature(server: Server) -> None:
    async with client_of(server) as client:
        for name in ("apikey", "SIGNATURE"):
            with pytest.raises(InvalidRequestError, match="set by the client alone"):
                await client.users.validate(extra_headers={name: "mine"})
        assert server.requests == []
        await client.users.validate(extra_headers={"X": "1"})
    headers = server.requests[-1].headers
    assert headers.get_list("Apikey") == [API_KEY]
    assert headers.get_list("Signature") == [hmac_of(server.target)]
    assert headers["X"] == "1"


async def test_public_endpoint_is_sent_without_key_and_signature(server: Server) -> None:
    async with client_of(server) as client:
        await client.request(PUBLIC)
    assert server.requests[-1].headers.keys().isdisjoint({"apikey", "signature"})


# --- redaction

# Like the signature of an RSA key: characters of Base64.
ECHOED = "aZ09+/=="


def echo_of(text: str) -> str:
    request = httpx.Request("GET", BASE, headers={"Signature": ECHOED})
    return SigningAuth(API_KEY, HmacSigner(SECRET)).redact(text, request)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": lambda text: text.replace("/", r"\/"),
    "JSON, first character": lambda text: f"\\u{ord(text[0]):04x}{text[1:]}",
    "JSON, all": lambda text: "".join(f"\\u{ord(char):04X}" for char in text),
    "JSON twice": lambda text: "".join(f"\\\\u{ord(char):04x}" for char in text),
    "Python": lambda text: "".join(f"\\x{ord(char):02x}" for char in text),
    "URL": lambda text: quote(text, safe=""),
    "URL, all": lambda text: "".join(f"%{ord(char):02x}" for char in text),
    "HTML": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "HTML, hexadecimal": lambda text: "".join(f"&#x{ord(char):02X};" for char in text),
}


@pytest.mark.parametrize("secret", [API_KEY, ECHOED])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_echoed_secret_is_redacted_in_any_spelling(secret: str, spelling: str) -> None:
    spelled = SPELLINGS[spelling](secret)
    text = f'{{"error": "bad \\"key\\" {spelled}, \\u0022 \\n"}}'
    echo = echo_of(text)
    assert json.loads(echo)["error"].startswith('bad "key" [redacted], " ')
    assert secret not in json.dumps(echo)


@pytest.mark.parametrize("text", ["", "%41%zz", r"\u00411 \/ &#65; &#999; \x41", "{}", "größe"])
def test_text_without_a_secret_is_unchanged(text: str) -> None:
    assert echo_of(text) == text


@pytest.mark.timeout(20)
def test_redaction_takes_linear_time() -> None:
    # Trying each backslash of a run as the first would take minutes and block the event loop.
    for run in ("\\" * 300_000, "\\" * 300_000 + "u00", "&#" + "0" * 300_000, "&#x0" * 75_000):
        assert echo_of(run) == run
    assert echo_of("\\" * 300_000 + API_KEY) == "\\" * 300_000 + "[redacted]"


def test_key_with_a_backslash_or_quote_is_redacted_in_json() -> None:
    request = httpx.Request("GET", BASE)
    auth = SigningAuth('ke\\y"1', HmacSigner(SECRET))
    assert auth.redact(json.dumps({"error": 'ke\\y"1'}), request) == '{"error": "[redacted]"}'
