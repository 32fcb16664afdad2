"""`AsyncClient`: checks the settings, owns the connections, and has the resources as attributes.

All resources send their requests through one `Pipeline`, so that they share the rate limit, the
connections, the retry policy and the hooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, TypedDict, TypeVar, cast

import httpx

from .config import (
    DEFAULT_BASE_URL,
    check_base_url,
    check_count,
    check_mode,
    check_seconds,
    read_env,
)
from .errors import ConfigurationError
from .http import (
    KEEPALIVE,
    MAX_RESPONSE_BYTES,
    ConnectionSlots,
    Gate,
    HTTPClient,
    Pipeline,
    SigningAuth,
    environment_proxy,
)
from .options import check_callback
from .rate_limit import NoLimit, RateLimiter, SlidingWindowLimiter
from .resources.smart_trades import SmartTrades
from .resources.users import Users
from .retry import RetryPolicy
from .signing import HmacSigner, JsonForm, RsaSigner, Secret, Signer
from .version import __version__

if TYPE_CHECKING:
    import os
    import ssl
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self, Unpack

    from .endpoint import Endpoint
    from .hooks import Hook
    from .http import QueryValue, Response
    from .options import CallOptions
    from .resources.deals import Deals

__all__ = ["DEFAULT_TIMEOUT", "AsyncClient"]

T = TypeVar("T")

DEFAULT_TIMEOUT: Final = httpx.Timeout(connect=5.0, read=30.0, write=10.0, pool=None)


class _DefaultLimiter:
    """Type of the default that means "a new limiter with the documented limits"."""


_DEFAULT_LIMITER: Final = _DefaultLimiter()


class ClientSettings(TypedDict, total=False):
    """The keyword arguments of `AsyncClient`, described there."""

    secret: str | None
    private_key: str | bytes | os.PathLike[str] | None
    base_url: str
    mode: str | None
    timeout: float | httpx.Timeout
    attempt_timeout: float | None
    max_response_bytes: int
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
        base_url: the API's address with its prefix. Plain http is allowed for loopback only.
        mode: "real" or "paper": sends the `Forced-Mode` header with every call. None keeps the mode
            of the account.
        timeout: seconds for each phase of an attempt, or an `httpx.Timeout`. Default: connect 5,
            read 30, write 10. No call waits for a connection inside httpx.
        attempt_timeout: maximum seconds of one attempt in total, from opening the connection to the
            last byte of the answer; default: the sum of the connect, write and read timeouts, which
            is 45 by default.
        max_response_bytes: maximum size of an answer's body in bytes, before and after
            decompression.
        max_connections: maximum number of calls under way at a time. A tenth of them, rounded down,
            is reserved for closes.
        rate_limiter: decides when requests may be sent. Share one between clients that use the same
            key. None disables pacing; blocks after 429 and 418 still apply.
        retry: how often and how fast failed attempts are repeated.
        json_form: how JSON bodies are signed; default: the form that the 3Commas documentation
            shows for the algorithm.
        transport: an httpx transport to send with, instead of this client's own connections.
        http_client: an `httpx.AsyncClient` to send with: its proxies, TLS settings, headers and
            event hooks apply. This client never closes it.
        hooks: called with an event after each attempt, see `threecommas_async.hooks`.

    Raises:
        ConfigurationError: a setting is not valid.
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
        attempt_timeout: float | None = None,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        max_connections: int = 20,
        rate_limiter: RateLimiter | _DefaultLimiter | None = _DEFAULT_LIMITER,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        json_form: JsonForm | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        http_client: httpx.AsyncClient | None = None,
        hooks: Sequence[Hook] = (),
    ) -> None:
        # A traceback from below may show the locals of this frame: keep key and secret out of them.
        key, secrets = Secret(api_key), Secret((secret, private_key))
        del api_key, secret, private_key
        url = _url(base_url)
        headers = {"Accept": "application/json", **check_mode(mode)}
        timeouts = _timeout(timeout)
        if attempt_timeout is not None:
            check_seconds(attempt_timeout, "attempt_timeout")
        check_count(max_response_bytes, "max_response_bytes")
        check_count(max_connections, "max_connections")
        limiter = _limiter(rate_limiter)
        _check_kind(retry, RetryPolicy, "retry")
        _check_hooks(hooks)
        _check_transport(transport, http_client)
        self._auth = SigningAuth(key.value, _signer(secrets, json_form))
        self._owns_http = http_client is None
        self._http = _http_client(url, transport, http_client, max_connections, max_response_bytes)
        self._pipeline = Pipeline(
            http=self._http,
            base_url=url,
            auth=self._auth,
            limiter=limiter,
            gate=Gate(max_connections, max_connections // 10),
            retry=retry,
            timeout=timeouts,
            attempt_timeout=attempt_timeout,
            max_response_bytes=max_response_bytes,
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
        """Create a client from the environment variables; arguments take precedence over them.

        Reads THREECOMMAS_API_KEY, THREECOMMAS_API_SECRET, THREECOMMAS_PRIVATE_KEY (PEM text or a
        path), THREECOMMAS_BASE_URL and THREECOMMAS_MODE.

        Raises:
            ConfigurationError: the key is missing, or not exactly one of secret and private key is
                set.
        """
        # As in __init__: keep secrets out of the locals of this frame.
        given = Secret(settings)
        del settings
        found = Secret(read_env())
        if given.value.keys() & {"secret", "private_key"}:
            found.value.pop("secret", None)
            found.value.pop("private_key", None)
        elif ("secret" in found.value) == ("private_key" in found.value):
            msg = "set exactly one of THREECOMMAS_API_SECRET and THREECOMMAS_PRIVATE_KEY"
            raise ConfigurationError(msg)
        return cls(**cast("Any", {**found.value, **given.value}))

    async def request(
        self,
        endpoint: Endpoint[T],
        *,
        path: Mapping[str, str | int] | None = None,
        query: Mapping[str, QueryValue] | None = None,
        json: object = None,
        **options: Unpack[CallOptions],
    ) -> Response[T]:
        """Make one call and return the complete answer, parsed and unparsed.

        Use it for what the typed methods do not return: fields that the models lack (in
        `Response.content`), the headers of the answer, or an operation that has no method yet. It
        is signed, paced and retried like any other call.

        A close that is sent with this is not registered: `close_by_market`, `close_many` and
        `close_all` do not know of it, and may close the same trade once more.

        Args:
            endpoint: an endpoint from `threecommas_async.resources`, or your own.
            path: values of the path parameters.
            query: query parameters; None values are omitted.
            json: a JSON body.
            options: the options of the call.

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
        """Close the connections of this client; an `http_client` that was passed in stays open."""
        try:
            await self._pipeline.aclose()
        finally:
            self._auth.close()
            if self._owns_http:
                await self._http.aclose()

    def __repr__(self) -> str:
        # A crash reporter may call this on a client whose __init__ has failed halfway.
        return f"<{type(self).__name__} {vars(self).get('base_url', 'not made')}>"


