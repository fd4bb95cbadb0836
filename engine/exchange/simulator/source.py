"""What a market inside the simulator gives: quotes in the order of their times, and a past."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple, Protocol

import msgspec

from engine.core.instruments import Instrument
from engine.core.market import Side
from engine.exchange.simulator.past import Bar, Past
from engine.exchange.simulator.universe import Listing

Levels = tuple[tuple[Decimal, Decimal], ...]  # (price, contracts), best first


class Quote(msgspec.Struct, frozen=True, gc=False):
    """The state of one market at `ts`, and the print that happened then."""

    symbol: str
    ts: int
    bids: Levels
    asks: Levels
    price: Decimal  # of the print
    size: Decimal  # contracts; 0: nothing was printed, only the book moved
    side: Side  # of its taker
    mark: Decimal
    index: Decimal
    funding_rate: Decimal  # that would be charged at the next boundary


def on_grid(quote: Quote, instrument: Instrument) -> Quote:
    """The quote on the market's own steps, which may have become coarser than those of its source."""
    tick = instrument.tick_size
    if not quote.price % tick and not any(price % tick for price, _ in (*quote.bids, *quote.asks)):
        return quote
    return msgspec.structs.replace(
        quote,
        bids=_merged(quote.bids, instrument.price_below),
        asks=_merged(quote.asks, instrument.price_above),
        price=instrument.round_price(quote.price),
    )


def _merged(levels: Levels, rounded: Callable[[Decimal], Decimal]) -> Levels:
    sums: dict[Decimal, Decimal] = {}
    for price, size in levels:
        at = rounded(price)
        sums[at] = sums.get(at, Decimal(0)) + size
    return tuple(sums.items())


class Print(NamedTuple):
    """A trade of the outside market under its number."""

    trade_id: int
    ts: int
    price: Decimal
    size: Decimal
    side: Side


class MarketSource(Protocol):
    """Deterministic: a source that is told the same times gives the same quotes."""

    listings: tuple[Listing, ...]
    name: str  # what state can be continued with it: two sources of one name understand each other's

    def take_bars(self) -> dict[str, list[Bar]]:
        """One-minute bars of time that has no quotes, oldest first: of the past at first; given once."""
        ...

    def older(self, symbol: str, first: Bar) -> Past:
        """Bars from before the first minute that it ever gave of a symbol."""
        ...

    def advance(self, ts_ns: int) -> list[Quote]:
        """Quotes after the newest one given, up to `ts_ns`."""
        ...

    def status(self) -> str:
        """For people: what is being played, and whether it still moves."""
        ...

    def state(self) -> bytes:
        """Enough to go on from here in another process."""
        ...

    def restore(self, state: bytes) -> None:
        """Raises msgspec.DecodeError for what `state` did not make."""
        ...
