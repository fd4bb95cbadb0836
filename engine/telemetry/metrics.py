"""What the engine counts, and the page on which Prometheus finds it.

One registry per process. Names are `edgewise_<thing>_<unit>[_total]`. Labels come from small sets; should one
grow beyond its bound all the same, further values are counted as `other`. Children are bound once:
`metrics.frames("trades").inc()` is two dictionary look-ups.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
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
        self._of_market()
        self._of_sockets()
        self._of_deciding()
        self._of_models()
        self._of_orders()
        self._of_accounts()
        self._of_process()

    def _of_market(self) -> None:
        self.frames = self._counter("frames", "Frames received, by channel.", "channel")
        text = "Frames that did not parse, by channel and defect."
        self.bad_frames = self._counter("bad_frames", text, "channel", "defect")
        text = "From the venue's time of a trade to its receipt, in engine time."
        self.frame_age = self._histogram("frame_age_seconds", text, _FRAME_AGE_S)
        text = "Since a subscription brought data."
        self.channel_age = self._gauge("channel_age_seconds", text, "symbol", "channel", most=_SUBSCRIPTIONS)
        text = "Values of the venue that this version does not know, by field."
        self.unknown_words = self._counter("unknown_words", text, "field", "value")
        text = "Market events for which the reader was too slow."
        self.events_dropped = self._counter("market_events_dropped", text, "feed")
        text = "Messages that an outage of the bus lost, because newer ones follow."
        self.messages_lost = self._counter("bus_messages_lost", text, "topic")
        self.signals = self._counter("signals", "Signals, by detector and edge.", "detector", "edge")

    def _of_sockets(self) -> None:
        text = "Order books distrusted and subscribed anew, by why."
        self.book_resyncs = self._counter("book_resyncs", text, "reason")
        text = "Connections that ended, by socket and close code."
        self.socket_ends = self._counter("socket_ends", text, "socket", "code")
        self.reconnects = self._counter("reconnects", "Connections made again, by socket.", "socket")

    def _of_deciding(self) -> None:
        self.wakeups = self._counter("wakeups", "Wakeups, by the kind of their first reason.", "kind")
        text = "All reasons of wakeups; the detector of a signal."
        self.triggers = self._counter("wakeup_triggers", text, "kind", "detector")
        text = "Actions that deciders wanted: approved, refused, on_paper."
        self.actions = self._counter("actions", text, "trader", "outcome")
        self.decisions = self._counter("decisions", "Decision cycles that ended, by status.", "status")
        self.refusals = self._counter("refusals", "What was refused, by gate and reason.", "gate", "reason")

    def _of_models(self) -> None:
        text = "From the request to the whole answer, by model."
        self.model_latency = self._histograms("model_latency_seconds", text, _MODEL_S, "model")
        text = "Questions without an answer, by alias and kind of failure."
        self.model_failures = self._counter("model_failures", text, "model", "failure")
        text = "Tokens, by model and direction."
        self.model_tokens = self._counter("model_tokens", text, "model", "direction")
        self.model_cost = self._counter("model_cost_usd", "What answers cost, by model.", "model")

    def _of_orders(self) -> None:
        self.orders = self._counter("orders", "Changes of orders, by the state reached.", "state")
        self.fills = self._counter("fills", "Fills booked, by purpose.", "purpose")
        text = "From a decision to the moment its order leaves for the venue, in engine time."
        self.decision_to_order = self._histogram("decision_to_order_seconds", text, _SEND_S)
        text = "Of fills against the price at the decision, by purpose; positive is worse."
        self.slippage = self._histograms("fill_slippage_ratio", text, _SLIPPAGE, "purpose")
        text = "The same in money: lost to it, gained by it."
        self.slippage_usd = self._counter("fill_slippage_usd", text, "purpose", "direction")
        text = "Orders queried, fills inferred, updates that the bus never got."
        self.order_checks = self._counter("order_checks", text, "what")
        self.open_orders = self._gauge("open_orders", "Orders that may still fill.", "account")
        text = "1 while entries may be sent, 0 while something holds them back."
        self.trading = self._gauge("entries_allowed", text, "account")

    def _of_accounts(self) -> None:
        text = "Positions without a stop at the last look (I7)."
        self.unprotected = self._gauge("unprotected_positions", text, "account")
        self.equity = self._gauge("equity_usd", "Equity of a trader.", "trader")
        text = "Share of its highest equity that a trader has lost."
        self.drawdown = self._gauge("drawdown_ratio", text, "trader")
        self.exposure = self._gauge("exposure_usd", "Notional of the positions.", "trader", "side")
        text = "Venue equity less that of the traders and the reserve (I8)."
        self.imbalance = self._gauge("books_imbalance_usd", text, "account")

    def _of_process(self) -> None:
        text = "Messages that a group has not acknowledged."
        self.stream_lag = self._gauge("stream_lag_messages", text, "topic", "group")
        self.dead_letters = self._counter("dead_letters", "Messages given up, by topic.", "topic")
        text = "On disk, waiting for the database."
        self.spool_bytes = Gauge("edgewise_journal_spool_bytes", text, registry=self.registry)
        text = "Rows that neither database nor spool could take."
        self.rows_dropped = self._counter("journal_rows_dropped", text, "table")
        text = "Cache writes lost to outages."
        self.cache_writes_dropped = self._counter("cache_writes_dropped", text, "cache")
        text = "How much later than asked the event loop wakes a task."
        self.loop_lag = self._histogram("loop_lag_seconds", text, _LAG_S)

    def _histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(f"edgewise_{name}", text, buckets=buckets, registry=self.registry)

    def _histograms(self, name: str, text: str, buckets: Sequence[float], label: str) -> Labelled[Histogram]:
        found = Histogram(f"edgewise_{name}", text, [label], buckets=buckets, registry=self.registry)
        return Labelled(found, 1)

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
