"""An httpx transport over aiohttp, whose HTTP parser is written in C. Needs the extra `speed`.

    AsyncClient(api_key, secret=secret, transport=AiohttpTransport())

It reduces the CPU time of a close by about 30 %; the client behaves the same otherwise. It has to
be passed explicitly and is not used just because aiohttp is installed: installing an unrelated
package must not change how a bot's orders are sent.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Final

import httpx

from .http import (
    MAX_RESPONSE_BYTES,
    Answer,
    Request,
    answer_of,
    collect,
    environment_proxy,
    target_of,
)

if find_spec("aiohttp") is None:
    msg = "AiohttpTransport needs an extra: pip install 'threecommas-async[speed]'"
    raise ImportError(msg)

import aiohttp
from yarl import URL

if TYPE_CHECKING:
    import ssl

__all__ = ["AiohttpTransport"]

# The httpx exception for each of aiohttp's; the first match counts. Any other becomes a
# `ReadError`: the request may have left.
_HTTPX_ERRORS: Final[tuple[tuple[type[Exception], type[httpx.TransportError]], ...]] = (
    (aiohttp.ClientProxyConnectionError, httpx.ProxyError),
    (aiohttp.ClientHttpProxyError, httpx.ProxyError),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (UnicodeError, httpx.ConnectError),  # a host name that cannot exist
    (aiohttp.InvalidURL, httpx.UnsupportedProtocol),
    (aiohttp.NonHttpUrlClientError, httpx.UnsupportedProtocol),
    (TimeoutError, httpx.ReadTimeout),
    (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError),
    (aiohttp.ClientPayloadError, httpx.RemoteProtocolError),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError),
)

# Name and password in the URL of a proxy, which aiohttp quotes in its errors.
_CREDENTIALS: Final = re.compile(r"//\S*@")

_AIOHTTP_ERRORS: Final = (aiohttp.ClientError, OSError, UnicodeError)

# Headers that aiohttp must not add: the request has all that it needs.
_NO_AUTO_HEADERS: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class AiohttpTransport(httpx.AsyncBaseTransport):
    """An httpx transport over aiohttp's connections, for one `AsyncClient`.

    It observes the timeouts for connecting and reading. aiohttp has none for writing: a request
    with a body may take the sum of the three in all. A proxy from the environment is used if it is
    an http one.

    Args:
        tls: the TLS settings; default: those of httpx.
        max_bytes: maximum length of an answer's body, not decompressed.

    Raises:
        httpx.TransportError: see httpx. The client turns it into an error of its own.
    """

    def __init__(
        self, *, tls: ssl.SSLContext | None = None, max_bytes: int = MAX_RESPONSE_BYTES
    ) -> None:
        self._tls = tls
        self._max_bytes = max_bytes
        self._session: aiohttp.ClientSession | None = None
        self._origin = ""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send, and read the whole answer, see `httpx.AsyncBaseTransport`."""
        try:
            return await self._exchange(request)
        except _AIOHTTP_ERRORS as error:
            failure: BaseException = _to_httpx_error(error)
        except BaseException as error:  # noqa: BLE001 - raised again below, a cancellation too
            failure = error
        # Raise it without cause, context and traceback: the frames of aiohttp have the headers with
        # key and signature as locals.
        failure.__cause__ = failure.__context__ = None
        raise failure.with_traceback(None)

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        session = self._session or self._open(request.url)
        body = await request.aread()
        answer = await session.request(
            request.method,
            URL(self._origin + target_of(request), encoded=True),
            headers=[(k.decode("ascii"), v.decode("ascii")) for k, v in request.headers.raw],
            data=BytesIO(body) if body else None,
            timeout=_timeout_of(request, body),
            allow_redirects=False,
            # aiohttp never repeats a POST, and a middleware costs CPU time.
            middlewares=() if request.method == "POST" else (_send_once,),
        )
        head = Answer(answer.status, httpx.Headers(answer.raw_headers), b"")
        if isinstance(request, Request):
            request.receive_head(head)
        try:
            content = await collect(answer.content.iter_any(), head, self._max_bytes)
        except BaseException:
            answer.close()  # at once; `release` would wait until the request's body is sent
            raise
        return answer_of(head, content)

    def _open(self, url: httpx.URL) -> aiohttp.ClientSession:
        """Open the session: it needs a running event loop and the address."""
        proxy = environment_proxy(url)
        if proxy and not proxy.startswith("http"):
            text = "aiohttp cannot use this kind of proxy; leave `transport` out"
            raise httpx.UnsupportedProtocol(text)
        self._origin = f"{url.scheme}://{url.netloc.decode('ascii')}"
        tls = self._tls or (httpx.create_ssl_context() if url.scheme == "https" else True)
        self._session = aiohttp.ClientSession(
            # No limit: the `Gate` limits the calls under way.
            connector=aiohttp.TCPConnector(limit=0, ssl=tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_NO_AUTO_HEADERS,
            auto_decompress=False,  # `answer.receive` or httpx decompresses
            proxy=proxy,
        )
        return self._session

    async def aclose(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


async def _send_once(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a request.

    aiohttp repeats a GET or DELETE when an idle connection breaks, outside the rate limit, and a
    DELETE may cancel an order. It does so only after its own exceptions, so raise httpx's instead.
    """
    try:
        return await send(request)
    except _AIOHTTP_ERRORS as error:
        raise _to_httpx_error(error) from error


def _to_httpx_error(error: Exception) -> httpx.TransportError:
    text = _CREDENTIALS.sub("//", str(error))
    for aiohttp_error, httpx_error in _HTTPX_ERRORS:
        if isinstance(error, aiohttp_error):
            return httpx_error(text)
    return httpx.ReadError(text)


def _timeout_of(request: httpx.Request, body: bytes) -> aiohttp.ClientTimeout:
    timeouts = request.extensions.get("timeout", {})
    connect, write, read = timeouts.get("connect"), timeouts.get("write"), timeouts.get("read")
    if not body or None in {connect, write, read}:
        return _per_phase(connect, read)
    # `sock_read` starts when the body has been sent; only `total` limits the sending.
    return aiohttp.ClientTimeout(total=connect + write + read, connect=connect, sock_read=read)


@lru_cache(maxsize=16)
def _per_phase(connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=connect, sock_read=read)
