"""The bounded queue between a socket and the reader of its market events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
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
        self._waiting: asyncio.Event | None = None  # set for the reader that waits
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: MarketEvent) -> None:
        """Add an event; never waits."""
        self.extend((event,))

    def extend(self, events: Sequence[MarketEvent]) -> None:
        """Add events in order; never waits."""
        held = self._events
        excess = len(held) + len(events) - self._limit
        if excess > 0:
            for _ in range(min(len(events), excess)):
                self._make_room()
        held.extend(events)
        if self._waiting is not None:
            self._waiting.set()

    async def read(self) -> AsyncIterator[MarketEvent]:
        """Events in order, for one reader; waits for more without end."""
        events = self._events
        while True:
            while events:
                yield events.popleft()
            self._waiting = asyncio.Event()
            await self._waiting.wait()
            self._waiting = None

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
