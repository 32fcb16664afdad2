"""The client: its settings and its connections."""

import asyncio
import copy
import math
import pickle
from typing import Any, cast

import httpx
import pytest

from tests.support import BASE_URL, KEY, SECRET, Api, client_of
from threecommas_async import (
    AsyncClient,
    ConfigurationError,
    InvalidRequestError,
    JsonForm,
    RateLimitError,
    RequestNotSentError,
    RetryPolicy,
    SlidingWindowLimiter,
)
from threecommas_async.endpoint import Endpoint, Safety
from threecommas_async.http.transport import ConnectionSlots, environment_proxy
from threecommas_async.rate_limit.limiter import NoLimit


async def test_client_needs_exactly_one_of_secret_and_private_key() -> None:
    with pytest.raises(ConfigurationError, match="exactly one"):
        AsyncClient(KEY)
    with pytest.raises(ConfigurationError, match="exactly one"):
        AsyncClient(KEY, secret=SECRET, private_key="-----BEGIN")


class NoPenalty(NoLimit):
    """A limiter without a default penalty."""

    penalty = cast("Any", None)


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": "http://api.3commas.io/public/api"},
        {"base_url": "ftp://127.0.0.1"},
        {"mode": "demo"},
        {"max_connections": 0},
        {"max_connections": True},
        {"max_connections": "x"},
        {"mode": []},
        {"mode": "x" * 1_000_000},
        {"timeout": "x"},
        {"timeout": math.nan},
        {"timeout": httpx.Timeout(5, read=0)},
        {"timeout": httpx.Timeout(5, connect=cast("Any", "x"))},
        {"attempt_timeout": 0},
        {"attempt_timeout": "x"},
        {"attempt_timeout": math.inf},
        {"max_response_bytes": 0},
        {"max_response_bytes": 1.5},
        {"hooks": None},
        {"hooks": print},
        {"hooks": "x"},
        {"hooks": [None]},
        {"retry": None},
        {"retry": 5},
        {"rate_limiter": 5},
        {"rate_limiter": SlidingWindowLimiter},
        {"rate_limiter": NoPenalty()},
        {"json_form": "?"},
        {"transport": 5},
        {"transport": httpx.HTTPTransport()},
        {"transport": httpx.AsyncHTTPTransport},
        {"base_url": 5},
        {"base_url": b"https://api.3commas.io"},
        {"base_url": f"https://{'a' * 64}.example"},
        {"base_url": "https://a..example"},
        {"transport": httpx.MockTransport(Api()), "http_client": httpx.AsyncClient()},
    ],
)
async def test_invalid_client_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AsyncClient(KEY, secret=SECRET, **settings)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("foreign", [object(), httpx.Client(), "httpx"])
async def test_http_client_of_another_library_is_a_type_error(foreign: Any) -> None:
    with pytest.raises(TypeError, match=r"must be an httpx\.AsyncClient"):
        AsyncClient(KEY, secret=SECRET, http_client=foreign)


async def test_client_accepts_attempt_timeout_and_max_response_bytes() -> None:
    timeout = httpx.Timeout(5, read=None)
    async with client_of(
        Api([7]), timeout=timeout, attempt_timeout=10, max_response_bytes=1_000_000
    ) as client:
        assert (await client.smart_trades.get(7)).id == 7


async def test_borrowed_http_client_is_used_as_it_is_and_never_closed() -> None:
    api, hooked = Api([7]), list[str]()

    async def hook(request: httpx.Request) -> None:
        hooked.append(request.url.path)

    borrowed = httpx.AsyncClient(
        transport=httpx.MockTransport(api),
        headers={"X-Mine": "1"},
        event_hooks={"request": [hook]},
        follow_redirects=True,
    )
    async with AsyncClient(KEY, secret=SECRET, http_client=borrowed) as client:
        await client.smart_trades.get(7)
    assert hooked == ["/public/api/v2/smart_trades/7"]
    assert not borrowed.is_closed
    await borrowed.aclose()


