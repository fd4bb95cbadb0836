"""Reader of the channel `books`: updates that are chained by their numbers to the best levels of a book."""

from __future__ import annotations

from collections.abc import Callable

from engine.exchange.okx.book import OrderBook, Outcome
from engine.exchange.okx.freshness import Pulse
from engine.exchange.okx.market_readers import Put, Reader
from engine.exchange.okx.market_wire import decode_books


class BookReader(Reader):
    """Keeps `book`; its best levels go to `put` at every change, and `gap` is told when an update is missing.

    A book that waits for its snapshot counts as silent.
    """

    def __init__(
        self,
        book: OrderBook,
        gap: Callable[[str], None],
        put: Put,
        pulse: Pulse,
        heard: Callable[[int], None],
    ) -> None:
        super().__init__(book.symbol, put, pulse, heard)
        self._book, self._gap = book, gap

    def read(self, frame: bytes, ts_recv: int) -> None:
        messages = decode_books(frame)
        self.pushes += 1
        for message in messages:
            outcome = self._book.apply(message)
            if outcome is Outcome.GAP:
                self._gap(self.symbol)
            elif self._book.valid:
                if not self.pulse.fresh:
                    self.heard(ts_recv)
                best = self._book.top(ts_recv) if outcome is Outcome.CHANGED else None
                if best is not None:
                    self.put(best)
