"""Requests and answers are complete ones of httpx, made with less work."""

import gzip
import pickle

import httpx
import pytest

from threecommas_async import ConfigurationError
from threecommas_async.endpoint import Endpoint, Safety
from threecommas_async.messages import Request, answer_of, target_of

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


@pytest.mark.parametrize("packed", [True, False])
async def test_an_answer_is_what_httpx_would_have_made(packed: bool) -> None:  # noqa: FBT001
    body = '{"name": "ä"}'.encode()
    sent = gzip.compress(body) if packed else body
    headers = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(sent))]
    if packed:
        headers.append((b"Content-Encoding", b"gzip"))
    ours = answer_of(201, headers, sent)
    theirs = httpx.Response(201, headers=headers, stream=httpx.ByteStream(sent))
    theirs.read()
    assert (ours.status_code, ours.headers) == (theirs.status_code, theirs.headers)
    assert ours.content == ours.read() == await ours.aread() == theirs.content == body
    assert (ours.text, ours.json()) == (theirs.text, {"name": "ä"})
