"""What the API counts of itself, for Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from api.answers import Answers
from api.limits import SlowClients
from api.stream import Broadcast

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_BOUNDS = (*map(str, _BUCKETS_S), "+Inf")


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


class _Latencies:
    """Of one route: how many answers took up to each bucket's bound, and their sum."""

    def __init__(self) -> None:
        self.counts, self.sum_s = [0] * (len(_BUCKETS_S) + 1), 0.0

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus has them."""
        return list(zip(_BOUNDS, accumulate(self.counts), strict=True))


class ApiMetrics(Collector):
    """Requests and their latency by route (the pattern, never the address that was asked for).

    Counted here and told when Prometheus asks: its own counters take a lock each, which nobody else wants.
    """

    def __init__(self, parts: Counted) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_PartsCollector(parts))
        self._registry.register(self)
        self._answered: Counter[tuple[str, int]] = Counter()
        self._latencies: defaultdict[str, _Latencies] = defaultdict(_Latencies)

    def count(self, route: str, status: int, took_s: float) -> None:
        """One answer, and the real seconds from the request to it."""
        self._answered[route, status] += 1
        latencies = self._latencies[route]
        latencies.counts[bisect_left(_BUCKETS_S, took_s)] += 1
        latencies.sum_s += took_s

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "edgewise_api_requests", "Requests answered", labels=["route", "status"]
        )
        for (route, status), count in sorted(self._answered.items()):
            requests.add_metric([route, str(status)], count)
        yield requests
        latency = HistogramMetricFamily(
            "edgewise_api_request_duration_seconds",
            "Real seconds from request to answer",
            labels=["route"],
        )
        for route, latencies in sorted(self._latencies.items()):
            latency.add_metric([route], latencies.buckets(), latencies.sum_s)
        yield latency

    async def page(self, _: web.Request) -> web.Response:
        """The exposition format."""
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )
