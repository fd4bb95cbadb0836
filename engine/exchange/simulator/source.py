"""What a market inside the simulator gives: quotes in the order of their times, and a past."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple, Protocol

import msgspec

from engine.core.market import Side
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


class Print(NamedTuple):
    """A trade of the outside market under its number."""

    trade_id: int
    ts: int
    price: Decimal
    size: Decimal
    side: Side


class Bar(NamedTuple):
    """One minute, or any multiple of it; `volume` in contracts."""

    ts_open: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class MarketSource(Protocol):
    """Deterministic: a source that is told the same times gives the same quotes."""

    listings: tuple[Listing, ...]
    name: str  # what state can be continued with it: two sources of one name understand each other's

    def take_bars(self) -> dict[str, list[Bar]]:
        """One-minute bars of time that has no quotes, oldest first: of the past at first; given once."""
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
