"""What the engine counts, and the page on which Prometheus finds it.

One registry per process. Names are `edgewise_<thing>_<unit>[_total]`. Labels come from small sets; should one
grow beyond its bound all the same, further values are counted as `other`. Children are bound once:
`metrics.frames("trades").inc()` is two dictionary look-ups.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeVar

import msgspec
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from engine.clock import Clock
from engine.listen import listen

log = structlog.get_logger()
M = TypeVar("M", Counter, Gauge, Histogram)

OTHER: Final = "other"
_MAX_CHILDREN: Final = 200
_SUBSCRIPTIONS: Final = 2_000  # of a process: symbols times channels
_FRAME_AGE_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_MODEL_S: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)
_SEND_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# Of the decision's price; below zero the fill was better than that.
_SLIPPAGE: Final = (-0.01, -0.003, -0.001, -0.0003, -0.0001, 0, 0.0001, 0.0003, 0.001, 0.003, 0.01)
_LAG_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_LAG_EVERY_S: Final = 0.1
_LAG_LOGGED_S: Final = 0.1  # M6: a loop blocked longer than this is worth a line


class Labelled(Generic[M]):
    """A metric with labels: call it with their values for the child. At most `max_children` children."""

    __slots__ = ("_bound", "_children", "_metric", "_others")

    def __init__(self, metric: M, labels: int, max_children: int = _MAX_CHILDREN) -> None:
        self._metric: M = metric
        self._bound = max_children
        self._children: dict[tuple[str, ...], M] = {}
        self._others = (OTHER,) * labels

    def __call__(self, *values: str) -> M:
        """The child of these label values; that of `other` when there are too many."""
        child = self._children.get(values)
        if child is None:
            if len(self._children) >= self._bound and values != self._others:
                return self(*self._others)
            child = self._children[values] = self._metric.labels(*values)
        return child


class Metrics:
    """All metrics of a process. A part that is not there leaves its metrics empty."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        # market
        self.frames = self._counter("frames", "Frames received, by channel.", "channel")
        self.bad_frames = self._counter(
            "bad_frames",
            "Frames that did not parse, by channel and defect.",
            "channel",
            "defect",
        )
        self.frame_age = Histogram(
            "edgewise_frame_age_seconds",
            "From the venue's time of a trade to its receipt, in engine time.",
            buckets=_FRAME_AGE_S,
            registry=self.registry,
        )
        self.channel_age = self._gauge(
            "channel_age_seconds",
            "Since a subscription brought data.",
            "symbol",
            "channel",
            most=_SUBSCRIPTIONS,
        )
        self.book_resyncs = self._counter(
            "book_resyncs", "Order books distrusted and subscribed anew, by why.", "reason"
        )
        self.socket_ends = self._counter(
            "socket_ends", "Connections that ended, by socket and close code.", "socket", "code"
        )
        self.unknown_words = self._counter(
            "unknown_words",
            "Values of the venue that this version does not know, by field.",
            "field",
            "value",
        )
        self.events_dropped = self._counter(
            "market_events_dropped", "Market events for which the reader was too slow.", "feed"
        )
        self.signals = self._counter("signals", "Signals, by detector and edge.", "detector", "edge")
        self.reconnects = self._counter("reconnects", "Connections made again, by socket.", "socket")
        # deciding
        self.wakeups = self._counter("wakeups", "Wakeups, by the kind of their first reason.", "kind")
        self.triggers = self._counter(
            "wakeup_triggers", "All reasons of wakeups; the detector of a signal.", "kind", "detector"
        )
        self.actions = self._counter(
            "actions", "Actions that deciders wanted: approved, refused, on_paper.", "trader", "outcome"
        )
        self.decisions = self._counter("decisions", "Decision cycles that ended, by status.", "status")
        self.refusals = self._counter("refusals", "What was refused, by gate and reason.", "gate", "reason")
        self.model_latency = Labelled(
            Histogram(
                "edgewise_model_latency_seconds",
                "From the request to the whole answer, by model.",
                ["model"],
                buckets=_MODEL_S,
                registry=self.registry,
            ),
            1,
        )
        self.model_failures = self._counter(
            "model_failures", "Questions without an answer, by alias and kind of failure.", "model", "failure"
        )
        self.model_tokens = self._counter(
            "model_tokens", "Tokens, by model and direction.", "model", "direction"
        )
        self.model_cost = self._counter("model_cost_usd", "What answers cost, by model.", "model")
        # trading
        self.orders = self._counter("orders", "Changes of orders, by the state reached.", "state")
        self.fills = self._counter("fills", "Fills booked, by purpose.", "purpose")
        self.decision_to_order = Histogram(
            "edgewise_decision_to_order_seconds",
            "From a decision to the moment its order leaves for the venue, in engine time.",
            buckets=_SEND_S,
            registry=self.registry,
        )
        self.slippage = Labelled(
            Histogram(
                "edgewise_fill_slippage_ratio",
                "Of fills against the price at the decision, by purpose; positive is worse.",
                ["purpose"],
                buckets=_SLIPPAGE,
                registry=self.registry,
            ),
            1,
        )
        self.slippage_usd = self._counter(
            "fill_slippage_usd", "The same in money: lost to it, gained by it.", "purpose", "direction"
        )
        self.order_checks = self._counter(
            "order_checks", "Orders queried, fills inferred, updates that the bus never got.", "what"
        )
        self.unprotected = self._gauge(
            "unprotected_positions", "Positions without a stop at the last look (I7).", "account"
        )
        self.equity = self._gauge("equity_usd", "Equity of a trader.", "trader")
        self.drawdown = self._gauge(
            "drawdown_ratio", "Share of its highest equity that a trader has lost.", "trader"
        )
        self.exposure = self._gauge("exposure_usd", "Notional of the positions.", "trader", "side")
        self.open_orders = self._gauge("open_orders", "Orders that may still fill.", "account")
        self.trading = self._gauge(
            "entries_allowed", "1 while entries may be sent, 0 while something holds them back.", "account"
        )
        self.imbalance = self._gauge(
            "books_imbalance_usd", "Venue equity less that of the traders and the reserve (I8).", "account"
        )
        # the process
        self.stream_lag = self._gauge(
            "stream_lag_messages", "Messages that a group has not acknowledged.", "topic", "group"
        )
        self.dead_letters = self._counter("dead_letters", "Messages given up, by topic.", "topic")
        self.spool_bytes = Gauge(
            "edgewise_journal_spool_bytes",
            "On disk, waiting for the database.",
            registry=self.registry,
        )
        self.rows_dropped = self._counter(
            "journal_rows_dropped", "Rows that neither database nor spool could take.", "table"
        )
        self.cache_writes_dropped = self._counter(
            "cache_writes_dropped", "Cache writes lost to outages.", "cache"
        )
        self.loop_lag = Histogram(
            "edgewise_loop_lag_seconds",
            "How much later than asked the event loop wakes a task.",
            buckets=_LAG_S,
            registry=self.registry,
        )

    def _counter(self, name: str, text: str, *labels: str) -> Labelled[Counter]:
        counter = Counter(f"edgewise_{name}", text, labels, registry=self.registry)
        return Labelled(counter, len(labels))

    def _gauge(self, name: str, text: str, *labels: str, most: int = _MAX_CHILDREN) -> Labelled[Gauge]:
        gauge = Gauge(f"edgewise_{name}", text, labels, registry=self.registry)
        return Labelled(gauge, len(labels), most)


