"""A span for each request, where tracing is on."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from engine.clock import Clock
from engine.spans import Export, Span, SpanKind

_FAILED = 500


def traced(clock: Clock, export: Export) -> Middleware:
    """Exports what each request took, in a trace named by its request id; the address only as its pattern.

    Stands around `api.http.finished`: every answer has its id there, and no error is an exception any more.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        began_ns = clock.now_ns()
        response = await handler(request)
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "unknown"
        export(
            Span(
                name=f"{request.method} {route}",
                trace=response.headers["X-Request-ID"],
                key=f"request {began_ns}",
                parent="",
                ts_start=began_ns,
                ts_end=clock.now_ns(),
                attributes={
                    "http.request.method": request.method,
                    "http.route": route,
                    "http.response.status_code": response.status,
                },
                error=response.reason or "" if response.status >= _FAILED else "",
                kind=SpanKind.SERVER,
            )
        )
        return response

    return middleware
