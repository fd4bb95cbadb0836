"""`/api/stream`: server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from aiohttp import web

from api.http import CORS, problem
from api.sending import HEADERS
from api.stream import Broadcast, Client
from api.told import KINDS

PATH: Final = "/api/stream"
_BEAT_S: Final = 15.0  # a comment, so that proxies keep the connection and a dead client is noticed
_WRITE_S: Final = 10.0
_RETRY: Final = b"retry: 2000\n\n"
_BEAT: Final = b": still here\n\n"


def mount(app: web.Application, broadcast: Broadcast) -> None:
    """Serve the stream. `?kinds=signal,fill` chooses; `Last-Event-ID` continues."""

    async def handler(request: web.Request) -> web.StreamResponse:
        asked = frozenset(kind for kind in request.query.get("kinds", "").split(",") if kind)
        if unknown := asked - set(KINDS):
            return problem(400, "Bad query", f"no kind {min(unknown)!r}; there are {', '.join(KINDS)}")
        last_id = request.headers.get("Last-Event-ID", "") or request.query.get("after", "")
        client = broadcast.join(asked, last_id)
        if client is None:
            response = problem(503, "Too many listeners", "Try again later.")
            response.headers["Retry-After"] = "5"
            return response
        try:
            return await _serve(request, client)
        finally:
            broadcast.leave(client)

    app.router.add_get(PATH, handler, allow_head=False)


async def _serve(request: web.Request, client: Client) -> web.StreamResponse:
    response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
    response.headers.extend(request.get(CORS, {}))
    await response.prepare(request)
    with suppress(ConnectionError, TimeoutError):  # the client has gone, or does not read
        await _write(response, _RETRY)
        while (frame := await _next(client)) is not None:
            await _write(response, frame)
    return response


async def _next(client: Client) -> bytes | None:
    try:
        async with asyncio.timeout(_BEAT_S):
            return await client.queue.get()
    except TimeoutError:
        return _BEAT


async def _write(response: web.StreamResponse, frame: bytes) -> None:
    async with asyncio.timeout(_WRITE_S):
        await response.write(frame)
