"""Sending of requests, from a call to the socket and back to an answer or an error.

Decides how a request is built, signed and sent, whether it may have left, and what its answer
means. What a call is for, and whether a close is repeated, is decided in `closing`. A request goes
through `pipeline`, `exchange`, `transport` and `backend`, in this order.
"""

from .answer import MAX_RESPONSE_BYTES, Answer, answer_of, collect
from .auth import SigningAuth
from .call import QueryValue, Response
from .gate import Gate
from .pipeline import Pipeline
from .request import Request, target_of
from .slots import KEEPALIVE
from .transport import ConnectionSlots, HTTPClient, environment_proxy

__all__ = [
    "KEEPALIVE",
    "MAX_RESPONSE_BYTES",
    "Answer",
    "ConnectionSlots",
    "Gate",
    "HTTPClient",
    "Pipeline",
    "QueryValue",
    "Request",
    "Response",
    "SigningAuth",
    "answer_of",
    "collect",
    "environment_proxy",
    "target_of",
]
