"""Changes of orders on their way to the bus."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from engine.bus import ORDERS, Bus, OrderUpdate
from engine.retry import patiently

_LIMIT: Final = 10_000


class OrderUpdates:
    """A bounded queue in front of the bus, so that an outage of the bus holds up nothing else.

    A change without a fill that still waits when the next of its order comes makes room for it: who hears of
    an order wants to know how it stands, and of every fill. Full: the oldest is dropped and counted; the
    journal has it.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: deque[OrderUpdate] = deque(maxlen=_LIMIT)
        self._filled = asyncio.Event()
        self.dropped = 0

    def put(self, update: OrderUpdate) -> None:
        """Hand over a change that is in the journal."""
        waiting = self._waiting
        if waiting and waiting[-1].fill is None and _same_order(waiting[-1], update):
            waiting[-1] = update
        else:
            self.dropped += len(waiting) == waiting.maxlen
            waiting.append(update)
        self._filled.set()

    async def publish(self) -> None:
        """Put changes on the bus in order, for ever."""
        while True:
            await self._filled.wait()
            while self._waiting:
                await self._put(self._waiting.popleft())
            self._filled.clear()

    async def _put(self, update: OrderUpdate) -> None:
        intent = update.order.intent
        trace_id = intent.cycle_id or intent.intent_id  # a breaker's or an operator's order has no cycle
        await patiently(lambda: self._bus.publish(ORDERS, update, trace_id=trace_id))


def _same_order(one: OrderUpdate, other: OrderUpdate) -> bool:
    return one.order.client_order_id == other.order.client_order_id
