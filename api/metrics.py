"""What the API counts of itself, for Prometheus."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from engine.clock import Clock

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class ApiMetrics:
    """Requests and their latency by route (the pattern, never the address that was asked for)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "edgewise_api_requests_total",
            "Requests answered",
            ["route", "status"],
            registry=self._registry,
        )
        self._latency = Histogram(
            "edgewise_api_request_duration_seconds",
            "Real seconds from request to answer",
            ["route"],
            buckets=_BUCKETS_S,
            registry=self._registry,
        )

    def middleware(self) -> Middleware:
        """Counts every request; stands outermost, where no HTTP error is an exception any more."""

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            began_s = self._clock.real_s()
            status = 500
            try:
                response = await handler(request)
                status = response.status
            finally:
                resource = request.match_info.route.resource
                route = resource.canonical if resource is not None else "unknown"
                self._requests.labels(route, str(status)).inc()
                self._latency.labels(route).observe(self._clock.real_s() - began_s)
            return response

        return middleware

    async def page(self, _: web.Request) -> web.Response:
        """The exposition format."""
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )
