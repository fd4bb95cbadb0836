"""The visible depth of one market, and what takers have left of it."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from engine.core.market import Side

ZERO = Decimal(0)
Level = tuple[Decimal, Decimal]  # price, contracts


class Book(msgspec.Struct):
    """Levels best first. What a taker took stays gone until the next snapshot.

    `last_bid` and `last_ask` are the worst prices that were visible: behind them the depth is unknown.
    """

    bids: list[Level] = []
    asks: list[Level] = []
    last_bid: Decimal | None = None
    last_ask: Decimal | None = None

    def replace(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        self.bids = list(bids)
        self.asks = list(asks)
        self.last_bid = bids[-1][0] if bids else None
        self.last_ask = asks[-1][0] if asks else None

    def middle(self) -> Decimal | None:
        if self.bids and self.asks:
            return (self.bids[0][0] + self.asks[0][0]) / 2
        return None

    def best_for(self, taker: Side) -> Decimal | None:
        """The price that a taker meets first."""
        levels = self._facing(taker)
        return levels[0][0] if levels else None

    def crosses(self, taker: Side, price: Decimal) -> bool:
        """True when an order of this side at `price` would take."""
        best = self.best_for(taker)
        return best is not None and not _beyond(taker, best, price)

    def available(self, taker: Side, limit: Decimal | None) -> Decimal:
        """Contracts that can be taken at `limit` or better."""
        found = ZERO
        for price, size in self._facing(taker):
            if limit is not None and _beyond(taker, price, limit):
                break
            found += size
        return found

    def take(self, taker: Side, wanted: Decimal, limit: Decimal | None) -> list[Level]:
        """Remove up to `wanted` contracts at `limit` or better, level by level, and return what was got."""
        levels = self._facing(taker)
        taken: list[Level] = []
        while wanted > 0 and levels:
            price, size = levels[0]
            if limit is not None and _beyond(taker, price, limit):
                break
            part = min(size, wanted)
            wanted -= part
            if part == size:
                levels.pop(0)
            else:
                levels[0] = (price, size - part)
            if part > 0:
                taken.append((price, part))
        return taken

    def beyond_depth(self, taker: Side, bps: Decimal) -> Decimal | None:
        """Price that much worse than the last visible level; None when none was ever visible."""
        last = self.last_ask if taker is Side.BUY else self.last_bid
        return None if last is None else last * (1 + taker.sign * bps / 10_000)

    def queue_at(self, maker: Side, price: Decimal) -> Decimal | None:
        """Visible contracts at `price` on the maker's side; None behind the last visible level."""
        levels, last = (self.bids, self.last_bid) if maker is Side.BUY else (self.asks, self.last_ask)
        if last is None or _beyond(maker.opposite, price, last):
            return None
        return next((size for at, size in levels if at == price), ZERO)

    def printed(self, price: Decimal, size: Decimal) -> None:
        """A trade at `price` proves that better quotes are gone. An emptied side is the trade itself.

        So a stop that a gap fires fills at the trade beyond it, not at a quote from before the gap.
        """
        if self.bids and self.bids[0][0] > price:
            self.bids = [level for level in self.bids if level[0] <= price] or [(price, size)]
            self.last_bid = min(price, self.last_bid or price)
        if self.asks and self.asks[0][0] < price:
            self.asks = [level for level in self.asks if level[0] >= price] or [(price, size)]
            self.last_ask = max(price, self.last_ask or price)

    def _facing(self, taker: Side) -> list[Level]:
        return self.asks if taker is Side.BUY else self.bids


def _beyond(taker: Side, price: Decimal, limit: Decimal) -> bool:
    """True when `price` is worse for the taker than `limit`."""
    return price > limit if taker is Side.BUY else price < limit
