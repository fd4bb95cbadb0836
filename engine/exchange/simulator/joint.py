"""Several sources as one market: a recording beside generated markets."""

from __future__ import annotations

from operator import attrgetter

import msgspec

from engine.exchange.simulator.past import NO_PAST, Bar, Past
from engine.exchange.simulator.source import MarketSource, Quote
from engine.exchange.simulator.universe import Listing


class JointMarket:
    """Lists what its sources list; no two of them list the same."""

    def __init__(self, *sources: MarketSource) -> None:
        self._sources = sources
        self.listings: tuple[Listing, ...] = tuple(each for source in sources for each in source.listings)
        self.name = " + ".join(source.name for source in sources)

    def take_bars(self) -> dict[str, list[Bar]]:
        return {symbol: bars for source in self._sources for symbol, bars in source.take_bars().items()}

    def older(self, symbol: str, first: Bar) -> Past:
        for source in self._sources:
            if any(each.instrument.symbol == symbol for each in source.listings):
                return source.older(symbol, first)
        return NO_PAST

    def advance(self, ts_ns: int) -> list[Quote]:
        quotes = [quote for source in self._sources for quote in source.advance(ts_ns)]
        return sorted(quotes, key=attrgetter("ts"))

    def status(self) -> str:
        return " + ".join(source.status() for source in self._sources)

    def state(self) -> bytes:
        return msgspec.msgpack.encode([source.state() for source in self._sources])

    def restore(self, state: bytes) -> None:
        states = msgspec.msgpack.decode(state, type=list[bytes])
        for source, own in zip(self._sources, states, strict=True):
            source.restore(own)
