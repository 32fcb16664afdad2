"""Send an answer over a real connection: in full, truncated, late, or not at all."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

from aiohttp import web

from .faults import Fault

if TYPE_CHECKING:
    from .answers import Answer
    from .faults import Faults
    from .gateway import Decision

_NO_LINGER = struct.pack("ii", 1, 0)


async def deliver(  # noqa: PLR0911 - one per kind of fault
    request: web.BaseRequest, decision: Decision, faults: Faults
) -> web.StreamResponse:
    """Send the answer, with the effect of the injected fault on it or on the connection."""
    answer = decision.answer
    match decision.fault:
        case Fault.SILENCE_BEFORE | Fault.SILENCE_AFTER:
            await asyncio.sleep(faults.silence)
            return reset_connection(request)
        case Fault.RESET_BEFORE | Fault.RESET_AFTER:
            return reset_connection(request)
        case Fault.STALE_BEFORE:
            _close(request)
            return web.Response()
        case Fault.DRIP_BEFORE | Fault.DRIP_AFTER:
            return await _send_slowly(request, answer, faults.drip)
        case Fault.TRUNCATED_AFTER:
            return await _send_truncated(request, answer)
        case Fault.STALE_AFTER:
            return await _send_and_close(request, answer)
        case Fault.SLOW_AFTER:
            await asyncio.sleep(faults.slow)
        case _:
            pass
    return _response(answer)


def reset_connection(request: web.BaseRequest) -> web.Response:
    """Reset the connection; return a response that aiohttp cannot send any more."""
    if request.transport is not None:
        reset_transport(request.transport)
    return web.Response()


def reset_transport(transport: asyncio.Transport) -> None:
    """Reset a connection: with a linger time of zero the peer gets RST instead of FIN."""
    sock: socket.socket = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


def _close(request: web.BaseRequest) -> None:
    """Close the connection in order: send what was written, then FIN."""
    if request.transport is not None:
        request.transport.close()


def _response(answer: Answer) -> web.Response:
    return web.Response(
        status=answer.status,
        body=answer.body,
        content_type=answer.content_type,
        charset="utf-8",
        headers=answer.headers,
    )


def _start_response(answer: Answer) -> web.StreamResponse:
    """Return an unprepared response with the Content-Length of the whole body."""
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_type = answer.content_type
    response.content_length = len(answer.body)
    return response


async def _send_truncated(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """Send half of the body under the full Content-Length, then close."""
    response = _start_response(answer)
    with suppress(ConnectionError):  # the client may have disconnected
        await response.prepare(request)
        await response.write(answer.body[: len(answer.body) // 2])
    _close(request)
    return response


async def _send_slowly(
    request: web.BaseRequest, answer: Answer, pause: float
) -> web.StreamResponse:
    """Send the body byte by byte with a pause before each, until the client disconnects."""
    response = _start_response(answer)
    with suppress(ConnectionError):
        await response.prepare(request)
        for byte in answer.body:
            await asyncio.sleep(pause)
            await response.write(bytes((byte,)))
    return response


async def _send_and_close(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """Send the whole answer without `Connection: close`, then close."""
    response = _response(answer)
    with suppress(ConnectionError):
        await response.prepare(request)
        await response.write_eof()
    _close(request)
    return response
