"""The chained order book of one market, as the `books` channel sends it (docs-v5, «Order book channel»)."""

from __future__ import annotations

from itertools import zip_longest
from zlib import crc32

from engine.exchange.simulator.source import Levels, Quote
from engine.exchange.simulator.text import Row, ms, num
from engine.exchange.simulator.wire_market import levels

_SUMMED = 25
_STEP = 7  # numbers rise by more than one, as the venue's do


class BookFeed:
    """What subscribers have been told, and the number of that. One chain for all sockets."""

    def __init__(self, first_number: int) -> None:
        self.number = first_number
        self._told: Quote | None = None

    def snapshot(self, quote: Quote) -> Row:
        """The whole book as the newest number stands for it."""
        told = self._told = self._told or quote
        return self._row(levels(told.bids, 400), levels(told.asks, 400), told.ts, previous=-1)

    def update(self, quote: Quote) -> Row | None:
        """The levels that changed since the last call; None without a change, and the number stays."""
        told = self._told
        if told is None:
            self._told = quote
            return None
        bids, asks = _changes(told.bids, quote.bids), _changes(told.asks, quote.asks)
        self._told = quote
        if not bids and not asks:
            return None
        previous, self.number = self.number, self.number + _STEP
        bids.sort(key=lambda row: -float(row[0]))
        asks.sort(key=lambda row: float(row[0]))
        return self._row(bids, asks, quote.ts, previous)

    def heartbeat(self, now_ns: int) -> Row:
        """Says that nothing has changed: no levels, and the number follows itself."""
        return self._row([], [], now_ns, self.number)

    def checksum(self) -> int:
        """CRC-32 of the best 25 levels as subscribers have them, which the venue sent until June 2026."""
        told = self._told
        if told is None:
            return 0
        sides = zip_longest(told.bids[:_SUMMED], told.asks[:_SUMMED])
        words = [num(value) for pair in sides for level in pair if level for value in level]
        unsigned = crc32(":".join(words).encode())
        return unsigned - (1 << 32) if unsigned >> 31 else unsigned

    def break_chain(self) -> None:
        """Lose a number, so that the next update does not follow what subscribers have (a fault)."""
        self.number += _STEP

    def restart(self) -> Row:
        """Numbers begin again below, chained to the last one, as after maintenance (a fault)."""
        previous, self.number = self.number, self.number // 2
        return self._row([], [], self._told.ts if self._told else 0, previous)

    def _row(self, bids: list[list[str]], asks: list[list[str]], ts: int, previous: int) -> Row:
        numbers = {"checksum": 0, "prevSeqId": previous, "seqId": self.number}
        return {"asks": asks, "bids": bids, "ts": ms(ts), **numbers}


def _changes(old: Levels, new: Levels) -> list[list[str]]:
    before, after = dict(old), dict(new)
    gone = [[num(price), "0", "0", "0"] for price in before if price not in after]
    return gone + levels(tuple((p, size) for p, size in new if before.get(p) != size), len(new))
