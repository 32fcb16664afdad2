"""Connections over aiohttp, whose HTTP parser is written in C. Needs the extra `speed`.

    AsyncClient(api_key, secret=secret, transport=AiohttpTransport())

takes about 30 % off the CPU time of a close; nothing else about the client changes. It has to be
asked for by name, and is not simply used where aiohttp happens to be installed: what a bot's orders
travel over does not change because some other package came along.
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

# What aiohttp raises, in httpx's terms; the first that fits counts. What is not in here may have
# happened after the request had left.
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

# Name and password in the URL of a proxy, which aiohttp shows in its errors.
_CREDENTIALS: Final = re.compile(r"//\S*@")

_THEIRS: Final = (aiohttp.ClientError, OSError, UnicodeError)

# httpx has set these where they are wanted; aiohttp is to add none of its own.
_NOT_ADDED: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class AiohttpTransport(httpx.AsyncBaseTransport):
    """An httpx transport over aiohttp's connections, for one `AsyncClient`.

    It honours the timeouts for connecting and reading. aiohttp knows none for writing: a request
    with a body has the three together for all of it. The proxy that the environment names is used
    if it is an http one.

    Args:
        tls: the TLS settings; default: those of httpx.
        max_bytes: how long an answer's body may be, as it comes over the wire.

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
        """Send, and read the whole answer."""
        try:
            return await self._exchange(request)
        except _THEIRS as error:
            failure: BaseException = _in_httpx_terms(error)
        except BaseException as error:  # noqa: BLE001 - raised again below, a cancellation too
            failure = error
        # Without the frames of aiohttp and the exceptions below this one: they hold the headers,
        # with key and signature, as locals.
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
            # Nothing else is sent again by aiohttp itself; going through it takes time.
            middlewares=() if request.method == "POST" else (_once,),
        )
        head = Answer(answer.status, httpx.Headers(answer.raw_headers), b"")
        if isinstance(request, Request):
            request.answered(head)
        try:
            content = await collect(answer.content.iter_any(), head, self._max_bytes)
        except BaseException:
            answer.close()  # at once; aiohttp's own way waits until the request's body is sent
            raise
        return answer_of(head, content)

    def _open(self, url: httpx.URL) -> aiohttp.ClientSession:
        """Open the session, now that there is an event loop and an address."""
        proxy = environment_proxy(url)
        if proxy and not proxy.startswith("http"):
            text = "aiohttp cannot use this kind of proxy; leave `transport` out"
            raise httpx.UnsupportedProtocol(text)
        self._origin = f"{url.scheme}://{url.netloc.decode('ascii')}"
        tls = self._tls or (httpx.create_ssl_context() if url.scheme == "https" else True)
        self._session = aiohttp.ClientSession(
            # Who may be under way is decided before (`Gate`), so no limit here.
            connector=aiohttp.TCPConnector(limit=0, ssl=tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_NOT_ADDED,
            auto_decompress=False,  # `receive` does, or httpx
            proxy=proxy,
        )
        return self._session

    async def aclose(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


async def _once(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Send a request once.

    aiohttp sends a GET or DELETE a second time, unasked, when a kept connection breaks, but only
    after errors of its own: a request that nobody paced, and a cancel that nobody decided on.
    """
    try:
        return await send(request)
    except _THEIRS as error:
        raise _in_httpx_terms(error) from error


def _in_httpx_terms(error: Exception) -> httpx.TransportError:
    text = _CREDENTIALS.sub("//", str(error))
    for theirs, httpx_error in _HTTPX_ERRORS:
        if isinstance(error, theirs):
            return httpx_error(text)
    return httpx.ReadError(text)


def _timeout_of(request: httpx.Request, body: bytes) -> aiohttp.ClientTimeout:
    given = request.extensions.get("timeout", {})
    connect, write, read = given.get("connect"), given.get("write"), given.get("read")
    if not body or None in {connect, write, read}:
        return _per_phase(connect, read)
    # aiohttp begins to count for reading when the body has been sent, and for that has no limit.
    return aiohttp.ClientTimeout(total=connect + write + read, connect=connect, sock_read=read)


@lru_cache(maxsize=16)
def _per_phase(connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=connect, sock_read=read)
