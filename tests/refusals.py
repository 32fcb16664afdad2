"""Answers with an error status, as the errors that they are."""

import json
from datetime import UTC, datetime

from threecommas_async.errors import APIStatusError
from threecommas_async.http.refusals import api_status_error

CLOSE_PATH = "/public/api/v2/smart_trades/7/close_by_market"
RETRY_AT = datetime(2026, 11, 22, 17, 8, 37, tzinfo=UTC)


def answer(status_code: int, body: object = "", *, unsafe: bool = True) -> APIStatusError:
    """Return the error for an answer to a close; a body that is not a str is sent as JSON."""
    return api_status_error(
        status_code=status_code,
        method="POST",
        path=CLOSE_PATH,
        body=body if isinstance(body, str) else json.dumps(body),
        unsafe=unsafe,
        request_id="req-1",
        retry_at=RETRY_AT,
    )