def _signer(
    secrets: Secret[tuple[str | None, str | bytes | os.PathLike[str] | None]],
    json_form: JsonForm | None,
) -> Signer:
    _check_kind(json_form, (JsonForm, NoneType), "json_form")
    if (secrets.value[0] is None) == (secrets.value[1] is None):
        msg = "give exactly one of secret (HMAC) and private_key (RSA)"
        raise ConfigurationError(msg)
    if secrets.value[0] is not None:
        return HmacSigner(secrets.value[0], json_form=json_form or JsonForm.QUESTION_MARK)
    assert secrets.value[1] is not None  # noqa: S101 - the check above
    return RsaSigner(secrets.value[1], json_form=json_form or JsonForm.CONCATENATED)


def _check_kind(value: object, kind: type | tuple[type, ...], name: str) -> None:
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        msg = f"{name} must be {kinds[0].__name__}, not {type(value).__name__}"
        raise ConfigurationError(msg)


def _check_hooks(hooks: object) -> None:
    if isinstance(hooks, str) or not isinstance(hooks, Sequence):
        msg = f"hooks must be a sequence of functions, not {type(hooks).__name__}"
        raise ConfigurationError(msg)
    for hook in cast("Sequence[object]", hooks):
        if hook is None:
            msg = "hooks must be a sequence of functions, without None"
            raise ConfigurationError(msg)
        check_callback(hook, "hooks")


