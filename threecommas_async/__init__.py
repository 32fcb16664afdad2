"""An asyncio client of the 3Commas trading API that closes trades exactly once.

Start with `AsyncClient`. The models are in `threecommas_async.models`, an embedded 3Commas to
rehearse against is in `threecommas_async.sandbox` (extra `sandbox`).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .auth import JsonForm
    from .call import Response
    from .client import AsyncClient
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
    from .handle import CloseBatch
    from .models.smart_trade import SmartTrade
    from .outcomes import CloseOutcome, CloseReport, CloseState
    from .rate_limit import RateLimiter, SlidingWindowLimiter
    from .retry import RetryPolicy
    from .version import __version__

# What is not listed is in `errors`.
_HOMES = {
    "AsyncClient": "client",
    "CloseBatch": "handle",
    "CloseOutcome": "outcomes",
    "CloseReport": "outcomes",
    "CloseState": "outcomes",
    "JsonForm": "auth",
    "RateLimiter": "rate_limit",
    "Response": "call",
    "RetryPolicy": "retry",
    "SlidingWindowLimiter": "rate_limit",
    "SmartTrade": "models.smart_trade",
    "__version__": "version",
}

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


# A type checker would take any name for one of ours.
if not TYPE_CHECKING:  # pragma: no branch

    def __getattr__(name: str) -> object:
        """Import a name when it is asked for (PEP 562).

        Whoever only catches our errors, or reads the version, loads no HTTP library for it.
        """
        if name not in __all__:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        value = getattr(import_module(f".{_HOMES.get(name, 'errors')}", __name__), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
