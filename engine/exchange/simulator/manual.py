"""A market that only moves when it is told to: for tests, which then know what must happen."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from engine.core.market import Side, exact
from engine.core.times import NS_PER_HOUR, NS_PER_MIN
from engine.exchange.simulator.past import Bar, Past, past_of
from engine.exchange.simulator.source import Levels, Quote
from engine.exchange.simulator.universe import LISTINGS, Listing

_DEPTH = 5
_CONTRACTS = Decimal(100_000)
_HISTORY = 300


class Nudge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /sim/market: from now on this is the market.

    `price` is printed once, `size` contracts taken by `side`; the book stands one tick around it, `depth`
    contracts a level. Mark and index follow the price unless they are given.
    """

    symbol: str
    price: Decimal
    depth: Decimal = _CONTRACTS
    funding_rate: Decimal = Decimal("0.0001")
    mark: Decimal | None = None
    index: Decimal | None = None
    size: Decimal = Decimal(1)
    side: Side = Side.BUY


class ManualMarket:
    """Quotes what it was told, one tick around the price, and then holds still."""

    def __init__(self, listings: tuple[Listing, ...], start_ns: int) -> None:
        self.listings = listings
        self.name = f"manual {' '.join(each.instrument.symbol for each in listings)}"
        self._start_ns = start_ns
        self._untold = True  # nobody has asked for the past yet
        self._queued = [
            Nudge(each.instrument.symbol, _on_tick(each, exact(each.character.start))) for each in listings
        ]

    def nudge(self, nudge: Nudge) -> None:
        """Set a price of a listed symbol; the quote comes with the next step of time."""
        self._queued.append(nudge)

    def take_bars(self) -> dict[str, list[Bar]]:
        """Flat minutes at the start price."""
        if not self._untold:
            return {}
        self._untold = False
        first = self._start_ns - _HISTORY * NS_PER_MIN
        first -= first % NS_PER_HOUR
        minutes = range(first, self._start_ns - self._start_ns % NS_PER_MIN, NS_PER_MIN)
        flat: dict[str, list[Bar]] = {}
        for each in self.listings:
            price = _on_tick(each, exact(each.character.start))
            flat[each.instrument.symbol] = [
                Bar(ts_open, price, price, price, price, Decimal(10)) for ts_open in minutes
            ]
        return flat

    def older(self, symbol: str, first: Bar) -> Past:
        return past_of(LISTINGS[symbol], first, None)

    def advance(self, ts_ns: int) -> list[Quote]:
        queued, self._queued = self._queued, []
        return [self._quote(nudge, ts_ns) for nudge in queued]

    def status(self) -> str:
        return "moves by POST /sim/market only"

    def state(self) -> bytes:
        return msgspec.msgpack.encode(self._queued)

    def restore(self, state: bytes) -> None:
        self._queued = msgspec.msgpack.decode(state, type=list[Nudge])
        self._untold = False

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
            size=nudge.size,
            side=nudge.side,
            mark=nudge.price if nudge.mark is None else nudge.mark,
            index=nudge.price if nudge.index is None else nudge.index,
            funding_rate=nudge.funding_rate,
        )


def _on_tick(listing: Listing, price: Decimal) -> Decimal:
    return listing.instrument.round_price(price)
