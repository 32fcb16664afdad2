"""Signing of arbitrary input: the signature covers the bytes sent, and they decode to the input.

The standard library plays the other side: `hmac`, `urllib.parse` and `json`.
"""

import hashlib
import hmac
import json
from urllib.parse import parse_qsl, unquote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threecommas_async import AsyncClient, ConfigurationError
from threecommas_async.endpoint import Endpoint, Safety
from threecommas_async.models.user import ValidateResult
from threecommas_async.signing import HmacSigner, JsonForm, signing_payload

SECRET = "some-secret-0123456789"
READ = Endpoint("GET", "/ver1/things/{name}/show", ValidateResult, Safety.SAFE)
WRITE = Endpoint("POST", "/ver1/things", ValidateResult, Safety.UNSAFE)

slowly = settings(deadline=None, max_examples=60)  # a busy machine must not fail a test

json_values = st.none() | st.booleans() | st.integers() | st.text()
json_bodies = st.dictionaries(
    st.text(), json_values | st.lists(json_values) | st.dictionaries(st.text(), json_values)
)


async def sent(
    endpoint: Endpoint[ValidateResult],
    *,
    path: dict[str, str | int] | None = None,
    query: dict[str, str | int | bool | None] | None = None,
    json_body: object = None,
) -> httpx.Request:
    """Return the request as it is sent."""
    requests: list[httpx.Request] = []

    def server(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json={"valid": True})

    transport = httpx.MockTransport(server)
    async with AsyncClient("some-key", secret=SECRET, transport=transport) as client:
        await client.request(endpoint, path=path, query=query, json=json_body)
    (request,) = requests
    return request


def hmac_of(payload: bytes) -> str:
    return hmac.digest(SECRET.encode(), payload, hashlib.sha256).hex()


@slowly
@given(payload=st.binary(max_size=300))
async def test_hmac_agrees_with_the_standard_library(payload: bytes) -> None:
    assert await HmacSigner(SECRET).sign(payload) == hmac_of(payload)


@slowly
@given(
    name=st.text(min_size=1).filter(lambda name: name not in {".", ".."}) | st.integers(0),
    query=st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.booleans()),
)
async def test_any_path_and_query_decode_to_the_input_and_are_signed_as_sent(
    name: str | int, query: dict[str, str | int | bool | None]
) -> None:
    request = await sent(READ, path={"name": name}, query=query)
    path, _, encoded = request.url.raw_path.decode("ascii").partition("?")
    segments = path.split("/")
    assert [*segments[:5], *segments[6:]] == ["", "public", "api", "ver1", "things", "show"]
    assert unquote(segments[5]) == str(name)
    assert dict(parse_qsl(encoded, keep_blank_values=True, strict_parsing=bool(encoded))) == {
        key: str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in query.items()
    }
    assert request.headers["Signature"] == hmac_of(request.url.raw_path)


@slowly
@given(body=json_bodies)
async def test_any_json_body_decodes_to_the_input_and_is_signed_as_sent(
    body: dict[str, object],
) -> None:
    request = await sent(WRITE, json_body=body)
    assert json.loads(request.content) == body
    assert request.headers["Signature"] == hmac_of(request.url.raw_path + b"?" + request.content)


@slowly
@given(
    target=st.binary(),
    body=st.binary(),
    is_json=st.booleans(),
    json_form=st.sampled_from(JsonForm),
)
def test_payload_is_target_and_body_with_at_most_a_question_mark_between(
    target: bytes,
    body: bytes,
    is_json: bool,  # noqa: FBT001 - drawn
    json_form: JsonForm,
) -> None:
    payload = signing_payload(target, body, json=is_json, json_form=json_form)
    assert payload in {target + body, target + b"?" + body}


@slowly
@given(value=st.text(min_size=8).filter(lambda text: not text.isprintable() or " " in text))
def test_refused_secret_is_not_shown(value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        HmacSigner(value)
    assert value not in f"{caught.value} {caught.value!r}"