class Health(msgspec.Struct, frozen=True):
    """Whether the process does its work, and what of it does not."""

    ok: bool
    detail: dict[str, str] = {}


def always_healthy() -> Health:
    """For a process whose running is all that can be said."""
    return Health(ok=True)


@asynccontextmanager
async def serve_metrics(
    port: int,
    registry: CollectorRegistry,
    *,
    host: str = "127.0.0.1",
    health: Callable[[], Health] = always_healthy,
) -> AsyncIterator[int]:
    """Serve `/metrics` and `/healthz` while the context lasts; gives the port (0 takes a free one).

    Both answer from memory, whatever Redis, Postgres and the venue do. `/healthz` is 200 or 503 with JSON.
    Raises ConfigError when the address cannot be had.
    """

    async def metrics_page(_: web.Request) -> web.Response:
        page = generate_latest(registry)
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def health_page(_: web.Request) -> web.Response:
        state = health()
        return web.Response(
            body=msgspec.json.encode(state), status=200 if state.ok else 503, content_type="application/json"
        )

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics_page), web.get("/healthz", health_page)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        yield await listen(runner, host, port, "metrics.port of engine.yaml (EDGEWISE_METRICS_PORT)")
    finally:
        await runner.cleanup()


async def watch_loop(metrics: Metrics, clock: Clock) -> None:
    """Measure how late the event loop is, for ever; a delay above 0.1 s is logged as well."""
    while True:
        before_s = clock.real_s()
        await clock.sleep_real(_LAG_EVERY_S)
        lag_s = max(0.0, clock.real_s() - before_s - _LAG_EVERY_S)
        metrics.loop_lag.observe(lag_s)
        if lag_s > _LAG_LOGGED_S:
            log.warning("event loop was blocked", lag_ms=round(lag_s * 1000))
