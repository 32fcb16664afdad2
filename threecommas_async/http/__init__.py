"""Carrying requests: one way from a call to the socket, and back to an answer or an error.

Decided here: how a request is built, signed and sent, whether it may have left, and what its answer
says. Not decided here: what a call is for, and whether a close is made again (`closing`).
"""

from .auth import Hidden, HmacSigner, JsonForm, RsaSigner, Signer, SigningAuth
from .call import QueryValue, Response, Trace
from .messages import MAX_RESPONSE_BYTES, Answer, Request, answer_of, collect, target_of
from .pipeline import Pipeline
from .transport import ConnectionSlots, HTTPClient, environment_proxy

__all__ = [
    "MAX_RESPONSE_BYTES",
    "Answer",
    "ConnectionSlots",
    "HTTPClient",
    "Hidden",
    "HmacSigner",
    "JsonForm",
    "Pipeline",
    "QueryValue",
    "Request",
    "Response",
    "RsaSigner",
    "Signer",
    "SigningAuth",
    "Trace",
    "answer_of",
    "collect",
    "environment_proxy",
    "target_of",
]
