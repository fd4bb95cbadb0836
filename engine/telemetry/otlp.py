"""Spans on their way to an OpenTelemetry collector (OTLP over HTTP). The only module with the SDK;
importing it raises ConfigError without the extra `otel`.

Spans wait in the SDK's bounded queue and leave in batches, from a thread of its own; a queue that is full
drops the span that comes. A collector that is away costs spans and log lines, nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from engine.config.engine import TracingConfig
from engine.core.errors import ConfigError
from engine.telemetry.spans import Export, Span, SpanKind

try:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, TraceFlags
    from opentelemetry.trace import SpanKind as SdkKind
    from opentelemetry.trace.status import Status, StatusCode
except ModuleNotFoundError as error:
    raise ConfigError("tracing.otlp_endpoint needs the extra otel: pip install 'edgewise[otel]'") from error

_EXPORT_S: Final = 3.0  # of one batch, its repetitions included
_LAST_S: Final = 2.0  # for what still waits at the end
_SCOPE: Final = InstrumentationScope("edgewise")
_KINDS: Final = {kind: SdkKind[kind.name] for kind in SpanKind}
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


@asynccontextmanager
async def exporting(config: TracingConfig, service: str, env: str) -> AsyncIterator[Export]:
    """Send the spans given to the yielded function while the context lasts, and then what still waits."""
    exporter = OTLPSpanExporter(
        endpoint=f"{config.otlp_endpoint.rstrip('/')}/v1/traces",
        headers=config.headers,
        timeout=_EXPORT_S,
    )
    processor = BatchSpanProcessor(exporter)
    resource = Resource.create({"service.name": service, "deployment.environment.name": env})
    try:
        yield lambda span: processor.on_end(_readable(span, resource))
    finally:
        ending = asyncio.ensure_future(asyncio.to_thread(processor.shutdown))
        done, _ = await asyncio.wait((ending,), timeout=_LAST_S)
        if not done:
            exporter.shutdown()  # type: ignore[no-untyped-call] # ends the waits between repetitions
            await ending


def _readable(span: Span, resource: Resource) -> ReadableSpan:
    """The SDK's form of a span that is over."""
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace, span.key),
        parent=_context(span.trace, span.parent) if span.parent else None,
        resource=resource,
        attributes=span.attributes,
        events=[Event(mark.name, mark.attributes, mark.ts) for mark in span.marks],
        kind=_KINDS[span.kind],
        status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
        start_time=span.ts_start,
        end_time=max(span.ts_start, span.ts_end),  # a venue's clock may be ahead of ours
        instrumentation_scope=_SCOPE,
    )


def _context(trace: str, key: str) -> SpanContext:
    """Ids of OpenTelemetry from our names: the same wherever, and whenever, they are made."""
    trace_id = int.from_bytes(hashlib.sha256(trace.encode()).digest()[:16])
    span_id = int.from_bytes(hashlib.sha256(f"{trace}\n{key}".encode()).digest()[:8])
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=_SAMPLED)
