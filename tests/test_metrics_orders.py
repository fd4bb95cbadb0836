"""What orders cost beside their fees, as Prometheus sees it."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from engine.core.decisions import Decision
from engine.core.market import Side
from engine.core.orders import Fill, Order, PositionSide, Purpose
from engine.core.times import NS_PER_S
from engine.telemetry.metrics import Metrics
from engine.telemetry.order_meters import OrderMeters
from tests.order_parts import intent_of

T0 = 1_790_000_000 * NS_PER_S
DECISION = Decision(cycle_id="t-1", trader_id="t", decider="d", actions=(), prices={}, ts_decided=T0)
INTENT = intent_of(
    "i1",
    cycle_id="t-1",
    trader_id="t",
    account_id="okx",
    contracts=Decimal(5),
    decision_price=Decimal(50_000),
    ts_created=T0,
)


def _fill(side: Side, price: str) -> Fill:
    return Fill(
        fill_id=f"BTC-USDT-SWAP:1:{price}",
        client_order_id=INTENT.client_order_id,
        venue_order_id="1",
        trader_id="t",
        account_id="okx",
        symbol=INTENT.symbol,
        side=side,
        position_side=PositionSide.LONG,
        purpose=Purpose.ENTRY,
        contracts=Decimal(5),
        price=Decimal(price),
        contract_value=Decimal("0.01"),
        fee=Decimal(0),
        maker=False,
        ts_event=T0,
    )


def test_the_way_from_a_decision_to_its_order_is_timed() -> None:
    metrics = Metrics()
    meters = OrderMeters(metrics)
    sent = Order(client_order_id="c", intent=INTENT, ts_sent=T0 + NS_PER_S // 20)
    meters.on_sent(sent)  # of a former life: when it was decided is not known
    meters.on_decision(DECISION)
    meters.on_sent(sent)
    meters.on_sent(msgspec.structs.replace(sent, intent=msgspec.structs.replace(INTENT, cycle_id="")))
    value = metrics.registry.get_sample_value
    assert value("edgewise_decision_to_order_seconds_count") == 1
    assert value("edgewise_decision_to_order_seconds_sum") == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("side", "price", "direction", "bound"),
    [
        (Side.BUY, "50010", "lost", "0.0003"),  # 2 bps worse
        (Side.BUY, "49990", "gained", "-0.0001"),
        (Side.SELL, "49990", "lost", "0.0003"),
        (Side.SELL, "50010", "gained", "-0.0001"),
    ],
)
def test_slippage_counts_against_the_price_at_the_decision(
    side: Side, price: str, direction: str, bound: str
) -> None:
    metrics = Metrics()
    OrderMeters(metrics).on_fill(_fill(side, price), INTENT)
    value = metrics.registry.get_sample_value
    labels = {"purpose": "entry", "direction": direction}
    assert value("edgewise_fill_slippage_usd_total", labels) == pytest.approx(10 * 0.05)
    assert value("edgewise_fill_slippage_ratio_bucket", {"purpose": "entry", "le": bound}) == 1
    below = "0.0001" if direction == "lost" else "-0.0003"
    assert value("edgewise_fill_slippage_ratio_bucket", {"purpose": "entry", "le": below}) == 0


def test_a_fill_without_a_decision_has_no_slippage() -> None:
    metrics = Metrics()
    stopped = msgspec.structs.replace(INTENT, decision_price=None, purpose=Purpose.STOP)
    OrderMeters(metrics).on_fill(_fill(Side.SELL, "49000"), stopped)
    assert not [s for m in metrics.registry.collect() for s in m.samples if "slippage" in s.name]
