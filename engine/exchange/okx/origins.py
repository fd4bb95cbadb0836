"""Whose order is this? Orders that a stop or target of ours sent are told by the algo they come from.

Such an order has no client id of its own; its record names the algo (`algoId`, `algoClOrdId`). Whether the
stop or the target fired is said by the algo's own record (`actualSide`), which comes on another socket and
maybe later; then the trigger price that is nearer to the market decides.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Generic, TypeVar

import msgspec

from engine.core.orders import Order, Purpose, client_order_id, stop_client_id
from engine.exchange.okx.numbers import decimal
from engine.exchange.okx.orders_wire import TRAILING, AlgoRecord, OrderRecord, Origin

T = TypeVar("T")
_REMEMBERED: Final = 5_000
_OURS: Final = client_order_id("")[:2]
_SIDES: Final = {"sl": Purpose.STOP, "tp": Purpose.TARGET}


class _Algo(msgspec.Struct):
    """What is known of a protection; None where it has no such leg."""

    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    fired: Purpose | None = None


class _Recent(Generic[T]):
    """A dictionary of the newest entries."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: dict[str, T] = {}

    def get(self, key: str) -> T | None:
        return self._entries.get(key)

    def put(self, key: str, value: T) -> None:
        self._entries.pop(key, None)
        self._entries[key] = value
        if len(self._entries) > self._limit:
            del self._entries[next(iter(self._entries))]


def ours(client_id: str | None) -> str:
    """The client id if it is one of ours, else ""."""
    return client_id if client_id and client_id.startswith(_OURS) else ""


class Origins:
    """Remembers the newest protections; forgetting one costs only the distinction of stop and target."""

    def __init__(self) -> None:
        self._algos: _Recent[_Algo] = _Recent(_REMEMBERED)  # by client id
        self._names: _Recent[str] = _Recent(_REMEMBERED)  # algo id → client id

    def expect(self, order: Order) -> None:
        """An order is about to be sent with these attached."""
        intent = order.intent
        if intent.stop_loss is not None or intent.take_profit is not None:
            attached = _Algo(intent.stop_loss, intent.take_profit)
            self._algos.put(stop_client_id(order.client_order_id), attached)

    def learn(self, record: AlgoRecord) -> None:
        """The venue told about an algo. Raises CodecError."""
        client_id = ours(record.algoClOrdId)
        if not client_id:
            return
        self._names.put(record.algoId, client_id)
        known = self._algos.get(client_id) or _Algo()
        known.stop_loss = decimal(record.slTriggerPx) or known.stop_loss
        known.take_profit = decimal(record.tpTriggerPx) or known.take_profit
        known.fired = _SIDES.get(record.actualSide or "", known.fired)
        if record.ordType == TRAILING:  # it has no other side to tell
            known.fired = Purpose.STOP
        self._algos.put(client_id, known)

    def of(self, record: OrderRecord) -> Origin:
        """Client id and category for the reports of an order. Raises CodecError."""
        if record.liquidation:
            return Origin("", Purpose.LIQUIDATION)
        client_id = ours(record.algoClOrdId) or self._names.get(record.algoId or "") or ""
        if client_id:
            return Origin(client_id, self._fired(client_id, record))
        return Origin(ours(record.clOrdId), None)

    def unsure(self, record: OrderRecord) -> bool:
        """The order comes from a protection of ours of which nothing else is known here."""
        client_id = ours(record.algoClOrdId)
        return bool(client_id) and self._algos.get(client_id) is None

    def _fired(self, client_id: str, record: OrderRecord) -> Purpose | None:
        algo = self._algos.get(client_id)
        if algo is None:
            return None
        if algo.fired is not None:
            return algo.fired
        if algo.stop_loss is None or algo.take_profit is None:
            return Purpose.TARGET if algo.stop_loss is None else Purpose.STOP
        prices = (decimal(text) for text in (record.avgPx, record.fillPx, record.lastPx, record.px))
        price = next((value for value in prices if value), None)
        if price is None:
            return None
        nearer_to_stop = abs(price - algo.stop_loss) <= abs(price - algo.take_profit)
        return Purpose.STOP if nearer_to_stop else Purpose.TARGET