def _check_transport(transport: object, http_client: object) -> None:
    if not isinstance(http_client, (httpx.AsyncClient, NoneType)):
        msg = f"http_client must be an httpx.AsyncClient, not {type(http_client).__name__}"
        raise TypeError(msg)
    # A synchronous transport would block the event loop for a whole request, and then fail.
    _check_kind(transport, (httpx.AsyncBaseTransport, NoneType), "transport")
    if transport is not None and http_client is not None:
        msg = "give transport or http_client, not both"
        raise ConfigurationError(msg)


def _url(base_url: object) -> httpx.URL:
    checked = check_base_url(base_url)
    try:
        url = httpx.URL(checked)
        # asyncio encodes the host again, and would fail for a label that is too long only when a
        # request is under way.
        url.raw_host.decode("ascii").encode("idna")
        return url.copy_with(host=url.host)  # raises if the host cannot be decoded
    except (httpx.InvalidURL, ValueError):
        pass  # raised below instead, so that this error is not attached as its context
    msg = "base_url must be an https:// URL with a host"
    raise ConfigurationError(msg)


def _timeout(timeout: object) -> httpx.Timeout:
    if not isinstance(timeout, httpx.Timeout):
        return httpx.Timeout(check_seconds(timeout, "timeout"))
    for phase in ("connect", "read", "write"):
        seconds: object = getattr(timeout, phase)
        if seconds is not None:
            check_seconds(seconds, f"timeout: {phase}")
    return timeout


def _limiter(given: object) -> RateLimiter:
    if given is None:
        return NoLimit()
    if isinstance(given, _DefaultLimiter):
        return SlidingWindowLimiter()
    methods = ("acquire", "release", "block", "blocked_for")
    if isinstance(given, type) or not all(callable(getattr(given, m, None)) for m in methods):
        msg = f"rate_limiter must have the methods {', '.join(methods)}: see RateLimiter"
        raise ConfigurationError(msg)
    limiter = cast("RateLimiter", given)
    check_seconds(getattr(given, "penalty", None), "rate_limiter: penalty")
    return limiter


def _http_client(
    url: httpx.URL,
    transport: httpx.AsyncBaseTransport | None,
    http_client: httpx.AsyncClient | None,
    max_connections: int,
    max_response_bytes: int,
) -> httpx.AsyncClient:
    if http_client is not None:
        return http_client
    if transport is None:
        transport = _connections(url, max_connections, max_response_bytes)
    return HTTPClient(transport, {"User-Agent": f"threecommas-async/{__version__}"})


def _connections(
    url: httpx.URL, max_connections: int, max_response_bytes: int
) -> httpx.AsyncBaseTransport:
    # One TLS context for all connections, because creating one takes tens of milliseconds.
    tls = httpx.create_ssl_context() if url.scheme == "https" else None
    proxy = Secret(environment_proxy(url))  # its URL may have a password
    if proxy.value is None:
        return ConnectionSlots(url, tls, max_response_bytes)
    transport = _proxy_transport(proxy.value, tls, max_connections)
    if isinstance(transport, str):
        raise ConfigurationError(transport)
    return transport


def _proxy_transport(
    proxy: str, tls: ssl.SSLContext | None, max_connections: int
) -> httpx.AsyncBaseTransport | str:
    """Return a transport that uses a proxy, or a text that says why there is none.

    The caller raises the error, so that no frame of its traceback holds the address of the proxy.
    """
    limits = httpx.Limits(
        max_connections=max_connections,
        max_keepalive_connections=max_connections,
        keepalive_expiry=KEEPALIVE,
    )
    named = "the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names"
    try:
        return httpx.AsyncHTTPTransport(verify=tls or True, proxy=proxy, limits=limits)
    except ImportError:
        return f"{named} is a socks proxy: pip install 'httpx[socks]', or unset the variable"
    except Exception:  # noqa: BLE001 - whose text may show the address
        return f"{named} cannot be used: correct the variable, or unset it"
