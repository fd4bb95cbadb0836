"""What the API counts of itself, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from api.answers import Answers
from api.limits import SlowClients
from api.stream import Broadcast
from engine.clock import Clock

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Counted(NamedTuple):
    """What counts for itself."""

    answers: Answers
    broadcast: Broadcast
    slow: SlowClients


class _PartsCollector(Collector):
    """Reads the counts of the parts when Prometheus asks."""

    def __init__(self, parts: Counted) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        answers, broadcast, slow = self._parts
        outcomes = CounterMetricFamily(
            "edgewise_api_answers", "Answers by where they came from", labels=["outcome"]
        )
        for outcome, count in sorted(answers.outcomes.items()):
            outcomes.add_metric([outcome], count)
        yield outcomes
        yield GaugeMetricFamily(
            "edgewise_api_stream_clients", "Listeners of the live stream", broadcast.clients
        )
        yield GaugeMetricFamily(
            "edgewise_api_stream_live", "1 while the bus is followed, 0 while Redis is away", broadcast.live
        )
        yield CounterMetricFamily(
            "edgewise_api_stream_dropped", "Listeners that were let go as too slow", broadcast.let_go
        )
        yield CounterMetricFamily(
            "edgewise_api_slow_connections", "Connections closed because no request came in time", slow.closed
        )


class ApiMetrics:
    """Requests and their latency by route (the pattern, never the address that was asked for)."""

    def __init__(self, clock: Clock, parts: Counted) -> None:
        self._clock = clock
        self._registry = CollectorRegistry()
        self._registry.register(_PartsCollector(parts))
        self._found: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
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
                requests, latency = self._of(route, status)
                requests.inc()
                latency.observe(self._clock.real_s() - began_s)
            return response

        return middleware

    def _of(self, route: str, status: int) -> tuple[Counter, Histogram]:
        """The metrics of a route's answers, which to find by their labels takes longer than to count."""
        found = self._found.get((route, status))
        if found is None:
            found = self._requests.labels(route, str(status)), self._latency.labels(route)
            self._found[route, status] = found
        return found

    async def page(self, _: web.Request) -> web.Response:
        """The exposition format."""
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )
