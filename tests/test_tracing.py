"""What came of a signal, as a trace: the same wherever it is made, and never in anybody's way."""

from __future__ import annotations

import asyncio
import socket
from decimal import Decimal

import msgspec
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from engine.clock import SimClock
from engine.config.engine import TracingConfig
from engine.core.decisions import (
    Act,
    CycleRecord,
    CycleStatus,
    Decision,
    ModelCall,
    Verdict,
    WakeKind,
    WakeReason,
)
from engine.core.orders import (
    Fill,
    Order,
    OrderState,
    PositionSide,
    Purpose,
    stop_client_id,
)
from engine.core.times import NS_PER_S
from engine.telemetry.otlp import exporting
from engine.telemetry.spans import Span, SpanKind
from engine.telemetry.tracing import Tracing
from tests.collector import Collector, collecting
from tests.executor_parts import BTC, wakeup_of
from tests.order_parts import intent_of

D = Decimal
WAKEUP = wakeup_of(BTC)
T0 = WAKEUP.ts
INTENT = intent_of("i1", cycle_id=WAKEUP.cycle_id, trader_id=WAKEUP.trader_id, ts_created=T0 + 4 * NS_PER_S)
ENTRY = Order(client_order_id=INTENT.client_order_id, intent=INTENT, ts_sent=T0 + 5 * NS_PER_S)


def _fill(order: Order, number: int) -> Fill:
    intent = order.intent
    return Fill(
        fill_id=f"{BTC}:1:{number}",
        client_order_id=order.client_order_id,
        venue_order_id="1",
        trader_id=intent.trader_id,
        account_id=intent.account_id,
        symbol=BTC,
        side=intent.side,
        position_side=PositionSide.LONG,
        purpose=intent.purpose,
        contracts=D(1),
        price=D(100),
        contract_value=D("0.01"),
        fee=D("-0.01"),
        maker=False,
        ts_event=T0 + (5 + number) * NS_PER_S,
    )


def _tell(tracing: Tracing, clock: SimClock) -> None:
    """One whole cycle: two signals, an answer after a first try, an entry, its stop, and both fills."""
    first = next(reason for reason in WAKEUP.reasons if reason.signal)
    assert first.signal is not None
    other = msgspec.structs.replace(first.signal, signal_id="merged", detector="spread")
    merged = WakeReason(WakeKind.SIGNAL, first.ts + 1, other)
    tracing.on_woken(msgspec.structs.replace(WAKEUP, reasons=(merged, *WAKEUP.reasons)))
    asked = T0 + NS_PER_S
    calls = (
        ModelCall(digest="d", asked="m", alias="m", failure="timeout", ts_asked=asked, ts_answered=asked),
        ModelCall(digest="d", asked="m", alias="m", model="big", ts_asked=asked, ts_answered=asked + 5),
    )
    decision = Decision(
        cycle_id=WAKEUP.cycle_id,
        trader_id=WAKEUP.trader_id,
        decider="m",
        actions=(),
        prices={},
        ts_decided=T0 + 2 * NS_PER_S,
    )
    tracing.on_closed(
        CycleRecord(decision=decision, status=CycleStatus.DECIDED, ts_started=asked, calls=calls)
    )
    verdict = Verdict(
        cycle_id=WAKEUP.cycle_id,
        trader_id=WAKEUP.trader_id,
        symbol=BTC,
        act=Act.BUY_TO_ENTER,
        approved=False,
        reason="spread",
        checks=(),
        ts=T0 + 3 * NS_PER_S,
    )
    clock.set(T0 + 4 * NS_PER_S)
    tracing.on_gated(decision, [verdict], T0 + 3 * NS_PER_S)
    clock.set(T0 + 10 * NS_PER_S)
    for order, number in ((ENTRY, 1), (_stop(), 2)):
        filled = msgspec.structs.replace(order, state=OrderState.FILLED)
        tracing.on_change(order, filled)
        tracing.on_fill(_fill(order, number), order.intent)
        tracing.on_change(filled, filled)  # what an order becomes later is not told again


def _stop() -> Order:
    intent = msgspec.structs.replace(INTENT, purpose=Purpose.STOP, intent_id="s")
    return Order(client_order_id=stop_client_id(ENTRY.client_order_id), intent=intent)


