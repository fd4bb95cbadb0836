"""Public channels: frames of bytes to market events. Pure functions that raise CodecError and nothing else.

Payloads and cadences: https://www.okx.com/docs-v5/en/#public-data-websocket and
https://www.okx.com/docs-v5/en/#order-book-trading-market-data.

    {"arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP",
     "tradeId":"2832749645","px":"63913.4","sz":"34.95","side":"sell","ts":"1786540436090","count":"10"}]}

Rows become events in plain loops: in Python 3.11 a comprehension costs a call more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

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


class Codec(NamedTuple):
    """How the frames of a channel become events: `events` makes them of what `decode` found."""

    decode: Callable[[bytes], Any]  # raises ValueError, or CodecError
    events: Callable[[Any, int], Events]


_books: Final = msgspec.json.Decoder(PushOf[BookRow], strict=False).decode
_tops: Final = msgspec.json.Decoder(PushOf[TopRow], strict=False).decode
_BEST: Final = 5  # levels of books5, the most that a BookTop has
_bars: Final = msgspec.json.Decoder(PushOf[Bar], strict=False).decode


def _trade_events(push: Push[TradeRow], ts_recv: int) -> Events:
    events: Events = []
    for row in push.data:
        events.append(Trade(row.instId, row.px, row.sz, row.side, row.tradeId, row.ts * NS_PER_MS, ts_recv))
    return events


def _ticker_events(push: Push[TickerRow], ts_recv: int) -> Events:
    """A quote of 0 says, like "", that there is none."""
    events: Events = []
    for row in push.data:
        ticker = Ticker(
            row.instId,
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
        events.append(ticker)
    return events


def _mark_events(push: Push[MarkRow], ts_recv: int) -> Events:
    events: Events = []
    for row in push.data:
        events.append(MarkPrice(row.instId, row.markPx, row.ts * NS_PER_MS, ts_recv))
    return events


def _index_events(push: Push[IndexRow], ts_recv: int) -> Events:
    """The index BTC-USDT is told as the swap BTC-USDT-SWAP, whose index it is."""
    events: Events = []
    for row in push.data:
        events.append(IndexPrice(f"{row.instId}-SWAP", row.idxPx, row.ts * NS_PER_MS, ts_recv))
    return events


def _funding_events(push: Push[FundingRow], ts_recv: int) -> Events:
    return [
        FundingRate(
            symbol=row.instId,
            rate=row.fundingRate,
            ts_funding=row.fundingTime * NS_PER_MS,
            ts_event=row.ts * NS_PER_MS if row.ts is not None else ts_recv,
            ts_recv=ts_recv,
        )
        for row in push.data
    ]


def _interest_events(push: Push[InterestRow], ts_recv: int) -> Events:
    return [OpenInterest(row.instId, row.oi, row.oiCcy, row.ts * NS_PER_MS, ts_recv) for row in push.data]


def _limit_events(push: Push[LimitRow], ts_recv: int) -> Events:
    return [
        PriceLimits(row.instId, row.buyLmt, row.sellLmt, row.ts * NS_PER_MS, ts_recv) for row in push.data
    ]


def _top_events(push: PushOf[TopRow], ts_recv: int) -> Events:
    """books5 and bbo-tbt: every push is a whole book, valid by itself."""
    events: Events = []
    for row in push.data:
        events.append(_top(push.arg.instId, row, ts_recv))
    return events


def _top(symbol: str, row: TopRow, ts_recv: int) -> BookTop:
    return BookTop(symbol, row.bids[:_BEST], row.asks[:_BEST], row.ts * NS_PER_MS, ts_recv)


def _bar_events(timeframe: str) -> Callable[[PushOf[Bar], int], Events]:
    step_ns = timeframe_ns(timeframe)

    def events(push: PushOf[Bar], ts_recv: int) -> Events:
        symbol = push.arg.instId
        bars: Events = []
        for row in push.data:
            bars.append(_candle(symbol, timeframe, step_ns, row, ts_recv))
        return bars

    return events


def _codec(push: Any, events: Callable[[Any, int], Events]) -> Codec:
    return Codec(msgspec.json.Decoder(push, strict=False).decode, events)


CODECS: Final[dict[str, Codec]] = {
    "trades": _codec(Push[TradeRow], _trade_events),
    "tickers": _codec(Push[TickerRow], _ticker_events),
    "mark-price": _codec(Push[MarkRow], _mark_events),
    "index-tickers": _codec(Push[IndexRow], _index_events),
    "funding-rate": _codec(Push[FundingRow], _funding_events),
    "open-interest": _codec(Push[InterestRow], _interest_events),
    "price-limit": _codec(Push[LimitRow], _limit_events),
    "books5": _codec(PushOf[TopRow], _top_events),
    "bbo-tbt": _codec(PushOf[TopRow], _top_events),
    **{f"candle{bar}": _codec(PushOf[Bar], _bar_events(timeframe)) for timeframe, bar in BARS.items()},
}


def decode(channel: str, frame: bytes, ts_recv: int) -> Events:
    """Events of one data frame of `channel`, oldest first. Raises CodecError, also for other channels."""
    codec = CODECS.get(channel)
    if codec is None:
        raise CodecError(f"no codec for channel {channel[:40]!r}", frame, Defect.UNKNOWN)
    return codec.events(read(codec.decode, frame), ts_recv)


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
