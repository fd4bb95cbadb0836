"""Orders in memory: what was intended, what became of it, what was filled."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from engine.core.orders import Fill, Order, OrderIntent, Purpose
from engine.journal.in_memory.notes import Notes


class MemoryOrders:
    """All of a run. What was ordered stays as it was first written; only what became of it changes."""

    def __init__(self, notes: Notes) -> None:
        self._note = notes.add
        self._intents: dict[str, OrderIntent] = {}  # client order id → intent
        self._without_order: dict[str, OrderIntent] = {}  # likewise
        self.orders: dict[str, Order] = {}  # client order id → order, oldest first
        self.fills: dict[tuple[str, str], Fill] = {}  # account, fill id → fill, in booking order

    def intend(self, client_order_id: str, intent: OrderIntent) -> None:
        """Write an intent; nothing when there is one of this name."""
        if client_order_id not in self._intents:
            self._intents[client_order_id] = self._without_order[client_order_id] = intent
            self._note("intent", client_order_id, intent)

    def insert(self, order: Order) -> bool:
        """See Journal.insert_order."""
        if order.client_order_id in self.orders:
            return False
        self.intend(order.client_order_id, order.intent)
        self._set(order)
        return True

    def execute(self, order: Order, fill: Fill | None) -> bool:
        """See Journal.record_execution."""
        if fill is not None and (fill.account_id, fill.fill_id) in self.fills:
            return False
        former = self.orders.get(order.client_order_id)
        if former is None:
            self.intend(order.client_order_id, order.intent)
        elif order.intent is not former.intent:
            order = msgspec.structs.replace(order, intent=former.intent)
        if order != former:
            self._set(order)
        if fill is not None:
            self.fills[fill.account_id, fill.fill_id] = fill
            self._note("fill", fill)
        return True

    def _set(self, order: Order) -> None:
        self.orders[order.client_order_id] = order
        self._without_order.pop(order.client_order_id, None)
        self._note("order", order)

    def intent(self, client_order_id: str) -> OrderIntent | None:
        """What the order was to be; None when nobody here intended it."""
        return self._intents.get(client_order_id)

    def open_of(self, account_id: str) -> tuple[Order, ...]:
        """The account's orders that may still change, oldest first."""
        return tuple(
            order
            for order in self.orders.values()
            if order.intent.account_id == account_id and not order.state.done
        )

    def pending_of(self, account_id: str, since_ns: int) -> tuple[OrderIntent, ...]:
        """Its intents since then that no order was made of, oldest first."""
        return _oldest_first(
            intent
            for intent in self._without_order.values()
            if intent.account_id == account_id and intent.ts_created >= since_ns
        )

    def entries_of(self, account_id: str) -> tuple[OrderIntent, ...]:
        """The intents of its entries that were filled, even in part, oldest first."""
        return _oldest_first(
            self._intents[name]
            for name, order in self.orders.items()
            if order.intent.account_id == account_id
            and order.intent.purpose is Purpose.ENTRY
            and order.filled
        )

    def fills_of(self, account_id: str) -> tuple[Fill, ...]:
        """Its fills, in booking order."""
        return tuple(fill for fill in self.fills.values() if fill.account_id == account_id)


def _oldest_first(intents: Iterable[OrderIntent]) -> tuple[OrderIntent, ...]:
    return tuple(sorted(intents, key=lambda intent: (intent.ts_created, intent.intent_id)))
