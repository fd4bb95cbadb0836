"""A full order book kept by OKX's sequence rules. Pure; prices are float.

https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel. A snapshot has
prevSeqId -1. An update fits when its prevSeqId is the last seqId; its own seqId may be equal (a keep-alive
without levels) or lower (the venue restarted its numbering). Anything else is a gap: the book is invalid at
once and stays so until the next snapshot. The checksum field is 0 since June 2026 and is not looked at.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from enum import Enum, auto
from math import inf
from typing import Final

from engine.core.market import BookTop, Level, Levels
from engine.exchange.okx.market_rows import BookMessage

_SNAPSHOT: Final = -1
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 60.0
_CALM_S: Final = 60.0
_EARLY: Final = 200  # updates kept while the snapshot is awaited


class Outcome(Enum):
    CHANGED = auto()
    ALIVE = auto()  # nothing to change: a keep-alive, a duplicate, or an update that waits for its snapshot
    GAP = auto()  # invalid from now on: ask for a new snapshot


class _Side:
    """Levels by price, and the prices in ascending order: a new level costs one bisection."""

    __slots__ = ("by_price", "prices")

    def __init__(self) -> None:
        self.by_price: dict[float, Level] = {}
        self.prices: list[float] = []

    def replace(self, rows: Iterable[Level]) -> None:
        """All levels anew."""
        self.by_price = {row.price: row for row in rows if row.size}
        self.prices = sorted(self.by_price)

    def merge(self, rows: Iterable[Level]) -> None:
        """Set levels; those of no size go."""
        by_price, prices = self.by_price, self.prices
        for row in rows:
            price = row.price
            if row.size:
                if price not in by_price:
                    insort(prices, price)
                by_price[price] = row
            elif by_price.pop(price, None) is not None:
                del prices[bisect_left(prices, price)]

    def levels(self, prices: list[float]) -> Levels:
        """The levels at these prices."""
        return tuple(map(self.by_price.__getitem__, prices))


class OrderBook:
    """One symbol. `valid` is False until a snapshot came and after any gap."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.valid = False
        self.gaps = 0
        self._bids = _Side()
        self._asks = _Side()
        self._last = _SNAPSHOT
        self._ts_event = 0
        self._early: deque[BookMessage] = deque(maxlen=_EARLY)

    def invalidate(self) -> None:
        """Forget everything, as after a lost connection."""
        self.valid = False
        self._bids.replace(())
        self._asks.replace(())
        self._early.clear()

    def apply(self, message: BookMessage) -> Outcome:
        """Take one message of the channel, in the order of arrival."""
        if message.snapshot or message.previous == _SNAPSHOT:
            return self._replace(message)
        if not self.valid:
            self._early.append(message)
            return Outcome.ALIVE
        return self._update(message)

    def _replace(self, message: BookMessage) -> Outcome:
        """A snapshot replaces all; updates that came before it count only if they are newer."""
        self._bids.replace(message.bids)
        self._asks.replace(message.asks)
        self._last = message.sequence if message.sequence is not None else _SNAPSHOT
        self._ts_event = message.ts_event
        self.valid = True
        early, self._early = list(self._early), deque(maxlen=_EARLY)
        for update in early:
            if update.sequence is not None and update.sequence > self._last:
                outcome = self._update(update)
                if outcome is Outcome.GAP:
                    return outcome
        return self._sane()

    def _update(self, message: BookMessage) -> Outcome:
        sequence, previous = message.sequence, message.previous
        if sequence is None or previous is None:  # recordings from before 2023 have no sequence
            return self._change(message)
        if previous != self._last:
            if sequence <= self._last:
                return Outcome.ALIVE  # told already, by a connection that is being replaced
            return self._gap()
        self._last = sequence
        if not message.bids and not message.asks:
            self._ts_event = message.ts_event
            return Outcome.ALIVE
        return self._change(message)

    def _change(self, message: BookMessage) -> Outcome:
        self._bids.merge(message.bids)
        self._asks.merge(message.asks)
        self._ts_event = message.ts_event
        return self._sane()

    def _sane(self) -> Outcome:
        """A crossed book is no book."""
        bids, asks = self._bids.prices, self._asks.prices
        if bids and asks and bids[-1] >= asks[0]:
            return self._gap()
        return Outcome.CHANGED

    def _gap(self) -> Outcome:
        self.gaps += 1
        self.invalidate()
        return Outcome.GAP

    def top(self, ts_recv: int, depth: int = 5) -> BookTop | None:
        """The best levels; None while the book is invalid."""
        if not self.valid:
            return None
        bids = self._bids.levels(self._bids.prices[: -depth - 1 : -1])
        asks = self._asks.levels(self._asks.prices[:depth])
        return BookTop(self.symbol, bids, asks, self._ts_event, ts_recv)


class Resync:
    """When to ask for a snapshot again: after 1 s, then twice as long for each gap within a minute."""

    def __init__(self) -> None:
        self._due_s: dict[str, float] = {}
        self._waits: dict[str, tuple[float, float]] = {}  # symbol → (time of the last gap, wait it led to)

    def want(self, symbol: str, now_s: float) -> None:
        """A gap was seen; while one request is due, more gaps change nothing."""
        if symbol in self._due_s:
            return
        last_s, wait_s = self._waits.get(symbol, (-inf, 0.0))
        calm = now_s - last_s - wait_s > _CALM_S
        wait_s = _FIRST_WAIT_S if calm else min(_LONGEST_WAIT_S, 2 * wait_s)
        self._waits[symbol] = (now_s, wait_s)
        self._due_s[symbol] = now_s + wait_s

    def due(self, now_s: float) -> list[str]:
        """Symbols to ask for now, each once."""
        symbols = [symbol for symbol, due_s in self._due_s.items() if due_s <= now_s]
        for symbol in symbols:
            del self._due_s[symbol]
        return symbols
