"""Key, secret and signature appear in no repr, text, log, exception, traceback, pickle or URL."""

import asyncio
import io
import logging
import pickle
import traceback
from collections.abc import Iterator

import httpx
import pytest

from tests.support import KEY, SECRET, Api, client_of
from threecommas_async import AsyncClient, RetryPolicy, ThreeCommasError

signatures: list[str] = []


class Echo:
    """A server that gives back what it was sent, in every way it can."""

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
    """All that a crash reporter could show: the locals of every frame included."""
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
async def test_an_answer_that_echoes_them_is_blotted_out(
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
async def test_a_failed_exchange_does_not_carry_the_signed_request(
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


async def test_nothing_of_them_is_logged_or_in_the_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    urls: list[str] = []
    api = Api([7])

    async def watching(request: httpx.Request) -> httpx.Response:
        signatures.append(request.headers["Signature"])
        urls.append(str(request.url))
        return await api(request)

    async with client_of(watching) as client:
        trade = await client.smart_trades.close_by_market(7)
        report = await client.smart_trades.close_many([7, 8])
        texts = [repr(client), repr(vars(client)), repr(trade), repr(report), str(urls)]
        parts: list[object] = list(vars(client).values())
        texts += [repr(vars(part)) for part in parts if hasattr(part, "__dict__")]
    assert len(signatures) >= 3
    assert holds_no_secret(" ".join(texts))
    assert "close_by_market" in caplog.text
    assert holds_no_secret(caplog.text)


def test_a_wrong_key_is_not_repeated_in_the_complaint() -> None:
    for key in (f"{KEY} {SECRET}", f"{KEY}\n", ""):
        with pytest.raises(ThreeCommasError) as caught:
            AsyncClient(key, secret=SECRET)
        assert holds_no_secret(str(caught.value))


async def test_a_cancelled_call_leaves_nothing_behind() -> None:
    async with client_of(Api([7], latency=9.0)) as client:
        task = asyncio.create_task(client.smart_trades.get(7))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert KEY not in repr(vars(caught.value))
