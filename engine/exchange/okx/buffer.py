"""The bounded queue between a socket and the reader of its market events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from engine.core.errors import InvariantBroken
from engine.core.market import TRADES, Candle, ChannelState, FeedStatus, MarketEvent, Trade

_PATIENCE: Final = 4  # times the limit, of events that must not be dropped


class EventBuffer:
    """Keeps the order. Full: the oldest tick-like events go, counted in `dropped`.

    Room is made when a 64th too many wait, so that it costs little an event where the reader stays behind.
    Closed candles and FeedStatus are never dropped; a reader that lets more than `4 * limit` of them pile up
    is dead, which raises InvariantBroken. Before what is left the reader is told that a symbol's trades were
    interrupted (STALE, then LIVE): candles made of them would be wrong without a word.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._most = limit, limit + limit // 64
        self._events: list[MarketEvent] = []
        self.append = self._events.append  # adds an event; `settle` is to follow before anybody waits
        self._waiting: asyncio.Future[None] | None = None  # of the reader that waits
        self._interrupted: dict[str, int] = {}  # symbol whose trades were dropped → time of the newest
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._events)

    def settle(self) -> None:
        """Make room if the buffer is full, and wake the reader if there is something; never waits."""
        if len(self._events) > self._most:
            self._make_room()
        if self._events and self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def take(self) -> Sequence[MarketEvent]:
        """Wait for events; all that are there, oldest first and at least one. For one reader."""
        while not self._events:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        taken = self._events.copy()
        self._events.clear()
        if self._interrupted:
            taken[:0] = [
                FeedStatus(symbol, TRADES, state, ts, ts)
                for symbol, ts in self._interrupted.items()
                for state in (ChannelState.STALE, ChannelState.LIVE)
            ]
            self._interrupted.clear()
        return taken

    def _make_room(self) -> None:
        """Leave out the oldest that may be; what must not is kept beyond the limit, and that has an end."""
        excess = len(self._events) - self._limit
        kept: list[MarketEvent] = []
        for at, event in enumerate(self._events):
            if not excess:
                kept += self._events[at:]
                break
            if _precious(event):
                kept.append(event)
            else:
                excess -= 1
                self.dropped += 1
                if isinstance(event, Trade):
                    self._interrupted[event.symbol] = event.ts_event
        self._events[:] = kept
        if len(kept) > _PATIENCE * self._limit:
            raise InvariantBroken("nobody reads the market feed")


def _precious(event: MarketEvent) -> bool:
    return (isinstance(event, Candle) and event.closed) or isinstance(event, FeedStatus)
