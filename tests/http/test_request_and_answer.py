"""Our requests and answers equal those of httpx, and cost less."""

import gzip
import pickle
from collections.abc import AsyncIterator

import httpx
import pytest

from threecommas_async import ConfigurationError
from threecommas_async.endpoint import Endpoint, Safety
from threecommas_async.http.answer import Answer, BodyTooLarge, answer_of, receive
from threecommas_async.http.request import Request, target_of

ORIGIN = httpx.URL("https://api.3commas.io/")
TARGET = "/public/api/v2/smart_trades?note=%C3%A4%20b"


def request(body: bytes = b"") -> Request:
    return Request(
        "POST",
        origin=ORIGIN,
        target=TARGET,
        headers=httpx.Headers({"Host": "api.3commas.io"}),
        body=body,
        extensions={"timeout": {}},
    )


async def test_request_equals_the_one_httpx_would_build() -> None:
    theirs = httpx.Request("POST", f"https://api.3commas.io{TARGET}", content=b"{}")
    ours = request(b"{}")
    assert ours.url == theirs.url
    assert ours.url.params["note"] == "ä b"
    assert (ours.method, ours.content, await ours.aread()) == ("POST", b"{}", b"{}")
    assert repr(ours) == repr(theirs)
    assert pickle.loads(pickle.dumps(ours)).url == theirs.url  # noqa: S301 - just made
    assert target_of(ours) == target_of(theirs) == TARGET


def test_requests_do_not_share_their_headers() -> None:
    headers = httpx.Headers({"Host": "api.3commas.io"})
    one, other = (
        Request("GET", origin=ORIGIN, target="/", headers=headers, body=b"", extensions={})
        for _ in range(2)
    )
    one.headers["Signature"] = "abc"
    assert "Signature" not in other.headers
    assert "Signature" not in headers


@pytest.mark.parametrize("path", ["/v2/a", "/ver1/a-b_c.d~e/%C3%A4", "/v2/{trade_id}/close"])
def test_endpoint_accepts_a_path_that_can_be_sent_as_written(path: str) -> None:
    assert Endpoint("GET", path, str, Safety.SAFE).path == path


@pytest.mark.parametrize(
    "path", ["", "/", "v2/a", "/a b", "/ä", "/a?b=c", "/a//b", "/a#b", "/%zz", "/a/../b", "/."]
)
def test_endpoint_refuses_a_path_that_would_need_escaping(path: str) -> None:
    with pytest.raises(ConfigurationError, match="escaped"):
        Endpoint("GET", path, str, Safety.SAFE)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("read", [True, False])
async def test_answer_equals_the_one_httpx_would_build(
    packed: bool,  # noqa: FBT001
    read: bool,  # noqa: FBT001
) -> None:
    body = '{"name": "ä"}'.encode()
    sent = gzip.compress(body) if packed else body
    headers = httpx.Headers({"Content-Type": "application/json"})
    if packed:
        headers["Content-Encoding"] = "gzip"
    response = answer_of(Answer(201, headers, b""), sent)
    if read:
        await response.aread()
    answer = await receive(response, max_bytes=100)
    assert (answer.status_code, answer.headers, answer.body) == (201, headers, body)


@pytest.mark.parametrize("charset", ["base64", "hex", "utf-16", "undefined", "idna", "rot13"])
def test_answer_text_ignores_the_charset_named_by_the_server(charset: str) -> None:
    headers = httpx.Headers({"Content-Type": f"text/html; charset={charset}"})
    answer = Answer(504, headers, b"caf\xc3\xa9 \xff")
    assert answer.text == "café \ufffd"
    assert repr(answer) == "<Answer 504>"


@pytest.mark.parametrize("over", [0, 1])
async def test_body_limit_is_the_longest_accepted_body(over: int) -> None:
    head = Answer(200, httpx.Headers({}), b"")
    receiving = receive(answer_of(head, b"x" * (10 + over)), max_bytes=10)
    if not over:
        assert (await receiving).body == b"x" * 10
        return
    with pytest.raises(BodyTooLarge, match=r"10 bytes.*AsyncClient\(max_response_bytes=") as info:
        await receiving
    assert info.value.answer.status_code == 200


@pytest.mark.parametrize("encoding", ["", "identity", " X-GZIP "])
async def test_identity_and_legacy_encoding_names_are_accepted(
    encoding: str,
) -> None:
    sent = gzip.compress(b"{}") if "GZIP" in encoding else b"{}"
    head = Answer(200, httpx.Headers({"Content-Encoding": encoding}), b"")
    assert (await receive(answer_of(head, sent), max_bytes=100)).body == b"{}"


async def test_body_limit_applies_to_a_body_received_whole() -> None:
    response = answer_of(Answer(200, httpx.Headers(), b""), b"12345")
    assert (await receive(response, max_bytes=5)).body == b"12345"
    with pytest.raises(BodyTooLarge, match="4 bytes"):
        await receive(response, max_bytes=4)
    assert response.is_closed


async def test_answer_of_another_transport_is_read_to_its_end_and_closed() -> None:
    class Parts(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"ab"
            yield b"c"

    response = httpx.Response(200, stream=Parts())
    assert (await receive(response, max_bytes=3)).body == b"abc"
    assert response.is_closed


def test_first_head_of_an_answer_is_kept_whoever_reports_another() -> None:
    asked = request()
    first, second = (Answer(status, httpx.Headers(), b"") for status in (201, 500))
    asked.receive_head(first)
    asked.receive_head(second)
    assert asked.head is first


@pytest.mark.parametrize(
    ("version", "head"),
    [
        ("http11", (b"HTTP/1.1", 429, b"Too Many", [(b"x-a", b"1")], b"")),
        ("http2", (429, [(b"x-a", b"1")])),
    ],
)
async def test_head_of_an_answer_is_known_from_what_httpcore_reports(
    version: str, head: tuple[object, ...]
) -> None:
    sending = request()
    report = sending.traced_extensions()["trace"]
    await report(f"{version}.send_request_headers.started", {"request": sending})
    await report(f"{version}.receive_response_headers.complete", {"return_value": head})
    assert sending.head is not None
    assert (sending.head.status_code, sending.head.headers["x-a"]) == (429, "1")
