"""A market that only moves when it is told to: for tests, which then know what must happen."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from engine.core.market import Side
from engine.core.times import NS_PER_MIN
from engine.exchange.simulator.source import Bar, Levels, Quote
from engine.exchange.simulator.universe import Listing

_DEPTH = 5
_CONTRACTS = Decimal(100_000)
_HISTORY = 300


class Nudge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /sim/market: from now on this is the market. `depth` is contracts a level."""

    symbol: str
    price: Decimal
    depth: Decimal = _CONTRACTS
    funding_rate: Decimal = Decimal("0.0001")


class ManualMarket:
    """Quotes what it was told, one tick around the price, and then holds still."""

    def __init__(self, listings: tuple[Listing, ...], start_ns: int) -> None:
        self.listings = listings
        self._start_ns = start_ns
        self._queued: list[Nudge] = [
            Nudge(each.instrument.symbol, _on_tick(each, Decimal(str(each.character.start))))
            for each in listings
        ]

    def nudge(self, nudge: Nudge) -> None:
        """Set a price; the quote comes with the next step of time."""
        self._queued.append(nudge)

    def history(self) -> dict[str, list[Bar]]:
        """Flat minutes at the start price."""
        first = (self._start_ns // NS_PER_MIN - _HISTORY) * NS_PER_MIN
        flat: dict[str, list[Bar]] = {}
        for each in self.listings:
            price = _on_tick(each, Decimal(str(each.character.start)))
            flat[each.instrument.symbol] = [
                Bar(first + i * NS_PER_MIN, price, price, price, price, Decimal(10)) for i in range(_HISTORY)
            ]
        return flat

    def advance(self, ts_ns: int) -> list[Quote]:
        queued, self._queued = self._queued, []
        return [self._quote(nudge, ts_ns) for nudge in queued]

    def state(self) -> bytes:
        return b""

    def restore(self, state: bytes) -> None:
        self._queued = []

    def _quote(self, nudge: Nudge, ts: int) -> Quote:
        tick = next(e.instrument.tick_size for e in self.listings if e.instrument.symbol == nudge.symbol)

        def side(sign: int) -> Levels:
            return tuple((nudge.price + sign * tick * (i + 1), nudge.depth) for i in range(_DEPTH))

        return Quote(
            symbol=nudge.symbol,
            ts=ts,
            bids=side(-1),
            asks=side(1),
            price=nudge.price,
            size=Decimal(1),
            side=Side.BUY,
            mark=nudge.price,
            index=nudge.price,
            funding_rate=nudge.funding_rate,
        )


def _on_tick(listing: Listing, price: Decimal) -> Decimal:
    return listing.instrument.round_price(price)
