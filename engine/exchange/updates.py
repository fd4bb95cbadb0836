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

    Full: the oldest is dropped and counted; the journal has it.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: deque[OrderUpdate] = deque(maxlen=_LIMIT)
        self._filled = asyncio.Event()
        self.dropped = 0

    def put(self, update: OrderUpdate) -> None:
        """Hand over a change that is in the journal."""
        self.dropped += len(self._waiting) == self._waiting.maxlen
        self._waiting.append(update)
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