async def test_client_closes_its_own_transport() -> None:
    closed: list[bool] = []

    class Transport(httpx.AsyncBaseTransport):
        async def aclose(self) -> None:
            closed.append(True)

    async with AsyncClient(KEY, secret=SECRET, transport=Transport()):
        pass
    assert closed == [True]


async def test_json_form_of_the_signature_is_a_setting() -> None:
    seen: list[str] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Signature"])
        return httpx.Response(200, json=[])

    endpoint = Endpoint("POST", "/ver1/users/change_mode", list[str], Safety.UNSAFE)
    for form in (None, JsonForm.QUESTION_MARK, JsonForm.CONCATENATED):
        async with client_of(handler, json_form=form) as client:
            await client.request(endpoint, json={"mode": "paper"})
    assert seen[0] == seen[1] != seen[2]


@pytest.mark.parametrize("timeout", [0, -1, True])
async def test_timeout_must_be_a_positive_number_of_seconds(timeout: float) -> None:
    with pytest.raises(ConfigurationError, match="timeout"):
        AsyncClient(KEY, secret=SECRET, timeout=timeout)


@pytest.mark.parametrize("url", ["https://[v1.a]/", "https://xn--/", "https://h\u2100st"])
async def test_base_url_that_httpx_cannot_use_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="base_url"):
        AsyncClient(KEY, secret=SECRET, base_url=url)


async def test_coroutine_function_is_refused_as_a_hook() -> None:
    async def hook(_: object) -> None: ...

    with pytest.raises(InvalidRequestError, match="hooks must be a plain function"):
        AsyncClient(KEY, secret=SECRET, hooks=[cast("Any", hook)])


async def test_requests_go_to_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    received: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readline())
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        port: int = proxy.sockets[0].getsockname()[1]
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with AsyncClient(KEY, secret=SECRET, retry=RetryPolicy(attempts=1)) as client:
            with pytest.raises(RequestNotSentError):
                await client.smart_trades.get(1)
    assert received == [b"CONNECT api.3commas.io:443 HTTP/1.1\r\n"]


async def test_client_hides_its_key_and_cannot_be_pickled_or_copied() -> None:
    async with AsyncClient(KEY, secret=SECRET) as client:
        assert repr(client) == f"<AsyncClient {BASE_URL}>"
        with pytest.raises(TypeError):
            pickle.dumps(client)
        with pytest.raises(TypeError):
            copy.deepcopy(client)


async def test_clients_without_a_shared_limiter_do_not_share_blocks() -> None:
    refusal = httpx.Response(429, headers={"Retry-After": "60"})
    retry = RetryPolicy(rate_limit_waits=0)
    blocked = AsyncClient(
        KEY, secret=SECRET, transport=httpx.MockTransport(lambda _: refusal), retry=retry
    )
    free = AsyncClient(KEY, secret=SECRET, transport=httpx.MockTransport(Api([1])))
    async with blocked, free:
        with pytest.raises(RateLimitError):
            await blocked.smart_trades.get(1)
        with pytest.raises(RequestNotSentError):
            await blocked.smart_trades.get(1, deadline=1)
        assert (await free.smart_trades.get(1, deadline=1)).id == 1


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy.example:3128"}, "http://proxy.example:3128"),
        ({"ALL_PROXY": "proxy.example:3128"}, "http://proxy.example:3128"),
        ({"HTTP_PROXY": "http://proxy.example:3128"}, None),
        ({"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": "api.3commas.io"}, None),
    ],
)
async def test_environment_proxy_follows_the_usual_variables(
    variables: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert environment_proxy(httpx.URL(BASE_URL)) == proxy


async def test_closed_transport_refuses_requests() -> None:
    slots = ConnectionSlots(httpx.URL("http://127.0.0.1:1"), None)
    await slots.aclose()
    client = httpx.AsyncClient(transport=slots)
    with pytest.raises(httpx.ConnectError):
        await client.get("http://127.0.0.1:1/")
    await client.aclose()
