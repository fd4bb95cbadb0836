"""Why two runs traded the same at another time or price: what the recording says of the time between them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

import msgspec

from engine.compare.pairs import Execution, Pair
from engine.core.market import Side
from engine.exchange.simulator.recorded import Recording
from engine.exchange.simulator.replay import RecordedMarket

_BPS = Decimal(10_000)


class Reason(StrEnum):
    """What a difference comes from."""

    SAME = "same"  # neither time nor price differs
    LATENCY = "latency"  # the market moved so between the two times
    SPREAD = "spread"  # beyond what it moved, but within the spread of that moment
    UNEXPLAINED = "unexplained"
    ONLY_BACKTEST = "only in the backtest"
    ONLY_LIVE = "only live"

    @property
    def explained(self) -> bool:
        return self in {Reason.SAME, Reason.LATENCY, Reason.SPREAD}


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One pair. Signs: later live and worse for the trader live are positive; None without a partner."""

    pair: Pair
    reason: Reason
    later_ms: int | None = None
    worse_bps: Decimal | None = None
    more_contracts: Decimal | None = None


class _Touch(NamedTuple):
    ts: int
    bid: Decimal
    ask: Decimal


class Touches:
    """Best prices of recordings by time; read once, in their order."""

    def __init__(self, recordings: Iterable[Recording]) -> None:
        self._of: dict[str, list[_Touch]] = {}
        for recording in recordings:
            market = RecordedMarket(recording, recording.first_ns, strict=True)
            found = self._of.setdefault(recording.listing.instrument.symbol, [])
            while (due := market.next_ns()) is not None:
                found += (_Touch(each.ts, each.bids[0][0], each.asks[0][0]) for each in market.advance(due))

    def between(self, symbol: str, ts: int, until: int) -> Sequence[_Touch]:
        """The touch that stood at the earlier of two times, and those that came until the later one."""
        found = self._of.get(symbol, [])
        first, last = min(ts, until), max(ts, until)
        # Several moments may share a time: an order may have met any of them.
        begin = bisect_left(found, (first,)) - 1
        return found[max(0, begin) : bisect_right(found, (last + 1,))]


def explain(pair: Pair, touches: Touches) -> Difference:
    """The difference and where it comes from."""
    mine, theirs = pair.backtest, pair.live
    if mine is None or theirs is None:
        return Difference(pair=pair, reason=Reason.ONLY_LIVE if mine is None else Reason.ONLY_BACKTEST)
    moved = theirs.price - mine.price
    return Difference(
        pair=pair,
        reason=_reason(mine, theirs, touches),
        later_ms=(theirs.ts - mine.ts) // 1_000_000,
        worse_bps=(moved * mine.side.sign / mine.price * _BPS).quantize(Decimal("0.01")),
        more_contracts=theirs.contracts - mine.contracts,
    )


def _reason(mine: Execution, theirs: Execution, touches: Touches) -> Reason:
    if (mine.ts, mine.price) == (theirs.ts, theirs.price):
        return Reason.SAME
    seen = touches.between(mine.symbol, mine.ts, theirs.ts)
    if mine.price == theirs.price:
        return Reason.LATENCY
    if not seen:
        return Reason.UNEXPLAINED
    prices = [each.ask if mine.side is Side.BUY else each.bid for each in seen]
    # The same size walks the same levels: what differs is how far the whole book had moved.
    most = max(prices) - min(prices)
    spread = max(each.ask - each.bid for each in seen)
    beyond = abs(theirs.price - mine.price) - most
    if beyond <= 0:
        return Reason.LATENCY
    return Reason.SPREAD if beyond <= spread else Reason.UNEXPLAINED
