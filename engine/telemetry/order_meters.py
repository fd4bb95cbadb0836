"""Measures what an order costs beside its fees: the time until it leaves, and the price it gets."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from engine.core.decisions import Decision
from engine.core.orders import Fill, Order, OrderIntent
from engine.core.times import NS_PER_S
from engine.telemetry.metrics import Metrics

_REMEMBERED: Final = 1000  # decisions whose orders may still leave; the oldest go


class OrderMeters:
    """Told of decisions, of orders as they leave, and of fills, each once."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._decided: OrderedDict[str, int] = OrderedDict()  # cycle → engine time

    def on_decision(self, decision: Decision) -> None:
        """A cycle was closed; its orders may follow."""
        self._decided[decision.cycle_id] = decision.ts_decided
        if len(self._decided) > _REMEMBERED:
            self._decided.popitem(last=False)

    def on_sent(self, order: Order) -> None:
        """An order leaves. Those that no decision asked for, or one of a former life, are not measured."""
        decided = self._decided.get(order.intent.cycle_id)
        if decided is not None:
            self._metrics.decision_to_order.observe(max(0, order.ts_sent - decided) / NS_PER_S)

    def on_fill(self, fill: Fill, intent: OrderIntent) -> None:
        """Slippage = sign (buy 1, sell -1) x (price - price at the decision) / price at the decision."""
        expected = intent.decision_price
        if not expected:
            return
        worse = fill.side.sign * (fill.price - expected)
        purpose = fill.purpose.value
        self._metrics.slippage(purpose).observe(float(worse / expected))
        money = worse * fill.contracts * fill.contract_value
        self._metrics.slippage_usd(purpose, "lost" if money > 0 else "gained").inc(float(abs(money)))
