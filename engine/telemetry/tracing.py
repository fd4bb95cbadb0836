"""What came of a signal, as spans: signal → wakeup → decide (→ model calls) → gate → order → fill.

A trace is one decision cycle, and is named by the trace id that its messages carry on the bus. Spans are
named by what they stand for. So nobody carries a context around: a fill that comes after a restart, or in
another process, knows its order's span, and a message that is handled twice makes the same span again.
All times are engine time, as in the journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engine.clock import Clock
from engine.core.decisions import CycleRecord, Decision, ModelCall, Verdict, WakeReason, Wakeup
from engine.core.orders import Fill, Order, OrderIntent, OrderState, entry_of
from engine.core.signals import Signal
from engine.telemetry.spans import Export, Mark, Span, SpanKind
from engine.wiring.parts import Parts

_WAKEUP: Final = "wakeup"
_DECIDE: Final = "decide"
_GATE: Final = "gate"


class Tracing:
    """Makes spans of what the parts tell, each when its step is over, and hands them to `export`."""

    def __init__(self, clock: Clock, export: Export) -> None:
        self._clock = clock
        self._export = export

    def watch(self, parts: Parts) -> None:
        """Be told of everything from now on."""
        parts.manager.on_woken.append(self.on_woken)
        parts.manager.on_gated.append(self.on_gated)
        parts.executor.on_closed.append(self.on_closed)
        parts.exchange.desk.on_change.append(self.on_change)
        parts.exchange.desk.booking.on_fill.append(self.on_fill)

    def on_woken(self, wakeup: Wakeup) -> None:
        """The wakeup, from its first reason, after the signal that began it; later ones are its children."""
        signals = _signals(wakeup.reasons)
        first = _signal_key(signals[0][0]) if signals else ""
        for number, (signal, ts) in enumerate(signals):
            self._export(_of_signal(wakeup.cycle_id, signal, ts, first if number else ""))
        self._export(
            Span(
                name=_WAKEUP,
                trace=wakeup.cycle_id,
                key=_WAKEUP,
                parent=first,
                ts_start=min((reason.ts for reason in wakeup.reasons), default=wakeup.ts),
                ts_end=wakeup.ts,
                attributes={
                    "edgewise.cycle": wakeup.cycle_id,
                    "edgewise.trader": wakeup.trader_id,
                    "edgewise.mode": wakeup.mode,
                    "edgewise.reasons": ",".join(sorted({reason.kind for reason in wakeup.reasons})),
                },
            )
        )

    def on_closed(self, record: CycleRecord) -> None:
        """The time in which the decider thought, and each question to a model in it."""
        decision = record.decision
        failed = record.error if decision.refusal else ""
        self._export(
            Span(
                name=_DECIDE,
                trace=decision.cycle_id,
                key=_DECIDE,
                parent=_WAKEUP,
                ts_start=record.ts_started or decision.ts_decided,
                ts_end=decision.ts_decided,
                attributes={
                    "edgewise.trader": decision.trader_id,
                    "edgewise.decider": decision.decider,
                    "edgewise.status": record.status,
                    "edgewise.refusal": decision.refusal,
                    "edgewise.actions": len(decision.actions),
                    "edgewise.cost_usd": float(record.cost_usd),
                },
                error=failed or decision.refusal,
            )
        )
        for number, call in enumerate(record.calls):
            self._export(_of_call(decision, number, call))

    def on_gated(self, decision: Decision, verdicts: Sequence[Verdict], ts_started: int) -> None:
        """What the gate said, until its verdicts were in the journal; a mark for each action."""
        self._export(
            Span(
                name=_GATE,
                trace=decision.cycle_id,
                key=_GATE,
                parent=_DECIDE,
                ts_start=ts_started,
                ts_end=self._clock.now_ns(),
                attributes={
                    "edgewise.trader": decision.trader_id,
                    "edgewise.approved": sum(verdict.approved for verdict in verdicts),
                    "edgewise.refused": sum(not verdict.approved for verdict in verdicts),
                },
                marks=tuple(map(_of_verdict, verdicts)),
            )
        )

    def on_change(self, before: Order, after: Order) -> None:
        """The order, from its intent to the first thing that is known of it; that is told once."""
        if before.state is not OrderState.PENDING_NEW:
            return
        intent = after.intent
        sent = (Mark("sent", after.ts_sent, {}),) if after.ts_sent else ()
        self._export(
            Span(
                name=f"order {intent.purpose}",
                trace=_trace(intent),
                key=_order_key(after.client_order_id),
                parent=_cause(after),
                ts_start=intent.ts_created,
                ts_end=self._clock.now_ns(),
                attributes={
                    "edgewise.trader": intent.trader_id,
                    "edgewise.order": after.client_order_id,
                    "edgewise.symbol": intent.symbol,
                    "edgewise.side": intent.side,
                    "edgewise.contracts": str(intent.contracts),
                    "edgewise.state": after.state,
                },
                marks=sent,
                error=(after.reason or after.state) if after.state is OrderState.REJECTED else "",
            )
        )

    def on_fill(self, fill: Fill, intent: OrderIntent) -> None:
        """The fill, from its execution at the venue to its place in the books."""
        self._export(
            Span(
                name="fill",
                trace=_trace(intent),
                key=f"fill {fill.fill_id}",
                parent=_order_key(fill.client_order_id),
                ts_start=fill.ts_event,
                ts_end=self._clock.now_ns(),
                attributes={
                    "edgewise.trader": fill.trader_id,
                    "edgewise.symbol": fill.symbol,
                    "edgewise.side": fill.side,
                    "edgewise.contracts": str(fill.contracts),
                    "edgewise.price": str(fill.price),
                    "edgewise.fee": str(fill.fee),
                },
            )
        )


def _signals(reasons: Sequence[WakeReason]) -> list[tuple[Signal, int]]:
    """Signals of a wakeup with the times at which they were taken up, the first one first."""
    found = [(reason.signal, reason.ts) for reason in reasons if reason.signal is not None]
    return sorted(found, key=lambda each: each[1])


def _of_signal(cycle_id: str, signal: Signal, ts: int, parent: str) -> Span:
    return Span(
        name=f"signal {signal.detector}",
        trace=cycle_id,
        key=_signal_key(signal),
        parent=parent,
        ts_start=signal.ts_event,
        ts_end=ts,
        attributes={
            "edgewise.signal": signal.signal_id,
            "edgewise.symbol": signal.symbol,
            "edgewise.edge": signal.edge,
            "edgewise.score": signal.score,
        },
    )


def _of_call(decision: Decision, number: int, call: ModelCall) -> Span:
    """Named as OpenTelemetry asks for questions to models (gen_ai); neither prompt nor answer goes out."""
    return Span(
        name=f"chat {call.model or call.asked}",
        trace=decision.cycle_id,
        key=f"call {number}",
        parent=_DECIDE,
        ts_start=call.ts_asked or decision.ts_decided,
        ts_end=call.ts_answered or decision.ts_decided,
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": call.model or call.asked,
            "gen_ai.usage.input_tokens": call.tokens_in,
            "gen_ai.usage.output_tokens": call.tokens_out,
            "edgewise.cost_usd": float(call.cost_usd),
        },
        error=call.failure,
        kind=SpanKind.CLIENT,
    )


def _of_verdict(verdict: Verdict) -> Mark:
    said = "approved" if verdict.approved else verdict.reason
    return Mark(f"{verdict.act} {verdict.symbol}", verdict.ts, {"edgewise.verdict": said})


def _signal_key(signal: Signal) -> str:
    return f"signal {signal.signal_id}"


def _order_key(client_order_id: str) -> str:
    return f"order {client_order_id}"


def _trace(intent: OrderIntent) -> str:
    """The cycle; an order that none asked for (a breaker, an operator) is a trace of its own."""
    return intent.cycle_id or intent.intent_id


def _cause(order: Order) -> str:
    """The gate that let the order pass; the entry, of a stop or target that fired."""
    entry = entry_of(order.client_order_id)
    if entry is not None:
        return _order_key(entry)
    return _GATE if order.intent.cycle_id else ""
