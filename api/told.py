"""Messages of the bus in the words of `/api/stream`. Pure; times are epoch seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec
import structlog

from api.cache import StreamEntry
from api.views import seconds
from engine.bus import CLOSED_CYCLES, ORDERS, SIGNALS, WAKEUPS, OrderUpdate
from engine.core.decisions import Decision, Wakeup
from engine.core.errors import CodecError
from engine.core.orders import Fill, Order
from engine.core.signals import Signal
from engine.envelope import EnvelopeCodec

log = structlog.get_logger()

GAP: Final = "gap"
PRICES: Final = "prices"
EQUITY: Final = "equity"
KINDS: Final = ("signal", "wakeup", "decision", "order", "fill", PRICES, EQUITY)


class Told(NamedTuple):
    """One event: its kind, and a body that encodes to JSON."""

    kind: str
    body: Any


class SignalTold(msgspec.Struct, frozen=True, kw_only=True):
    signal_id: str
    symbol: str
    detector: str
    timeframe: str
    edge: str
    value: float
    threshold: float
    score: float
    price: float | None
    timestamp: float


class WakeupTold(msgspec.Struct, frozen=True, kw_only=True):
    cycle_id: str
    trader_id: str
    mode: str
    reasons: tuple[str, ...]  # kinds, and the ids of signals
    timestamp: float


class ActionTold(msgspec.Struct, frozen=True, kw_only=True):
    symbol: str
    act: str
    confidence: Decimal | None


class DecisionTold(msgspec.Struct, frozen=True, kw_only=True):
    cycle_id: str
    trader_id: str
    decider: str
    actions: tuple[ActionTold, ...]
    refusal: str
    timestamp: float


class OrderTold(msgspec.Struct, frozen=True, kw_only=True):
    client_order_id: str
    cycle_id: str
    trader_id: str
    symbol: str
    side: str
    purpose: str
    state: str
    contracts: Decimal
    filled: Decimal
    average_price: Decimal | None
    reason: str
    timestamp: float


class FillTold(msgspec.Struct, frozen=True, kw_only=True):
    fill_id: str
    client_order_id: str
    trader_id: str
    symbol: str
    side: str
    purpose: str
    contracts: Decimal
    contract_value: Decimal  # coins of a contract
    price: Decimal
    fee: Decimal
    timestamp: float


def told(entry: StreamEntry) -> tuple[Told, ...]:
    """The events of one entry; none for a topic that is not told, or bytes that do not decode."""
    reader = _READERS.get(entry.topic)
    if reader is None:
        return ()
    codec, say = reader
    try:
        messages = codec.decode(entry.payload, entry.entry_id)
    except CodecError as error:
        log.warning("message not understood", topic=entry.topic, entry=entry.entry_id, error=str(error))
        return ()
    return tuple(event for message in messages for event in say(message.body))


def _signal(signal: Signal) -> Iterator[Told]:
    yield Told(
        "signal",
        SignalTold(
            signal_id=signal.signal_id,
            symbol=signal.symbol,
            detector=signal.detector,
            timeframe=signal.timeframe,
            edge=signal.edge.value,
            value=signal.value,
            threshold=signal.threshold,
            score=signal.score,
            price=signal.price,
            timestamp=seconds(signal.ts_event),
        ),
    )


def _wakeup(wakeup: Wakeup) -> Iterator[Told]:
    yield Told(
        "wakeup",
        WakeupTold(
            cycle_id=wakeup.cycle_id,
            trader_id=wakeup.trader_id,
            mode=wakeup.mode.value,
            reasons=tuple(
                each.signal.signal_id if each.signal is not None else each.kind.name.lower()
                for each in wakeup.reasons
            ),
            timestamp=seconds(wakeup.ts),
        ),
    )


def _decision(decision: Decision) -> Iterator[Told]:
    yield Told(
        "decision",
        DecisionTold(
            cycle_id=decision.cycle_id,
            trader_id=decision.trader_id,
            decider=decision.decider,
            actions=tuple(
                ActionTold(symbol=each.symbol, act=each.act.value, confidence=each.confidence)
                for each in decision.actions
            ),
            refusal=decision.refusal,
            timestamp=seconds(decision.ts_decided),
        ),
    )


def _update(update: OrderUpdate) -> Iterator[Told]:
    yield Told("order", _order(update.order))
    if update.fill is not None:
        yield Told("fill", _fill(update.fill))


def _order(order: Order) -> OrderTold:
    intent = order.intent
    return OrderTold(
        client_order_id=order.client_order_id,
        cycle_id=intent.cycle_id,
        trader_id=intent.trader_id,
        symbol=intent.symbol,
        side=intent.side.value,
        purpose=intent.purpose.value,
        state=order.state.value,
        contracts=intent.contracts,
        filled=order.filled,
        average_price=order.average_price,
        reason=order.reason,
        timestamp=seconds(order.ts_updated),
    )


def _fill(fill: Fill) -> FillTold:
    return FillTold(
        fill_id=fill.fill_id,
        client_order_id=fill.client_order_id,
        trader_id=fill.trader_id,
        symbol=fill.symbol,
        side=fill.side.value,
        purpose=fill.purpose.value,
        contracts=fill.contracts,
        contract_value=fill.contract_value,
        price=fill.price,
        fee=fill.fee,
        timestamp=seconds(fill.ts_event),
    )


_READERS: Final[dict[str, tuple[EnvelopeCodec[Any], Callable[[Any], Iterator[Told]]]]] = {
    SIGNALS.name: (EnvelopeCodec(SIGNALS), _signal),
    WAKEUPS.name: (EnvelopeCodec(WAKEUPS), _wakeup),
    CLOSED_CYCLES.name: (EnvelopeCodec(CLOSED_CYCLES), _decision),
    ORDERS.name: (EnvelopeCodec(ORDERS), _update),
}
