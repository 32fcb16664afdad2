"""How a decision leaves the house: over a real connection, whole, in part, late, or not at all."""

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


async def deliver(  # noqa: PLR0911 - one for each way to answer
    request: web.BaseRequest, decision: Decision, faults: Faults
) -> web.StreamResponse:
    """Send the answer, or do to the connection what the fault asks for."""
    answer = decision.answer
    match decision.fault:
        case Fault.SILENCE_BEFORE | Fault.SILENCE_AFTER:
            await asyncio.sleep(faults.silence)
            return cut(request)
        case Fault.RESET_BEFORE | Fault.RESET_AFTER:
            return cut(request)
        case Fault.STALE_BEFORE:
            _close(request)
            return web.Response()
        case Fault.DRIP_BEFORE | Fault.DRIP_AFTER:
            return await _dripping(request, answer, faults.drip)
        case Fault.TRUNCATED_AFTER:
            return await _truncated(request, answer)
        case Fault.STALE_AFTER:
            return await _unannounced(request, answer)
        case Fault.SLOW_AFTER:
            await asyncio.sleep(faults.slow)
        case _:
            pass
    return _response(answer)


def cut(request: web.BaseRequest) -> web.Response:
    """Reset the connection; the response is for aiohttp, which finds nobody to send it to."""
    if request.transport is not None:
        abort(request.transport)
    return web.Response()


def abort(transport: asyncio.Transport) -> None:
    """Reset a connection: with lingering off, the peer gets RST and not FIN."""
    sock: socket.socket = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


def _close(request: web.BaseRequest) -> None:
    """Close the connection the polite way: what was written goes out, then FIN."""
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


def _promised(answer: Answer) -> web.StreamResponse:
    """Begin an answer with the length of its whole body."""
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_type = answer.content_type
    response.content_length = len(answer.body)
    return response


async def _truncated(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """Promise the whole body, send half of it and close."""
    response = _promised(answer)
    with suppress(ConnectionError):  # the caller may be gone by now
        await response.prepare(request)
        await response.write(answer.body[: len(answer.body) // 2])
    _close(request)
    return response


async def _dripping(request: web.BaseRequest, answer: Answer, pause: float) -> web.StreamResponse:
    """Send one byte after the other, with a pause before each, while there is somebody to read."""
    response = _promised(answer)
    with suppress(ConnectionError):
        await response.prepare(request)
        for byte in answer.body:
            await asyncio.sleep(pause)
            await response.write(bytes((byte,)))
    return response


async def _unannounced(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """Send the whole answer, kept alive by every appearance, and close."""
    response = _response(answer)
    with suppress(ConnectionError):
        await response.prepare(request)
        await response.write_eof()
    _close(request)
    return response
