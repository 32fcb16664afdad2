"""`AsyncClient`: owns the connections and hands the way out to the resources."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final, TypedDict, TypeVar, cast

import httpx

from .auth import HmacSigner, JsonForm, RsaSigner, Signer, SigningAuth
from .config import DEFAULT_BASE_URL, check_base_url, check_mode, read_env
from .errors import ConfigurationError
from .options import check_callback
from .pipeline import Pipeline
from .rate_limit import NoLimit, RateLimiter, SlidingWindowLimiter
from .resources.smart_trades import SmartTrades
from .resources.users import Users
from .retry import RetryPolicy
from .transport import ConnectionSlots, HTTPClient, environment_proxy
from .version import __version__
from .waiting import Gate

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self, Unpack

    from .call import QueryValue, Response
    from .endpoint import Endpoint
    from .hooks import Hook
    from .options import CallOptions
    from .resources.deals import Deals

__all__ = ["DEFAULT_TIMEOUT", "AsyncClient"]

T = TypeVar("T")

DEFAULT_TIMEOUT: Final = httpx.Timeout(connect=5.0, read=30.0, write=10.0, pool=None)


class _DefaultLimiter:
    """Stands for "a limiter of this client's own, with the documented limits"."""


_OWN_LIMITER: Final = _DefaultLimiter()


class ClientSettings(TypedDict, total=False):
    """The keyword arguments of `AsyncClient`, described there."""

    secret: str | None
    private_key: str | bytes | os.PathLike[str] | None
    base_url: str
    mode: str | None
    timeout: float | httpx.Timeout
    max_connections: int
    rate_limiter: RateLimiter | None
    retry: RetryPolicy
    json_form: JsonForm | None
    transport: httpx.AsyncBaseTransport | None
    http_client: httpx.AsyncClient | None
    hooks: Sequence[Hook]


class AsyncClient:
    """A client of the 3Commas API.

    Use it as ``async with AsyncClient(...) as client`` or call `aclose` when done. One client
    serves any number of tasks of one event loop.

    Args:
        api_key: the API key.
        secret: the HMAC secret of a system-generated key.
        private_key: the RSA key of a self-generated key: PEM text, PEM bytes, or a path. Give
            exactly one of `secret` and `private_key`.
        base_url: the API's address with its prefix. Plain http is for loopback only.
        mode: "real" or "paper": sends `Forced-Mode` with every call. None leaves the account's own
            mode in force.
        timeout: seconds for each phase of an attempt, or an `httpx.Timeout`. Default: connect 5,
            read 30, write 10. No call ever waits for a connection inside httpx.
        max_connections: how many calls may be under way at a time.
        rate_limiter: who may send when. Share one between clients that use the same key. None
            switches pacing off; the blocks after 429 and 418 are kept all the same.
        retry: how often failed attempts are made again.
        json_form: how JSON bodies are signed; default: as the algorithm's own page proves.
        transport: an httpx transport to send with, instead of this client's own connections.
        http_client: an `httpx.AsyncClient` to send with: its proxies, TLS settings, headers and
            event hooks apply. It is never closed by this client.
        hooks: called with an event after each attempt, see `threecommas_async.hooks`.

    Raises:
        ConfigurationError: a setting that cannot work.
        TypeError: `http_client` is not an `httpx.AsyncClient`.
    """

    def __init__(  # noqa: PLR0913 - settings, all but the key by keyword
        self,
        api_key: str,
        *,
        secret: str | None = None,
        private_key: str | bytes | os.PathLike[str] | None = None,
        base_url: str = DEFAULT_BASE_URL,
        mode: str | None = None,
        timeout: float | httpx.Timeout = DEFAULT_TIMEOUT,
        max_connections: int = 20,
        rate_limiter: RateLimiter | _DefaultLimiter | None = _OWN_LIMITER,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        json_form: JsonForm | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        http_client: httpx.AsyncClient | None = None,
        hooks: Sequence[Hook] = (),
        attempt_timeout: float | None = None,
    ) -> None:
        url = _url(base_url)
        for hook in hooks:
            check_callback(hook, "hooks")
        headers = {"Accept": "application/json", **check_mode(mode)}
        if type(max_connections) is not int or max_connections < 1:
            msg = f"max_connections must be a whole number from 1 up, not {max_connections!r}"
            raise ConfigurationError(msg)
        self._auth = SigningAuth(api_key, _signer(secret, private_key, json_form))
        self._owned = http_client is None
        self._http = _http_client(url, transport, http_client, max_connections)
        self._pipeline = Pipeline(
            http=self._http,
            base_url=url,
            auth=self._auth,
            limiter=_limiter(rate_limiter),
            gate=Gate(max_connections),
            retry=retry,
            timeout=_timeout(timeout),
            attempt_timeout=attempt_timeout,
            max_response_bytes=16*1024*1024,
            headers=headers,
            hooks=hooks,
        )
        self.base_url: Final = str(url)
        self.smart_trades: Final = SmartTrades(self._pipeline)
        self.users: Final = Users(self._pipeline)

    @cached_property
    def deals(self) -> Deals:
        """Deals of DCA bots."""
        from .resources.deals import Deals  # noqa: PLC0415 - its models cost time to import

        return Deals(self._pipeline)

    @classmethod
    def from_env(cls, **settings: Unpack[ClientSettings]) -> Self:
        """Make a client with what the environment says now; arguments go before it.

        Reads THREECOMMAS_API_KEY, THREECOMMAS_API_SECRET, THREECOMMAS_PRIVATE_KEY (PEM text or a
        path), THREECOMMAS_BASE_URL and THREECOMMAS_MODE.

        Raises:
            ConfigurationError: there is no key, or not exactly one of secret and private key.
        """
        found = read_env()
        if "secret" in settings or "private_key" in settings:
            found.pop("secret", None)
            found.pop("private_key", None)
        elif ("secret" in found) == ("private_key" in found):
            msg = "set exactly one of THREECOMMAS_API_SECRET and THREECOMMAS_PRIVATE_KEY"
            raise ConfigurationError(msg)
        api_key = found.pop("api_key")
        return cls(api_key, **cast("ClientSettings", {**found, **settings}))

    async def request(
        self,
        endpoint: Endpoint[T],
        *,
        path: Mapping[str, str | int] | None = None,
        query: Mapping[str, QueryValue] | None = None,
        json: object = None,
        **options: Unpack[CallOptions],
    ) -> Response[T]:
        """Make one call and return the whole answer: parsed, and as it came.

        For what the typed methods do not give: fields that the classes do not know (in
        `Response.content`), the answer's headers, or an operation that has no method yet. It is
        signed, paced and retried like any other call.

        Args:
            endpoint: the operation, one of those in `threecommas_async.resources` or your own.
            path: values of the path parameters.
            query: query parameters; None values are left out.
            json: a JSON body.
            options: the options of a call.

        Raises:
            ThreeCommasError: see `Pipeline.send`.
        """
        return await self._pipeline.send(
            endpoint, path=path, query=query, json=json, options=options
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections of this client; a borrowed `http_client` stays open."""
        await self._pipeline.aclose()
        self._auth.close()
        if self._owned:
            await self._http.aclose()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.base_url}>"


