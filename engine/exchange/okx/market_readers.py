"""Readers of the public channels: frames of one subscription to events of its symbol.

Payloads and cadences: https://www.okx.com/docs-v5/en/#public-data-websocket and
https://www.okx.com/docs-v5/en/#order-book-trading-market-data.

    {"arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP",
     "tradeId":"2832749645","px":"63913.4","sz":"34.95","side":"sell","ts":"1786540436090","count":"10"}]}

Each busy channel has a loop of its own from rows to events: what every frame of a market passes through is no
place for a call more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import astuple

from engine.core.errors import CodecError, Defect
from engine.core.market import (
    BookTop,
    Candle,
    FundingRate,
    IndexPrice,
    MarketEvent,
    MarkPrice,
    OpenInterest,
    PriceLimits,
    Ticker,
    Trade,
)
from engine.core.times import NS_PER_MS, timeframe_ns
from engine.exchange.okx.blanks import read
from engine.exchange.okx.frames import Arg
from engine.exchange.okx.freshness import Pulse
from engine.exchange.okx.market_rows import (
    Bar,
    FundingRow,
    IndexRow,
    InterestRow,
    LimitRow,
    MarkRow,
    Push,
    TickerRow,
    TopRow,
    TradeRow,
)

T = TypeVar("T")
Put = Callable[[MarketEvent], object]
# Bars of 6 hours and more open at 00:00 UTC+8 unless the name ends in utc.
BARS: Final[dict[str, str]] = {
    "1s": "1s",
    "1m": "1m",
    "3m": "3m",
    "5m": "5m",
    "15m": "15m",
    "30m": "30m",
    "1h": "1H",
    "2h": "2H",
    "4h": "4H",
    "1d": "1Dutc",
}
INDEX: Final = "index-tickers"
_BEST: Final = 5  # levels of books5, the most that a BookTop has


def decoder(push: type[T]) -> Callable[[bytes], T]:
    """Of frames whose numbers are texts."""
    return msgspec.json.Decoder(push, strict=False).decode


decode_trades: Final = decoder(Push[TradeRow])
decode_tickers: Final = decoder(Push[TickerRow])
decode_marks: Final = decoder(Push[MarkRow])
decode_indices: Final = decoder(Push[IndexRow])
decode_fundings: Final = decoder(Push[FundingRow])
decode_interests: Final = decoder(Push[InterestRow])
decode_limits: Final = decoder(Push[LimitRow])
decode_tops: Final = decoder(Push[TopRow])
decode_bars: Final = decoder(Push[Bar])


class Reader(ABC):
    """What the frames of one subscription tell of `symbol` goes to `put`, oldest first.

    `heard` is told of a frame with data that comes while `pulse` is not fresh, before its events.
    """

    def __init__(self, symbol: str, put: Put, pulse: Pulse, heard: Callable[[int], None]) -> None:
        self.symbol, self.put = symbol, put
        self.pushes = 0  # frames that parsed, so far
        self.pulse, self.heard = pulse, heard

    @abstractmethod
    def read(self, frame: bytes, ts_recv: int) -> None:
        """A frame that was received at `ts_recv`. Raises CodecError."""

    def came(self, ts_recv: int) -> None:
        """A frame parsed."""
        self.pushes += 1
        if not self.pulse.fresh:
            self.heard(ts_recv)


class Trades(Reader):
    def read(self, frame: bytes, ts_recv: int) -> None:
        rows = read(decode_trades, frame).data
        self.came(ts_recv)
        for row in rows:
            price, size, side, trade_id, ts = astuple(row)
            self.put(Trade(self.symbol, price, size, side, trade_id, ts * NS_PER_MS, ts_recv))


class Tickers(Reader):
    """A quote of 0 says, like "", that there is none."""

    def read(self, frame: bytes, ts_recv: int) -> None:
        rows = read(decode_tickers, frame).data
        self.came(ts_recv)
        for row in rows:
            last, ts, bid, ask, bid_size, ask_size, volume, open_24h = astuple(row)
            ticker = Ticker(
                self.symbol,
                last,
                bid or None,
                ask or None,
                bid_size or None,
                ask_size or None,
                volume,
                open_24h or None,
                ts * NS_PER_MS,
                ts_recv,
            )
            self.put(ticker)


class Marks(Reader):
    def read(self, frame: bytes, ts_recv: int) -> None:
        rows = read(decode_marks, frame).data
        self.came(ts_recv)
        for row in rows:
            price, ts = astuple(row)
            self.put(MarkPrice(self.symbol, price, ts * NS_PER_MS, ts_recv))


class Indices(Reader):
    """The index BTC-USDT is told as that of the swap BTC-USDT-SWAP."""

    def read(self, frame: bytes, ts_recv: int) -> None:
        rows = read(decode_indices, frame).data
        self.came(ts_recv)
        for row in rows:
            price, ts = astuple(row)
            self.put(IndexPrice(self.symbol, price, ts * NS_PER_MS, ts_recv))


class Tops(Reader):
    """books5 and bbo-tbt: every push is a whole book, valid by itself."""

    def read(self, frame: bytes, ts_recv: int) -> None:
        rows = read(decode_tops, frame).data
        self.came(ts_recv)
        for row in rows:
            self.put(top(self.symbol, row, ts_recv))


class Bars(Reader):
    """Candles of one timeframe; none of a frame in which one is unsound."""

    def __init__(
        self, timeframe: str, symbol: str, put: Put, pulse: Pulse, heard: Callable[[int], None]
    ) -> None:
        super().__init__(symbol, put, pulse, heard)
        self._timeframe, self._step_ns = timeframe, timeframe_ns(timeframe)

    def read(self, frame: bytes, ts_recv: int) -> None:
        candles = bars(read(decode_bars, frame).data, self.symbol, self._timeframe, self._step_ns, ts_recv)
        self.came(ts_recv)
        for candle in candles:
            self.put(candle)


class Seldom(Reader):
    """A channel that speaks rarely: rows by `decode`, events by `told`."""

    def __init__(
        self,
        kind: tuple[Callable[[bytes], Push[Any]], Callable[[str, Any, int], MarketEvent]],
        symbol: str,
        put: Put,
        pulse: Pulse,
        heard: Callable[[int], None],
    ) -> None:
        super().__init__(symbol, put, pulse, heard)
        self._decode, self._told = kind

    def read(self, frame: bytes, ts_recv: int) -> None:
        rows = read(self._decode, frame).data
        self.came(ts_recv)
        for row in rows:
            self.put(self._told(self.symbol, row, ts_recv))


def top(symbol: str, row: TopRow, ts_recv: int) -> BookTop:
    """The best levels of a book."""
    asks, bids, ts = astuple(row)
    if len(bids) > _BEST or len(asks) > _BEST:
        bids, asks = bids[:_BEST], asks[:_BEST]
    return BookTop(symbol, bids, asks, ts * NS_PER_MS, ts_recv)


def bars(rows: Sequence[Bar], symbol: str, timeframe: str, step_ns: int, ts_recv: int) -> list[Candle]:
    """Candles of `[ts, o, h, l, c, contracts, coins, quote, confirm]`. Raises CodecError.

    A forming bar has no time of its own but its start; it counts as told when it was received.
    """
    candles: list[Candle] = []
    for row in rows:
        ts, first, high, low, last, _, coins, _, confirm = astuple(row)
        if not (low <= first <= high and low <= last <= high):
            raise CodecError("a candle whose close or open lies outside its range", defect=Defect.VALUE)
        ts_open = ts * NS_PER_MS
        closed = confirm == 1
        ts_event = ts_open + step_ns
        if not closed and ts_open <= ts_recv < ts_event:
            ts_event = ts_recv
        elif not closed and 0 < ts_recv < ts_open:
            ts_event = ts_open
        candle = Candle(
            symbol,
            timeframe,
            ts_open,
            first,
            high,
            low,
            last,
            coins or 0.0,
            closed,
            ts_event,
            ts_recv,
        )
        candles.append(candle)
    return candles


def _funding(symbol: str, row: FundingRow, ts_recv: int) -> FundingRate:
    ts_event = row.ts * NS_PER_MS if row.ts is not None else ts_recv
    return FundingRate(symbol, row.fundingRate, row.fundingTime * NS_PER_MS, ts_event, ts_recv)


def _interest(symbol: str, row: InterestRow, ts_recv: int) -> OpenInterest:
    return OpenInterest(symbol, row.oi, row.oiCcy, row.ts * NS_PER_MS, ts_recv)


def _limit(symbol: str, row: LimitRow, ts_recv: int) -> PriceLimits:
    return PriceLimits(symbol, row.buyLmt, row.sellLmt, row.ts * NS_PER_MS, ts_recv)


Make = Callable[[str, Put, Pulse, Callable[[int], None]], Reader]
READERS: Final[dict[str, Make]] = {
    "trades": Trades,
    "tickers": Tickers,
    "mark-price": Marks,
    INDEX: Indices,
    "funding-rate": partial(Seldom, (decode_fundings, _funding)),
    "open-interest": partial(Seldom, (decode_interests, _interest)),
    "price-limit": partial(Seldom, (decode_limits, _limit)),
    "books5": Tops,
    "bbo-tbt": Tops,
    **{f"candle{bar}": partial(Bars, timeframe) for timeframe, bar in BARS.items()},
}


def symbol_of(arg: Arg) -> str:
    """The swap that a subscription is about; "" when it is about no single one."""
    if arg.instId is None:
        return ""
    return f"{arg.instId}-SWAP" if arg.channel == INDEX else arg.instId


def decode(arg: Arg, frame: bytes, ts_recv: int) -> list[MarketEvent]:
    """Events of a data frame of a subscription, oldest first. Raises CodecError, also for other channels."""
    make = READERS.get(arg.channel)
    if make is None:
        raise CodecError(f"no codec for channel {arg.channel[:40]!r}", frame, Defect.UNKNOWN)
    events: list[MarketEvent] = []
    make(symbol_of(arg), events.append, Pulse(0.0, 0.0), _unheard).read(frame, ts_recv)
    return events


def _unheard(ts_recv: int) -> None:
    """Where nobody wants to know that data came."""
