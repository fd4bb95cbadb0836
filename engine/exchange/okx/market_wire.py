"""Public channels: frames of bytes to market events. Pure functions that raise CodecError and nothing else.

Payloads and cadences: https://www.okx.com/docs-v5/en/#public-data-websocket and
https://www.okx.com/docs-v5/en/#order-book-trading-market-data.

    {"arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP",
     "tradeId":"2832749645","px":"63913.4","sz":"34.95","side":"sell","ts":"1786540436090","count":"10"}]}

Each busy channel has a loop of its own from rows to events: what every frame of a market passes through is no
place for a call more.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

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
from engine.exchange.okx.market_rows import (
    Bar,
    BookMessage,
    BookRow,
    FundingRow,
    IndexRow,
    InterestRow,
    LimitRow,
    MarkRow,
    Push,
    PushOf,
    TickerRow,
    TopRow,
    TradeRow,
    read,
)

T = TypeVar("T")
Events = list[MarketEvent]
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


class Sink:
    """Where the events of one channel go.

    `heard` is told of each row of a symbol that is not in `fresh`, before its event goes to `put`.
    """

    def __init__(
        self,
        put: Callable[[MarketEvent], object],
        fresh: Container[str] = (),
        heard: Callable[[str, int], None] | None = None,
    ) -> None:
        self.put, self.fresh = put, fresh
        self.heard = _nobody_hears if heard is None else heard
        self.pushes = 0  # frames so far


class Codec(NamedTuple):
    """How the frames of a channel become rows, and how a frame that was received at a time becomes events.

    Both raise CodecError, `decode` also ValueError.
    """

    decode: Callable[[bytes], Any]
    read: Callable[[Sink, bytes, int], None]


def _nobody_hears(symbol: str, ts_recv: int) -> None:
    """For rows whose coming means nothing."""


def _decoder(push: type[T]) -> Callable[[bytes], T]:
    return msgspec.json.Decoder(push, strict=False).decode


_books: Final = _decoder(PushOf[BookRow])
_tops: Final = _decoder(PushOf[TopRow])
_bars: Final = _decoder(PushOf[Bar])
_trades: Final = _decoder(Push[TradeRow])
_tickers: Final = _decoder(Push[TickerRow])
_marks: Final = _decoder(Push[MarkRow])
_indices: Final = _decoder(Push[IndexRow])
_fundings: Final = _decoder(Push[FundingRow])
_interests: Final = _decoder(Push[InterestRow])
_limits: Final = _decoder(Push[LimitRow])
_BEST: Final = 5  # levels of books5, the most that a BookTop has


def _read_trades(sink: Sink, frame: bytes, ts_recv: int) -> None:
    sink.pushes += 1
    for row in read(_trades, frame).data:
        symbol = row.instId
        if symbol not in sink.fresh:
            sink.heard(symbol, ts_recv)
        sink.put(Trade(symbol, row.px, row.sz, row.side, row.tradeId, row.ts * NS_PER_MS, ts_recv))


def _read_tickers(sink: Sink, frame: bytes, ts_recv: int) -> None:
    """A quote of 0 says, like "", that there is none."""
    sink.pushes += 1
    for row in read(_tickers, frame).data:
        symbol = row.instId
        if symbol not in sink.fresh:
            sink.heard(symbol, ts_recv)
        ticker = Ticker(
            symbol,
            row.last,
            row.bidPx or None,
            row.askPx or None,
            row.bidSz or None,
            row.askSz or None,
            row.volCcy24h,
            row.open24h or None,
            row.ts * NS_PER_MS,
            ts_recv,
        )
        sink.put(ticker)


def _read_marks(sink: Sink, frame: bytes, ts_recv: int) -> None:
    sink.pushes += 1
    for row in read(_marks, frame).data:
        symbol = row.instId
        if symbol not in sink.fresh:
            sink.heard(symbol, ts_recv)
        sink.put(MarkPrice(symbol, row.markPx, row.ts * NS_PER_MS, ts_recv))


def _read_indices(sink: Sink, frame: bytes, ts_recv: int) -> None:
    """The index BTC-USDT is told as the swap BTC-USDT-SWAP, whose index it is."""
    sink.pushes += 1
    for row in read(_indices, frame).data:
        symbol = f"{row.instId}-SWAP"
        if symbol not in sink.fresh:
            sink.heard(symbol, ts_recv)
        sink.put(IndexPrice(symbol, row.idxPx, row.ts * NS_PER_MS, ts_recv))


def _seldom(
    decode: Callable[[bytes], Push[T]], told: Callable[[T, int], MarketEvent]
) -> Callable[[Sink, bytes, int], None]:
    """The loop of a channel that speaks rarely."""

    def read_rows(sink: Sink, frame: bytes, ts_recv: int) -> None:
        sink.pushes += 1
        for row in read(decode, frame).data:
            event = told(row, ts_recv)
            if event.symbol not in sink.fresh:
                sink.heard(event.symbol, ts_recv)
            sink.put(event)

    return read_rows


def _funding(row: FundingRow, ts_recv: int) -> FundingRate:
    ts_event = row.ts * NS_PER_MS if row.ts is not None else ts_recv
    return FundingRate(row.instId, row.fundingRate, row.fundingTime * NS_PER_MS, ts_event, ts_recv)


def _interest(row: InterestRow, ts_recv: int) -> OpenInterest:
    return OpenInterest(row.instId, row.oi, row.oiCcy, row.ts * NS_PER_MS, ts_recv)


def _limit(row: LimitRow, ts_recv: int) -> PriceLimits:
    return PriceLimits(row.instId, row.buyLmt, row.sellLmt, row.ts * NS_PER_MS, ts_recv)


def _read_tops(sink: Sink, frame: bytes, ts_recv: int) -> None:
    """books5 and bbo-tbt: every push is a whole book, valid by itself."""
    sink.pushes += 1
    push = read(_tops, frame)
    symbol = push.arg.instId
    for row in push.data:
        if symbol not in sink.fresh:
            sink.heard(symbol, ts_recv)
        sink.put(_top(symbol, row, ts_recv))


def _top(symbol: str, row: TopRow, ts_recv: int) -> BookTop:
    return BookTop(symbol, row.bids[:_BEST], row.asks[:_BEST], row.ts * NS_PER_MS, ts_recv)


def _bar_reader(timeframe: str) -> Callable[[Sink, bytes, int], None]:
    step_ns = timeframe_ns(timeframe)

    def read_bars(sink: Sink, frame: bytes, ts_recv: int) -> None:
        sink.pushes += 1
        push = read(_bars, frame)
        symbol = push.arg.instId
        candles: list[Candle] = []
        for row in push.data:
            candles.append(_candle(symbol, timeframe, step_ns, row, ts_recv))
        for candle in candles:  # all of them are sound
            if symbol not in sink.fresh:
                sink.heard(symbol, ts_recv)
            sink.put(candle)

    return read_bars


CODECS: Final[dict[str, Codec]] = {
    "trades": Codec(_trades, _read_trades),
    "tickers": Codec(_tickers, _read_tickers),
    "mark-price": Codec(_marks, _read_marks),
    "index-tickers": Codec(_indices, _read_indices),
    "funding-rate": Codec(_fundings, _seldom(_fundings, _funding)),
    "open-interest": Codec(_interests, _seldom(_interests, _interest)),
    "price-limit": Codec(_limits, _seldom(_limits, _limit)),
    "books5": Codec(_tops, _read_tops),
    "bbo-tbt": Codec(_tops, _read_tops),
    **{f"candle{bar}": Codec(_bars, _bar_reader(timeframe)) for timeframe, bar in BARS.items()},
}


def decode(channel: str, frame: bytes, ts_recv: int) -> Events:
    """Events of one data frame of `channel`, oldest first. Raises CodecError, also for other channels."""
    codec = CODECS.get(channel)
    if codec is None:
        raise CodecError(f"no codec for channel {channel[:40]!r}", frame, Defect.UNKNOWN)
    events: Events = []
    codec.read(Sink(events.append), frame, ts_recv)
    return events


def decode_books(frame: bytes) -> list[BookMessage]:
    """Messages of `books` for the order book. The checksum is not read: OKX sends 0 since June 2026."""
    push = read(_books, frame)
    snapshot = push.action == "snapshot"
    messages, symbol = [], push.arg.instId
    for row in push.data:
        ts = row.ts * NS_PER_MS
        messages.append(BookMessage(symbol, snapshot, row.bids, row.asks, row.seqId, row.prevSeqId, ts))
    return messages


def decode_top(body: bytes, symbol: str) -> BookTop:
    """Best levels of the answer of market/books, which names no symbol. Raises CodecError."""
    rows = read(_tops, body).data
    if not rows:
        raise CodecError("market/books is empty", body)
    return _top(symbol, rows[0], 0)


def candle_channel(timeframe: str) -> str:
    """Name of the channel of a timeframe: 1h → candle1H. Raises KeyError for one that OKX has not."""
    return f"candle{BARS[timeframe]}"


def _candle(symbol: str, timeframe: str, step_ns: int, row: Bar, ts_recv: int) -> Candle:
    """A bar from `[ts, o, h, l, c, contracts, coins, quote, confirm]`. Raises CodecError.

    A forming bar has no time of its own but its start; it counts as told when it was received.
    """
    low, high = row.low, row.high
    if not (low <= row.open <= high and low <= row.close <= high):
        raise CodecError("a candle whose close or open lies outside its range", defect=Defect.VALUE)
    ts_open = row.ts * NS_PER_MS
    closed = row.confirm == 1
    ts_event = ts_open + step_ns
    if not closed and ts_open <= ts_recv < ts_event:
        ts_event = ts_recv
    elif not closed and 0 < ts_recv < ts_open:
        ts_event = ts_open
    return Candle(
        symbol,
        timeframe,
        ts_open,
        row.open,
        high,
        low,
        row.close,
        row.coins or 0.0,
        closed,
        ts_event,
        ts_recv,
    )


def decode_candles(body: bytes, symbol: str, timeframe: str) -> list[Candle]:
    """Closed bars of market/candles or market/history-candles, oldest first. Raises CodecError."""
    step_ns = timeframe_ns(timeframe)
    bars = [_candle(symbol, timeframe, step_ns, row, 0) for row in read(_bars, body).data]
    return sorted((bar for bar in bars if bar.closed), key=lambda bar: bar.ts_open)