def test_each_step_of_a_cycle_follows_what_caused_it() -> None:
    spans: list[Span] = []
    clock = SimClock(T0)
    _tell(Tracing(clock, spans.append), clock)
    named = {span.key: span for span in spans}
    assert len(named) == len(spans) == 11
    assert {span.trace for span in spans} == {WAKEUP.cycle_id}
    lines = {span.name: _line(span, named) for span in spans}
    began = next(span.name for span in spans if not span.parent)
    start = [began, "wakeup", "decide"]
    assert lines["signal spread"] == [began, "signal spread"]
    assert lines["chat m"] == [*start, "chat m"]
    entry = [*start, "gate", "order entry"]
    assert lines["order stop"] == [*entry, "order stop"]
    assert _line(named[f"fill {BTC}:1:1"], named) == [*entry, "fill"]
    assert _line(named[f"fill {BTC}:1:2"], named) == [*entry, "order stop", "fill"]
    assert [span.error for span in spans if span.kind is SpanKind.CLIENT] == ["timeout", ""]
    gate = named["gate"]
    assert gate.ts_end - gate.ts_start == NS_PER_S
    assert gate.marks[0].attributes == {"edgewise.verdict": "spread"}


def _line(span: Span, named: dict[str, Span]) -> list[str]:
    return [*(_line(named[span.parent], named) if span.parent else []), span.name]


def test_a_rejected_order_is_an_error_of_its_trace() -> None:
    spans: list[Span] = []
    tracing = Tracing(SimClock(T0), spans.append)
    rejected = msgspec.structs.replace(ENTRY, state=OrderState.REJECTED, reason="51008: no margin")
    tracing.on_change(ENTRY, rejected)
    assert [span.error for span in spans] == ["51008: no margin"]


def test_an_order_that_no_decision_asked_for_is_a_trace_of_its_own() -> None:
    spans: list[Span] = []
    tracing = Tracing(SimClock(T0), spans.append)
    order = msgspec.structs.replace(ENTRY, intent=msgspec.structs.replace(INTENT, cycle_id=""))
    tracing.on_change(order, msgspec.structs.replace(order, state=OrderState.NEW))
    tracing.on_fill(_fill(order, 1), order.intent)
    assert [(span.trace, span.parent) for span in spans] == [("i1", ""), ("i1", spans[0].key)]


async def _collected(collector: Collector) -> list[Sent]:
    """The whole cycle, sent to the collector by one process that ends then."""
    clock, before = SimClock(T0), len(collector.spans)
    config = TracingConfig(otlp_endpoint=f"{collector.url}/", headers={"x-tenant": "desk"})
    async with exporting(config, "edgewise-engine", "test") as export:
        _tell(Tracing(clock, export), clock)
    return collector.spans[before:]


async def test_a_collector_gets_the_cycle_with_its_parents_and_times() -> None:
    async with collecting() as collector:
        first = await _collected(collector)
        again = await _collected(collector)
    assert collector.services == {"edgewise-engine"}
    assert collector.headers[0]["x-tenant"] == "desk"
    assert len({span.trace_id for span in first}) == 1
    lines = [collector.line(span) for span in first if span.name == "fill"]
    assert [line[1:] for line in lines] == [
        ["wakeup", "decide", "gate", "order entry", "fill"],
        ["wakeup", "decide", "gate", "order entry", "order stop", "fill"],
    ]
    entry = next(span for span in first if span.name == "order entry")
    assert (entry.start_time_unix_nano, entry.end_time_unix_nano) == (INTENT.ts_created, T0 + 10 * NS_PER_S)
    assert [(each.name, each.time_unix_nano) for each in entry.events] == [("sent", ENTRY.ts_sent)]
    failed = next(span for span in first if span.name == "chat m")
    assert (failed.status.code, failed.kind) == (Status.STATUS_CODE_ERROR, Sent.SPAN_KIND_CLIENT)
    assert [span.span_id for span in again] == [span.span_id for span in first]  # nothing twice


async def test_a_collector_that_is_away_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        config = TracingConfig(otlp_endpoint=f"http://127.0.0.1:{taken.getsockname()[1]}")
        clock = SimClock(T0)
        async with asyncio.timeout(20), exporting(config, "edgewise-engine", "test") as export:
            _tell(Tracing(clock, export), clock)
    assert "exporting spans" in caplog.text