def _signer(
    secret: str | None,
    private_key: str | bytes | os.PathLike[str] | None,
    json_form: JsonForm | None,
) -> Signer:
    if (secret is None) == (private_key is None):
        msg = "give exactly one of secret (HMAC) and private_key (RSA)"
        raise ConfigurationError(msg)
    if secret is not None:
        return HmacSigner(secret, json_form=json_form or JsonForm.QUESTION_MARK)
    assert private_key is not None  # noqa: S101 - the check above
    return RsaSigner(private_key, json_form=json_form or JsonForm.CONCATENATED)


def _url(base_url: str) -> httpx.URL:
    checked = check_base_url(base_url)
    try:
        url = httpx.URL(checked)
        return url.copy_with(host=url.host)  # decoding it is what fails for some
    except (httpx.InvalidURL, ValueError):
        pass  # said below, outside, so that no other error is attached
    msg = "base_url must be an https:// URL with a host"
    raise ConfigurationError(msg)


def _timeout(timeout: float | httpx.Timeout) -> httpx.Timeout:
    if isinstance(timeout, httpx.Timeout):
        return timeout
    if isinstance(timeout, bool) or not timeout > 0:
        msg = f"timeout must be a positive number of seconds, not {timeout!r}"
        raise ConfigurationError(msg)
    return httpx.Timeout(timeout)


def _limiter(given: RateLimiter | _DefaultLimiter | None) -> RateLimiter:
    if isinstance(given, _DefaultLimiter):
        return SlidingWindowLimiter()
    return NoLimit() if given is None else given


def _http_client(
    url: httpx.URL,
    transport: httpx.AsyncBaseTransport | None,
    http_client: object,
    max_connections: int,
) -> httpx.AsyncClient:
    if http_client is not None:
        if not isinstance(http_client, httpx.AsyncClient):
            msg = f"http_client must be an httpx.AsyncClient, not {type(http_client).__name__}"
            raise TypeError(msg)
        if transport is not None:
            msg = "give transport or http_client, not both"
            raise ConfigurationError(msg)
        return http_client
    headers = {"User-Agent": f"threecommas-async/{__version__}"}
    return HTTPClient(
        _connections(url, max_connections) if transport is None else transport, headers
    )


def _connections(url: httpx.URL, max_connections: int) -> httpx.AsyncBaseTransport:
    # One TLS context for all connections: making one takes tens of milliseconds.
    tls = httpx.create_ssl_context() if url.scheme == "https" else None
    if proxy := environment_proxy(url):
        limits = httpx.Limits(
            max_connections=max_connections, max_keepalive_connections=max_connections
        )
        return httpx.AsyncHTTPTransport(verify=tls or True, proxy=proxy, limits=limits)
    return ConnectionSlots(url, tls)
