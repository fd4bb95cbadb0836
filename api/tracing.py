"""A span for each request, where tracing is on."""

from __future__ import annotations

from aiohttp import web

from engine.telemetry.spans import Span, SpanKind

_FAILED = 500


def span_of(
    request: web.Request, route: str, response: web.StreamResponse, request_id: str, times: tuple[int, int]
) -> Span:
    """What a request took (`times`: from, to, ns), in a trace named by its id; the address as its pattern."""
    return Span(
        name=f"{request.method} {route}",
        trace=request_id,
        key=f"request {times[0]}",
        parent="",
        ts_start=times[0],
        ts_end=times[1],
        attributes={
            "http.request.method": request.method,
            "http.route": route,
            "http.response.status_code": response.status,
        },
        error=response.reason or "" if response.status >= _FAILED else "",
        kind=SpanKind.SERVER,
    )
