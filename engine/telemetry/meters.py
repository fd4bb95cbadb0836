"""Brings the metrics up to date with what the parts count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from prometheus_client import Counter

from engine.clock import Clock
from engine.config.settings import Settings
from engine.core.decisions import AccountView, CycleRecord
from engine.core.orders import ZERO, PositionSide
from engine.core.times import NS_PER_S
from engine.exchange.okx.feed import OkxMarketFeed
from engine.exchange.okx.venue import OkxVenue
from engine.journal.postgres.batches import Batches
from engine.manager.traders import Trader
from engine.redis_cache import RedisCache
from engine.telemetry.metrics import Labelled, Metrics
from engine.telemetry.order_meters import OrderMeters
from engine.wiring.parts import Parts

K = TypeVar("K", bound=str)


@dataclass(frozen=True, slots=True)
class Reported:
    """Where the figures come from, and the cache that the faces read."""

    settings: Settings
    clock: Clock
    cache: RedisCache
    feed: OkxMarketFeed
    venue: OkxVenue
    parts: Parts
    batches: Batches
    paper: Parts | None = None  # of the shadow and canary traders


class Meters:
    """Adds to each counter what its part has counted since the last update."""

    def __init__(self, of: Reported, metrics: Metrics) -> None:
        self._feed, self._venue, self._parts, self._metrics = of.feed, of.venue, of.parts, metrics
        self._cache, self._batches, self._paper = of.cache, of.batches, of.paper
        self._orders = OrderMeters(metrics)
        self._seen: dict[tuple[int, tuple[str, ...]], int] = {}
        of.parts.executor.on_closed.append(self._on_cycle)
        of.parts.exchange.desk.on_sent.append(self._orders.on_sent)
        of.parts.exchange.desk.booking.on_fill.append(self._orders.on_fill)

    def update(self) -> None:
        """Once a second."""
        self._update_market()
        self._update_account()
        self._update_deciding()
        self._update_orders()
        for parts in filter(None, (self._parts, self._paper)):
            for view in parts.accounts.views():
                self._update_trader(view, parts.manager.traders)
        self._update_process()

    def _update_market(self) -> None:
        metrics, feed = self._metrics, self._feed
        self._raise_all(metrics.frames, feed.pushes)
        bad = sum((link.bad_frames for link in self._venue.stream.links.values()), feed.bad_frames)
        for (channel, defect), count in bad.items():
            self._raise(metrics.bad_frames, (channel or "none", str(defect)), count)
        self._raise(metrics.events_dropped, ("public",), feed.dropped)
        self._raise(metrics.messages_lost, ("snapshots",), self._parts.market.snapshots_lost)
        self._raise_all(metrics.reconnects, feed.connections)
        self._raise_all(metrics.book_resyncs, {"gap": feed.book_gaps, "differs": feed.book_check.wrong})
        for (symbol, channel), age_s in feed.ages_s().items():
            metrics.channel_age(symbol, channel).set(age_s)
        for socket, ends in feed.ends.items():
            for code, count in ends.items():
                self._raise(metrics.socket_ends, (socket, code or "none"), count)
        for delay_ns in feed.take_delays_ns():
            metrics.frame_age.observe(delay_ns / NS_PER_S)

    def _update_deciding(self) -> None:
        metrics, manager = self._metrics, self._parts.manager
        self._raise_all(metrics.wakeups, manager.wakeups)
        for labelled, counts in (
            (metrics.signals, manager.signals),
            (metrics.triggers, manager.triggers),
            (metrics.actions, manager.actions),
        ):
            for (one, other), count in counts.items():
                self._raise(labelled, (str(one), str(other)), count)
        for gate, refusals in (
            ("risk", manager.refusals),
            ("scheduler", self._parts.scheduler.refusals),
            ("venue", self._parts.exchange.desk.rejects),
        ):
            for reason, count in refusals.items():
                self._raise(metrics.refusals, (gate, reason or "none"), count)
        for (trader, outcome), count in (self._paper.manager.actions if self._paper else {}).items():
            self._raise(metrics.actions, (trader, outcome), count)

    def _update_orders(self) -> None:
        metrics, exchange = self._metrics, self._parts.exchange
        desk, watch, account = exchange.desk, exchange.watch, exchange.account_id
        self._raise_all(metrics.orders, desk.states)
        self._raise_all(metrics.fills, desk.booking.purposes)
        checks = {"queried": watch.queries, "inferred": watch.inferred, "update_lost": desk.updates.dropped}
        self._raise_all(metrics.order_checks, checks)
        metrics.open_orders(account).set(len(desk.open))
        metrics.unprotected(account).set(exchange.guard.unprotected)
        metrics.trading(account).set(not exchange.refusal(""))
        if check := exchange.auditor.newest:
            metrics.imbalance(check.account_id).set(float(check.difference))

    def _update_trader(self, view: AccountView, traders: Mapping[str, Trader]) -> None:
        """Without a price of all that it holds, a trader's figures keep their last value."""
        metrics, name = self._metrics, view.trader_id
        if view.equity is None:
            return
        metrics.equity(name).set(float(view.equity))
        if trader := traders.get(name):
            metrics.drawdown(name).set(float(trader.breaker.drawdown(view.equity)))
        for side in PositionSide:
            held = sum(each.notional or ZERO for each in view.positions if each.side is side)
            metrics.exposure(name, side.value).set(float(held))

    def _update_process(self) -> None:
        metrics = self._metrics
        metrics.spool_bytes.set(self._batches.spool_bytes)
        self._raise_all(metrics.rows_dropped, self._batches.dropped)
        self._raise(metrics.cache_writes_dropped, ("redis",), self._cache.writes_dropped)

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
        self._orders.on_decision(record.decision)
        for call in record.calls:
            if call.failure:
                metrics.model_failures(call.asked, call.failure).inc()
            else:
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
