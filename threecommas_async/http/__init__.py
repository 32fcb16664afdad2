"""Sending of requests, from a call to the socket and back to an answer or an error.

Decides how a request is built, signed and sent, whether it may have left, and what its answer
means. What a call is for, and whether a close is repeated, is decided in `closing`.

A `call` goes through `pipeline` (which waits for `guarded_limiter` and `gate`), `exchange`,
`transport` and `backend`, in this order. On the way it becomes a `request`, signed by `auth`; back
comes an `answer`, or an error made in `failures` (no answer) or `refusals` (an error status).
`cancel_scope` ends what takes too long.
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
