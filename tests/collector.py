"""A collector of OpenTelemetry spans: a real server that speaks OTLP over HTTP and keeps what it gets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """What arrived, and with which headers and resource."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self.headers: list[dict[str, str]] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        batch = ExportTraceServiceRequest.FromString(await request.read())
        self.headers.append(dict(request.headers))
        for resource in batch.resource_spans:
            names = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.services.add(names["service.name"])
            for scope in resource.scope_spans:
                self.spans += scope.spans
        body = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=body, content_type="application/x-protobuf")

    def line(self, span: Span) -> list[str]:
        """Names from the first step of a trace to this one; stops where a parent did not arrive."""
        by_id = {(each.trace_id, each.span_id): each for each in self.spans}
        names, at = [span.name], span
        while parent := by_id.get((at.trace_id, at.parent_span_id)):
            names.insert(0, parent.name)
            at = parent
        return names


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector on a free port, as long as the context lasts."""
    collector = Collector()
    app = web.Application(client_max_size=2**26)
    app.add_routes([web.post("/v1/traces", collector.take)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield collector
    finally:
        await runner.cleanup()
