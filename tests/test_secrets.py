"""Key, secret and signature appear in no repr, text, log, exception, traceback, pickle or URL."""

import asyncio
import io
import logging
import pickle
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tests.support import KEY, SECRET, Api, client_of, trade_json
from threecommas_async import (
    AsyncClient,
    CloseFailedError,
    ConfigurationError,
    RetryPolicy,
    ThreeCommasError,
)
from threecommas_async.signing import HmacSigner, RsaSigner

signatures: list[str] = []


class Echo:
    """A server that echoes key and signature in every field of its error."""

    def __init__(self, status: int) -> None:
        self.status = status

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        signatures.append(request.headers["Signature"])
        text = f"bad {request.headers['Apikey']} {request.headers['Signature']}"
        return httpx.Response(
            self.status,
            json={"error": text, "error_description": text, "error_attributes": {"a": text}},
        )


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def all_texts(error: BaseException) -> str:
    """Return all that a crash reporter could show, including the locals of every frame."""
    out = io.StringIO()
    for one in chain(error):
        out.write(repr(one) + str(one) + repr(vars(one)))
        for frame in traceback.TracebackException.from_exception(one, capture_locals=True).format():
            out.write(frame)
    out.write(pickle.dumps(error).decode("latin-1"))
    return out.getvalue()


def holds_no_secret(text: str) -> bool:
    return not any(secret in text for secret in (KEY, SECRET, *signatures))


async def failure_of(client: AsyncClient) -> ThreeCommasError:
    with pytest.raises(ThreeCommasError) as info:
        await client.smart_trades.cancel(7)
    caught = info.value
    # The frames of this test may hold the key itself; only those of the library count.
    caught.__traceback__ = caught.__traceback__ and caught.__traceback__.tb_next
    return caught


@pytest.fixture(autouse=True)
def _forget() -> None:
    signatures.clear()


