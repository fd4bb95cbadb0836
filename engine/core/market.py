"""Market events as they leave the codec. Prices are float here: this path feeds indicators, never money.

Sizes are contracts. `ts_event` is the venue's time, `ts_recv` ours, both UTC nanoseconds. `ts_recv` 0
means that the event was made, not received (backtest, backfill).
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final

import msgspec

MOST: Final = 1e18  # beyond any price or size; keeps NaN and the infinities out as well
Price = Annotated[float, msgspec.Meta(gt=0, lt=MOST)]  # also a size that cannot be 0
Amount = Annotated[float, msgspec.Meta(ge=0, lt=MOST)]


class Level(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Contracts at a price; 0 only where an update of a book takes the level away."""

    price: Price
    size: Amount


Levels = tuple[Level, ...]  # of one side of a book, best first


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> Side:
        return Side.SELL if self is Side.BUY else Side.BUY


class Trade(msgspec.Struct, frozen=True, gc=False, tag="trade"):
    symbol: str
    price: float
    size: float
    side: Side  # of the taker
    trade_id: str
    ts_event: int
    ts_recv: int = 0


class Ticker(msgspec.Struct, frozen=True, gc=False, tag="ticker"):
    """Last trade and best quotes. `volume_24h` in coins. Quotes are None on an empty side."""

    symbol: str
    last: float
    bid: float | None
    ask: float | None
    bid_size: float | None
    ask_size: float | None
    volume_24h: float | None
    open_24h: float | None
    ts_event: int
    ts_recv: int = 0


class Candle(msgspec.Struct, frozen=True, gc=False, tag="candle"):
    """One bar, stamped at its open. Only a `closed` one is final; `volume` is in coins."""

    symbol: str
    timeframe: str
    ts_open: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    closed: bool
    ts_event: int
    ts_recv: int = 0


class BookTop(msgspec.Struct, frozen=True, gc=False, tag="book"):
    """Best levels of a valid book."""

    symbol: str
    bids: Levels
    asks: Levels
    ts_event: int
    ts_recv: int = 0


class MarkPrice(msgspec.Struct, frozen=True, gc=False, tag="mark"):
    symbol: str
    price: float
    ts_event: int
    ts_recv: int = 0


class IndexPrice(msgspec.Struct, frozen=True, gc=False, tag="index"):
    """Index of the swap's underlying; `symbol` is the swap's id."""

    symbol: str
    price: float
    ts_event: int
    ts_recv: int = 0


class FundingRate(msgspec.Struct, frozen=True, gc=False, tag="funding"):
    """Rate that is charged at `ts_funding`, as a fraction of notional (longs pay a positive rate)."""

    symbol: str
    rate: float
    ts_funding: int
    ts_event: int
    ts_recv: int = 0


class OpenInterest(msgspec.Struct, frozen=True, gc=False, tag="oi"):
    """Open contracts and their value in coins."""

    symbol: str
    contracts: float
    coins: float | None
    ts_event: int
    ts_recv: int = 0


class PriceLimits(msgspec.Struct, frozen=True, gc=False, tag="limits"):
    """The venue takes no buy above `highest_buy` and no sell below `lowest_sell`; None: it sets no limit."""

    symbol: str
    highest_buy: float | None
    lowest_sell: float | None
    ts_event: int
    ts_recv: int = 0


class ChannelState(StrEnum):
    LIVE = "live"
    STALE = "stale"


TRADES: Final = "trades"
PRICE_LIMIT: Final = "price-limit"
# Channels that inform a decision and price nothing: their silence is shown, and forbids no entry.
ADVISORY_CHANNELS: Final = frozenset({"funding-rate", "open-interest", "index-tickers", PRICE_LIMIT})


class FeedStatus(msgspec.Struct, frozen=True, gc=False, tag="feed"):
    """A channel of a symbol came alive or went silent. A disconnect is an event in the stream, not a flag."""

    symbol: str
    channel: str
    state: ChannelState
    ts_event: int
    ts_recv: int = 0


class NewsItem(msgspec.Struct, frozen=True, kw_only=True):
    """One headline. It was written by strangers: it may inform a trader and must never instruct one.

    `ts_published` is engine time, never later than when it was found. `symbols` are venue ids, empty when it
    is about the market as a whole. `sentiment` is -1 (bad) to +1 (good), None when nobody said.
    """

    source: str
    title: str
    url: str
    ts_published: int
    symbols: tuple[str, ...] = ()
    sentiment: float | None = None


MarketEvent = (
    Trade
    | Ticker
    | Candle
    | BookTop
    | MarkPrice
    | IndexPrice
    | FundingRate
    | OpenInterest
    | PriceLimits
    | FeedStatus
)


def exact(value: float) -> Decimal:
    """A float of the market path on the money path, with the digits that it shows."""
    return Decimal(str(value))
