"""An asyncio client of the 3Commas trading API that closes trades exactly once.

Start with `AsyncClient`. The models are in `threecommas_async.models`, an embedded 3Commas to
rehearse against is in `threecommas_async.sandbox` (extra `sandbox`).
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

# Where the public names are, from light to heavy.
_ROOMS = (
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

# A type checker would take any name for one of ours.
if not TYPE_CHECKING:  # pragma: no branch

    def __getattr__(name: str) -> object:
        """Import a public name when it is asked for (PEP 562).

        Catching an error or reading the version loads no HTTP library.
        """
        if name in __all__:
            for room in _ROOMS:
                module = import_module(f".{room}", __name__)
                if name in module.__all__:
                    globals()[name] = getattr(module, name)
                    return globals()[name]
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
