"""An asyncio client of the 3Commas trading API that closes trades exactly once.

Start with `AsyncClient`. The models are in `threecommas_async.models`, an embedded 3Commas to
rehearse against is in `threecommas_async.sandbox` (extra `sandbox`).
"""

from .auth import JsonForm
from .batch import CloseBatch
from .call import Response
from .client import AsyncClient
from .errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
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
from .models.smart_trade import SmartTrade
from .outcomes import CloseOutcome, CloseReport, CloseState
from .rate_limit import RateLimiter, SlidingWindowLimiter
from .retry import RetryPolicy
from .version import __version__

__all__ = [
    "APIStatusError",
    "AsyncClient",
    "AuthenticationError",
    "BadRequestError",
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
