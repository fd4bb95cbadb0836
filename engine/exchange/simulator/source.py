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
    size: Decimal  # contracts
    side: Side  # of its taker
    mark: Decimal
    index: Decimal
    funding_rate: Decimal  # that would be charged at the next boundary


class Bar(NamedTuple):
    """One minute, or any multiple of it; `volume` in contracts."""

    ts_open: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class MarketSource(Protocol):
    """Deterministic: the same source, advanced to the same time, has given the same quotes."""

    listings: tuple[Listing, ...]

    def history(self) -> dict[str, list[Bar]]:
        """One-minute bars before the first quote, oldest first."""
        ...

    def advance(self, ts_ns: int) -> list[Quote]:
        """Quotes after the newest one given, up to `ts_ns`."""
        ...

    def state(self) -> bytes:
        """Enough to go on from here in another process."""
        ...

    def restore(self, state: bytes) -> None: ...
