"""Carrying requests: one way from a call to the socket, and back to an answer or an error.

Decided here: how a request is built, signed and sent, whether it may have left, and what its answer
says. Not decided here: what a call is for, and whether a close is made again (`closing`).
"""

from .answer import MAX_RESPONSE_BYTES, Answer, answer_of, collect
from .auth import SigningAuth
from .call import QueryValue, Response
from .gate import Gate
from .pipeline import Pipeline
from .request import Request, target_of
from .transport import ConnectionSlots, HTTPClient, environment_proxy

__all__ = [
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