@pytest.mark.parametrize("status", [201, 400, 401, 403, 404, 418, 422, 429, 500, 502])
async def test_echoed_key_and_signature_are_redacted_in_errors_and_logs(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    retry = RetryPolicy(attempts=1, rate_limit_waits=0)
    client = client_of(Echo(status), retry=retry)
    caught = await failure_of(client)
    assert "[redacted]" in str(vars(caught))
    assert holds_no_secret(all_texts(caught))
    assert holds_no_secret(caplog.text)
    await client.aclose()


@pytest.mark.parametrize(
    "failure", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), OSError("odd")]
)
async def test_error_of_a_failed_request_does_not_hold_the_signed_request(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def failing(request: httpx.Request) -> httpx.Response:
        signatures.append(request.headers["Signature"])
        headers = str(request.headers.raw)
        assert KEY in headers
        if isinstance(failure, httpx.RequestError):
            failure.request = request
        raise failure

    client = client_of(failing, retry=RetryPolicy(attempts=1))
    caught = await failure_of(client)
    for one in chain(caught):
        assert getattr(one, "_request", None) is None
    assert holds_no_secret(all_texts(caught))
    assert holds_no_secret(caplog.text)
    await client.aclose()


async def test_successful_calls_show_no_secret_in_logs_urls_or_reprs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    urls: list[str] = []
    api = Api([7])

    async def watch_requests(request: httpx.Request) -> httpx.Response:
        signatures.append(request.headers["Signature"])
        urls.append(str(request.url))
        return await api(request)

    async with client_of(watch_requests) as client:
        trade = await client.smart_trades.close_by_market(7)
        report = await client.smart_trades.close_many([7, 8])
        texts = [repr(client), repr(vars(client)), repr(trade), repr(report), str(urls)]
        parts: list[object] = list(vars(client).values())
        texts += [repr(vars(part)) for part in parts if hasattr(part, "__dict__")]
    assert len(signatures) >= 3
    assert holds_no_secret(" ".join(texts))
    assert "close_by_market" in caplog.text
    assert holds_no_secret(caplog.text)


def test_invalid_key_is_not_shown_in_the_error() -> None:
    for key in (f"{KEY} {SECRET}", f"{KEY}\n", ""):
        with pytest.raises(ThreeCommasError) as caught:
            AsyncClient(key, secret=SECRET)
        assert holds_no_secret(str(caught.value))


FORGED = f"bad {KEY}\n2026-01-01 all is well\x1b[2J " + "x" * 100_000


@pytest.mark.looptime
async def test_key_echoed_in_the_failure_reason_of_a_trade_is_redacted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    api = Api([7, 8])
    api.failing = {7: FORGED, 8: FORGED}
    async with client_of(api) as client:
        report = await client.smart_trades.close_many([7], confirm=True)
        await client.smart_trades.close_by_market(8)
        await asyncio.sleep(60)
        with pytest.raises(CloseFailedError) as caught:
            await client.smart_trades.close_by_market(8)
    for error in (report[7].error, caught.value):
        assert isinstance(error, CloseFailedError)
        assert str(error.reason).startswith("bad [redacted] 2026-01-01 all is well")
        assert_fit_to_show(str(error))
    assert holds_no_secret(caplog.text)


async def test_key_echoed_in_the_failure_reason_of_a_deal_is_redacted() -> None:
    async def failed(_: httpx.Request) -> httpx.Response:
        return httpx.Response(201, json={"id": 7, "status": "failed", "error_message": FORGED})

    async with client_of(failed) as client:
        with pytest.raises(CloseFailedError) as caught:
            await client.deals.close_by_market(7)
    assert_fit_to_show(str(caught.value))


async def test_key_echoed_in_a_pair_is_redacted_in_the_unmatched_error() -> None:
    def list_forged_pairs(request: httpx.Request) -> httpx.Response:
        trades = [trade_json(i, "waiting_targets") | {"pair": f"{i} {FORGED}"} for i in (1, 2)]
        unfiltered = "pair" not in request.url.params
        return httpx.Response(200, json=trades if unfiltered else [])

    api = Api()
    api.on_list = list_forged_pairs
    async with client_of(api) as client:
        report = await client.smart_trades.close_all(pair="USDT_BTC")
    assert "1 bad [redacted]" in str(report.unmatched)
    assert "2 bad [redacted]" in str(report.unmatched)
    assert_fit_to_show(str(report.unmatched))


def assert_fit_to_show(text: str) -> None:
    assert holds_no_secret(text)
    assert text.isprintable()
    assert len(text) < 1_000


class OddHeaders:
    """A server that echoes key and signature in `X-Request-Id`."""

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        signatures.append(request.headers["Signature"])
        echo = f"{KEY}/{signatures[-1]}"
        return httpx.Response(422, json={"error": "no"}, headers={"X-Request-Id": echo})


class OddError(Exception):
    """An exception that can be created only once."""

    made = False

    def __init__(self, text: str) -> None:
        if self.made:
            raise ZeroDivisionError
        OddError.made = True
        super().__init__(text)


class OddProtocol:
    """A server whose answer breaks the protocol, so that the exception quotes it."""

    def __init__(self, kind: type[Exception]) -> None:
        self.kind = kind

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        signatures.append(request.headers["Signature"])
        quoted = f"illegal line: bytearray(b'{KEY} {signatures[-1]}')\n" + "x" * 100_000
        raise self.kind(quoted) from ValueError(quoted)


@pytest.mark.parametrize(
    "server",
    [
        OddHeaders(),
        OddProtocol(httpx.RemoteProtocolError),
        OddProtocol(httpx.ConnectError),
        OddProtocol(OSError),
        OddProtocol(ZeroDivisionError),
        OddProtocol(OddError),
    ],
)
async def test_key_echoed_in_a_header_or_a_broken_answer_is_redacted(
    server: OddHeaders | OddProtocol, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = client_of(server, retry=RetryPolicy(attempts=1))
    caught = await failure_of(client)
    assert "[redacted]" in str(caught)
    assert str(caught).isprintable()
    assert len(str(caught)) < 1_000
    assert holds_no_secret(all_texts(caught))
    assert holds_no_secret(caplog.text)
    await client.aclose()


def rsa_pem(bits: int = 2048, *, password: bytes | None = None) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    hidden = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden).decode()


WRONG_SETTINGS: list[dict[str, Any]] = [
    {"mode": "demo"},
    {"mode": []},
    {"timeout": "x"},
    {"timeout": 0},
    {"attempt_timeout": -1},
    {"max_response_bytes": 0},
    {"max_connections": "x"},
    {"hooks": None},
    {"hooks": ["x"]},
    {"retry": None},
    {"rate_limiter": 5},
    {"transport": 5},
    {"http_client": 5},
    {"json_form": "?"},
    {"base_url": 5},
    {"base_url": "http://elsewhere.example"},
    {"typo": 5},
]


def failure_of_making(make: Callable[[], object]) -> BaseException:
    with pytest.raises((ThreeCommasError, TypeError)) as info:
        make()
    caught = info.value
    # The frames of this file may hold the key itself; only those of the library count.
    frames = caught.__traceback__
    while frames and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    caught.__traceback__ = frames
    return caught


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("PRIVATE_KEY", "BASE_URL", "MODE"):
        monkeypatch.delenv(f"THREECOMMAS_{name}", raising=False)
    monkeypatch.setenv("THREECOMMAS_API_KEY", KEY)
    monkeypatch.setenv("THREECOMMAS_API_SECRET", SECRET)
    return monkeypatch


@pytest.mark.parametrize("settings", WRONG_SETTINGS, ids=repr)
@pytest.mark.parametrize("way", ["arguments", "environment", "both"])
def test_error_of_invalid_client_settings_shows_no_secret(
    settings: dict[str, Any], way: str, env: pytest.MonkeyPatch
) -> None:
    both: dict[str, Any] = {"secret": SECRET, **settings}
    makers: dict[str, Callable[[], object]] = {
        "arguments": lambda: AsyncClient(KEY, **both),
        "environment": lambda: AsyncClient.from_env(**settings),
        "both": lambda: AsyncClient.from_env(**both),
    }
    caught = failure_of_making(makers[way])
    assert holds_no_secret(all_texts(caught))


def test_error_of_invalid_credentials_shows_no_secret(env: pytest.MonkeyPatch) -> None:
    pem = rsa_pem()
    broken = pem.replace("PRIVATE KEY", "PRIVATE  KEY")
    ec_pem = (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode()
    )
    keys = [broken, rsa_pem(1024), rsa_pem(password=b"x"), ec_pem, pem[40:], "\0" + SECRET, 5, b""]
    makers: list[Callable[[], object]] = [
        lambda: AsyncClient(KEY),
        lambda: AsyncClient(KEY, secret=SECRET, private_key=pem),
        lambda: AsyncClient(KEY, secret=f"{SECRET} "),
        lambda: AsyncClient(f"{KEY} ", secret=SECRET),
        lambda: AsyncClient(cast("Any", [KEY]), secret=SECRET),
        lambda: AsyncClient(KEY, secret=cast("Any", [SECRET])),
        *(partial(AsyncClient, KEY, private_key=cast("Any", key)) for key in keys),
        lambda: RsaSigner(broken),
        lambda: HmacSigner(f"{SECRET} "),
    ]
    shown = [all_texts(failure_of_making(make)) for make in makers]
    env.setenv("THREECOMMAS_PRIVATE_KEY", pem)
    shown.append(all_texts(failure_of_making(AsyncClient.from_env)))
    env.delenv("THREECOMMAS_API_KEY")
    shown.append(all_texts(failure_of_making(AsyncClient.from_env)))
    for text in shown:
        assert holds_no_secret(text)
        for key in (pem, broken, *keys):
            if isinstance(key, str):
                assert not any(line in text for line in key.splitlines()[1:-1])
                assert key not in text


def test_client_whose_init_failed_has_a_safe_repr() -> None:
    client = AsyncClient.__new__(AsyncClient)
    with pytest.raises(ThreeCommasError):
        AsyncClient.__init__(client, KEY, secret=SECRET, mode="demo")
    assert repr(client) == "<AsyncClient not made>"


@pytest.mark.parametrize(
    ("proxy", "says"),
    [
        ("socks5://user:hidden@127.0.0.1:1", "pip install 'httpx\\[socks\\]', or unset"),
        ("odd://user:hidden@127.0.0.1:1", "correct the variable, or unset it"),
        ("http://user:hidden@[::1", "correct the variable, or unset it"),
    ],
)
def test_error_of_an_invalid_proxy_hides_its_password(
    proxy: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.setenv("all_proxy", proxy)
    caught = failure_of_making(lambda: AsyncClient(KEY, secret=SECRET))
    assert isinstance(caught, ConfigurationError)
    assert re.search(says, str(caught))
    text = all_texts(caught)
    assert "hidden" not in text
    assert holds_no_secret(text)


async def test_cancelled_error_holds_no_key() -> None:
    async with client_of(Api([7], latency=9.0)) as client:
        task = asyncio.create_task(client.smart_trades.get(7))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert KEY not in repr(vars(caught.value))
