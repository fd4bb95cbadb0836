"""Brings the metrics up to date with what the parts count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from prometheus_client import Counter

from engine.cache import Cache
from engine.clock import Clock
from engine.config.settings import Settings
from engine.core.decisions import CycleRecord
from engine.exchange.okx.feed import OkxMarketFeed
from engine.exchange.okx.venue import OkxVenue
from engine.journal.postgres_batches import Batches
from engine.metrics import Labelled, Metrics
from engine.parts import Parts

K = TypeVar("K", bound=str)


@dataclass(frozen=True, slots=True)
class Reported:
    """Where the figures come from, and the cache that the faces read."""

    settings: Settings
    clock: Clock
    cache: Cache
    feed: OkxMarketFeed
    venue: OkxVenue
    parts: Parts
    batches: Batches


class Meters:
    """Adds to each counter what its part has counted since the last update."""

    def __init__(self, of: Reported, metrics: Metrics) -> None:
        self._feed, self._venue, self._parts, self._metrics = of.feed, of.venue, of.parts, metrics
        self._batches = of.batches
        self._seen: dict[tuple[int, tuple[str, ...]], int] = {}
        of.parts.executor.on_closed = self._on_cycle

    def update(self) -> None:
        """Once a second."""
        parts, metrics, feed = self._parts, self._metrics, self._feed
        desk = parts.exchange.desk
        self._raise(metrics.frames, ("all",), feed.frames)
        self._raise(metrics.bad_frames, ("all",), feed.bad_frames)
        self._raise_all(metrics.reconnects, feed.connections)
        self._raise_all(metrics.book_resyncs, {"gap": feed.book_gaps, "differs": feed.book_check.wrong})
        for (symbol, channel), age_s in feed.ages_s().items():
            metrics.channel_age(symbol, channel).set(age_s)
        for socket, ends in feed.ends.items():
            for code, count in ends.items():
                self._raise(metrics.socket_ends, (socket, code or "none"), count)
        self._update_account()
        metrics.spool_bytes.set(self._batches.spool_bytes)
        self._raise_all(metrics.rows_dropped, self._batches.dropped)
        self._raise_all(metrics.signals, parts.manager.signals)
        self._raise_all(metrics.wakeups, parts.manager.wakeups)
        self._raise_all(metrics.orders, desk.states)
        self._raise_all(metrics.fills, desk.purposes)
        watch, account = parts.exchange.watch, parts.exchange.account_id
        checks = {"queried": watch.queries, "inferred": watch.inferred, "update_lost": desk.updates.dropped}
        self._raise_all(metrics.order_checks, checks)
        metrics.unprotected(account).set(parts.exchange.guard.unprotected)
        for gate, refusals in (
            ("risk", parts.manager.refusals),
            ("scheduler", parts.scheduler.refusals),
            ("venue", desk.rejects),
        ):
            for reason, count in refusals.items():
                self._raise(metrics.refusals, (gate, reason or "none"), count)
        for view in parts.accounts.views():
            if view.equity is not None:
                metrics.equity(view.trader_id).set(float(view.equity))
        if check := parts.exchange.auditor.newest:
            metrics.imbalance(check.account_id).set(float(check.difference))

    def _update_account(self) -> None:
        """The account's own sockets; their channels are of no single symbol."""
        metrics, stream = self._metrics, self._venue.stream
        for channel, age_s in stream.ages_s().items():
            metrics.channel_age("", channel).set(age_s)
        for name, link in stream.links.items():
            self._raise(metrics.reconnects, (f"account {name}",), link.connections)
            for code, count in link.ends.items():
                self._raise(metrics.socket_ends, (f"account {name}", code or "none"), count)
        for state, count in stream.unknown_states.items():
            self._raise(metrics.unknown_words, ("order state", state), count)

    def _on_cycle(self, record: CycleRecord) -> None:
        metrics = self._metrics
        metrics.decisions(record.status.value).inc()
        for call in record.calls:
            if not call.failure:
                metrics.model_latency(call.model).observe(call.latency_ms / 1000)
                metrics.model_tokens(call.model, "in").inc(call.tokens_in)
                metrics.model_tokens(call.model, "out").inc(call.tokens_out)
                metrics.model_cost(call.model).inc(float(call.cost_usd))

    def _raise_all(self, counter: Labelled[Counter], counts: Mapping[K, int]) -> None:
        for name, count in counts.items():
            self._raise(counter, (str(name),), count)

    def _raise(self, counter: Labelled[Counter], labels: tuple[str, ...], count: int) -> None:
        """Counters of a part start anew with it: what is less than before was counted from zero."""
        key = (id(counter), labels)
        before = self._seen.get(key, 0)
        self._seen[key] = count
        counter(*labels).inc(count - before if count >= before else count)
