"""The bounded queue between a socket and the reader of its market events."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from engine.core.errors import InvariantBroken
from engine.core.market import Candle, FeedStatus, MarketEvent

_PATIENCE: Final = 4  # times the limit, of events that must not be dropped


class EventBuffer:
    """Keeps the order. Full: the oldest tick-like event goes, counted in `dropped`.

    Closed candles and FeedStatus are never dropped; a reader that lets `4 * limit` of them pile up is dead,
    which raises InvariantBroken.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: deque[MarketEvent] = deque()
        self._filled = asyncio.Event()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: MarketEvent) -> None:
        """Add an event; never waits."""
        if len(self._events) >= self._limit:
            self._make_room()
        self._events.append(event)
        self._filled.set()

    async def get(self) -> MarketEvent:
        """The oldest event; waits for one."""
        while not self._events:
            self._filled.clear()
            await self._filled.wait()
        return self._events.popleft()

    def _make_room(self) -> None:
        for index, event in enumerate(self._events):
            if not _precious(event):
                del self._events[index]
                self.dropped += 1
                return
        if len(self._events) >= _PATIENCE * self._limit:
            raise InvariantBroken("nobody reads the market feed")


def _precious(event: MarketEvent) -> bool:
    return (isinstance(event, Candle) and event.closed) or isinstance(event, FeedStatus)
