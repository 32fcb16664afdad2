"""An asyncio client of the 3Commas trading API that closes trades exactly once.

Start with `AsyncClient`. The models are in `threecommas_async.models`, and a local 3Commas server
for tests and rehearsals is in `threecommas_async.sandbox` (extra `sandbox`).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import AsyncClient
    from .closing import CloseBatch, CloseOutcome, CloseReport, CloseState
    from .errors import (
        APIStatusError,
        AuthenticationError,
        BadRequestError,
        ClientClosedError,
        CloseFailedError,
        ConfigurationError,
        InvalidRequestError,
        IPBannedError,
        NotFoundError,
        OutcomeUnknownError,
        PermissionDeniedError,
        PlanLimitError,
        RateLimitError,
        RequestNotSentError,
        ResponseDecodeError,
        ServerError,
        ThreeCommasError,
        UnprocessableEntityError,
    )
    from .http import Response
    from .models.smart_trade import SmartTrade
    from .rate_limit import RateLimiter, SlidingWindowLimiter
    from .retry import RetryPolicy
    from .signing import JsonForm
    from .version import __version__

__all__ = [
    "APIStatusError",
    "AsyncClient",
    "AuthenticationError",
    "BadRequestError",
    "ClientClosedError",
    "CloseBatch",
    "CloseFailedError",
    "CloseOutcome",
    "CloseReport",
    "CloseState",
    "ConfigurationError",
    "IPBannedError",
    "InvalidRequestError",
    "JsonForm",
    "NotFoundError",
    "OutcomeUnknownError",
    "PermissionDeniedError",
    "PlanLimitError",
    "RateLimitError",
    "RateLimiter",
    "RequestNotSentError",
    "Response",
    "ResponseDecodeError",
    "RetryPolicy",
    "ServerError",
    "SlidingWindowLimiter",
    "SmartTrade",
    "ThreeCommasError",
    "UnprocessableEntityError",
    "__version__",
]

# Modules with the public names, those that import quickly first.
_MODULES = (
    "errors",
    "version",
    "retry",
    "signing",
    "rate_limit",
    "models.smart_trade",
    "closing",
    "http",
    "client",
)

# Hidden from type checkers: with `__getattr__` they would accept any name.
if not TYPE_CHECKING:  # pragma: no branch

    def __getattr__(name: str) -> object:
        """Import a public name on first access (PEP 562).

        So `except ThreeCommasError` or reading the version imports no HTTP library.
        """
        if name in __all__:
            modules = (import_module(f".{module}", __name__) for module in _MODULES)
            globals()[name] = next(getattr(m, name) for m in modules if name in m.__all__)
            return globals()[name]
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
