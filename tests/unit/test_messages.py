"""Requests and answers are complete ones of httpx, made with less work."""

import asyncio
import gzip
import pickle
import zlib
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from threecommas_async import ConfigurationError
from threecommas_async.endpoint import Endpoint, Safety
from threecommas_async.messages import BodyError, BodyTooLarge, Request, receive, target_of

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


async def test_it_is_what_httpx_would_have_made() -> None:
    theirs = httpx.Request("POST", f"https://api.3commas.io{TARGET}", content=b"{}")
    ours = request(b"{}")
    assert ours.url == theirs.url
    assert ours.url.params["note"] == "ä b"
    assert (ours.method, ours.content, await ours.aread()) == ("POST", b"{}", b"{}")
    assert repr(ours) == repr(theirs)
    assert pickle.loads(pickle.dumps(ours)).url == theirs.url  # noqa: S301 - just made
    assert target_of(ours) == target_of(theirs) == TARGET


def test_the_headers_of_one_are_not_those_of_the_next() -> None:
    headers = httpx.Headers({"Host": "api.3commas.io"})
    one, other = (
        Request("GET", origin=ORIGIN, target="/", headers=headers, body=b"", extensions={})
        for _ in range(2)
    )
    one.headers["Signature"] = "abc"
    assert "Signature" not in other.headers
    assert "Signature" not in headers


@pytest.mark.parametrize("path", ["/v2/a", "/ver1/a-b_c.d~e/%C3%A4", "/v2/{trade_id}/close"])
def test_a_path_that_can_be_sent_as_written_makes_an_endpoint(path: str) -> None:
    assert Endpoint("GET", path, str, Safety.SAFE).path == path


@pytest.mark.parametrize(
    "path", ["", "/", "v2/a", "/a b", "/ä", "/a?b=c", "/a//b", "/a#b", "/%zz", "/a/../b", "/."]
)
def test_a_path_that_cannot_is_refused_before_it_is_signed(path: str) -> None:
    with pytest.raises(ConfigurationError, match="escaped"):
        Endpoint("GET", path, str, Safety.SAFE)


def answered(body: bytes, encoding: str | None = None) -> httpx.Response:
    """An answer that has begun, as `send(stream=True)` returns it."""
    headers = {"Content-Type": "application/json"}
    if encoding:
        headers["Content-Encoding"] = encoding
    return httpx.Response(201, headers=headers, stream=Parts(body))


class Parts(httpx.AsyncByteStream):
    """A body in parts, which notes that it was closed."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.given = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.body), 1000):
            part = self.body[start : start + 1000]
            self.given += len(part)
            yield part

    async def aclose(self) -> None:
        self.closed = True


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "GZIP": gzip.compress,
}


@pytest.mark.parametrize("encoding", [None, *PACKINGS])
async def test_a_body_is_read_to_its_end_and_decompressed(encoding: str | None) -> None:
    body = '{"name": "ä"}'.encode() * 100
    sent = PACKINGS[encoding](body) if encoding else body
    response = answered(sent, encoding)
    answer = await receive(response, max_bytes=10_000)
    assert (answer.status_code, answer.body) == (201, body)
    assert answer.text == body.decode()
    assert isinstance(response.stream, Parts)
    assert response.stream.closed


async def test_deflate_without_its_header_is_understood_too() -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(b'{"a": 1}') + packer.flush()
    answer = await receive(answered(packed, "deflate"), max_bytes=10_000)
    assert answer.body == b'{"a": 1}'


async def test_a_body_that_a_mock_has_read_already_is_taken_as_it_is() -> None:
    response = httpx.Response(200, json={"a": 1})
    assert (await receive(response, max_bytes=100)).body == b'{"a":1}'
    with pytest.raises(
        BodyTooLarge, match=r"raise it with AsyncClient\(max_response_bytes=\.\.\.\)"
    ):
        await receive(httpx.Response(200, json={"a": 1}), max_bytes=3)


async def test_no_more_of_a_body_is_read_than_the_limit() -> None:
    response = answered(b"x" * 1_000_000)
    with pytest.raises(BodyTooLarge, match="longer than 10000 bytes"):
        await receive(response, max_bytes=10_000)
    assert isinstance(response.stream, Parts)
    assert response.stream.given <= 11_000
    assert response.stream.closed


async def test_a_small_body_that_would_become_a_huge_one_stops_at_the_limit() -> None:
    packed = gzip.compress(b"0" * 50_000_000)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    with pytest.raises(BodyTooLarge):
        await receive(answered(packed, "gzip"), max_bytes=1_000_000)
    beside.cancel()
    assert turns >= 10


@pytest.mark.parametrize(
    ("body", "encoding", "said"),
    [
        (b"{}", "br", "was not asked for"),
        (b"{}", "gzip", "cannot be decompressed"),
        (gzip.compress(b"x" * 1000)[:-9], "gzip", "ends too early"),
    ],
)
async def test_a_body_that_cannot_be_decompressed_is_said_to_be_so(
    body: bytes, encoding: str, said: str
) -> None:
    with pytest.raises(BodyError, match=said) as caught:
        await receive(answered(body, encoding), max_bytes=10_000)
    assert caught.value.answer.status_code == 201


async def test_an_answer_shows_nothing_of_what_it_may_echo() -> None:
    answer = await receive(httpx.Response(200, text="secret"), max_bytes=100)
    assert repr(answer) == "<Answer 200>"


@pytest.mark.parametrize("charset", ["base64", "utf-16", "undefined", "rot13"])
async def test_the_charset_that_a_server_names_is_not_used(charset: str) -> None:
    headers = {"Content-Type": f"text/html; charset={charset}"}
    response = httpx.Response(504, headers=headers, stream=Parts(b"\xffhello"))
    assert (await receive(response, max_bytes=100)).text == "\ufffdhello"
