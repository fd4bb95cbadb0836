"""What the market part says to the rest: edges, and what it knows about a symbol at a moment."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from engine.core.market import ADVISORY_CHANNELS, Levels
from engine.core.times import NS_PER_S

SHOWN_LEVELS: Final = 10


class Edge(StrEnum):
    UP = "UP"  # left the band through the upper threshold
    DOWN = "DOWN"  # left the band through the lower threshold
    SPIKE = "SPIKE"  # moved too fast, whatever the level
    RECOVERED = "RECOVERED"  # came back inside the band


class Signal(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One crossing of one detector. Made once; an edge is never repeated while it lasts.

    `signal_id` is the same for the same crossing in any replay. `score` is the salience, 0..1.
    `price` is the last price at the crossing. `timeframe` is empty for features of the live stream.
    `recovers` says that a RECOVERED ends what this edge began; a cross has none.
    """

    signal_id: str
    symbol: str
    detector: str
    feature: str
    timeframe: str
    edge: Edge
    value: float
    threshold: float  # that was crossed
    release: float  # that ends the excursion
    score: float
    price: float | None
    ts_event: int
    ts_recv: int = 0
    recovers: bool = True


def signal_id(symbol: str, detector: str, edge: Edge, ts_event: int) -> str:
    """Stable id of a crossing: the same input makes the same id."""
    return f"{symbol}:{detector}:{edge}:{ts_event}"


class TimeframeView(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Indicators of the newest closed candle of a timeframe; None where the warm-up is not over."""

    timeframe: str
    ts_close: int  # end of the newest closed candle
    closes: tuple[float, ...]  # newest last, at most 20
    features: dict[str, float | None]  # rsi_14, ema_12, macd, atr_14 …
    forming: dict[str, float | None] | None = None  # as if the candle in the making were closed; if wanted


class MarketSnapshot(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What may be known about a symbol at `ts`. Unknown is None, never 0.

    `ts_price` is when `last` was received, so `ts - ts_price` is its age; 0: never. `ts_quotes` is that of
    bid and ask, `ts_24h` of volume and change; `ts_live` are the venue's times of what the live features were
    last made of. `stale` names the channels that are silent and the timeframes that wait for candles; see
    `blind`. `reference_px` is the price of a second source (the index, another venue), to tell when this
    venue is alone with its price.
    `bids` and `asks` are the best SHOWN_LEVELS of the book, best first; empty where no book is watched.
    The venue takes no buy above `highest_buy` and no sell below `lowest_sell`.
    """

    symbol: str
    ts: int
    last: float | None = None
    bid: float | None = None
    ask: float | None = None
    bids: Levels = ()
    asks: Levels = ()
    mark: float | None = None
    index: float | None = None
    funding_rate: float | None = None
    ts_funding: int | None = None
    open_interest: float | None = None
    highest_buy: float | None = None
    lowest_sell: float | None = None
    volume_24h: float | None = None
    change_24h_pct: float | None = None
    ts_price: int = 0
    ts_quotes: int = 0
    ts_book: int = 0
    ts_mark: int = 0
    ts_index: int = 0
    ts_limits: int = 0
    ts_24h: int = 0
    ts_funding_seen: int = 0
    ts_open_interest: int = 0
    reference_px: float | None = None
    ts_reference: int = 0
    live: dict[str, float | None] = {}  # features of the live stream: spread_bps, imbalance …
    ts_live: dict[str, int] = {}
    timeframes: tuple[TimeframeView, ...] = ()
    stale: tuple[str, ...] = ()

    def view(self, timeframe: str) -> TimeframeView | None:
        """The view of one timeframe, None when it is not kept."""
        return next((view for view in self.timeframes if view.timeframe == timeframe), None)

    @property
    def reference_age_s(self) -> float | None:
        """Seconds since the reference price was told, None when there is none."""
        return None if self.reference_px is None else (self.ts - self.ts_reference) / NS_PER_S

    @property
    def blind(self) -> tuple[str, ...]:
        """What is missing of prices, book and candles: the symbol is not to be entered until it is back."""
        return tuple(name for name in self.stale if name not in ADVISORY_CHANNELS)

    def price(self) -> float | None:
        """Mark price if known, else the last trade."""
        return self.mark if self.mark is not None else self.last
