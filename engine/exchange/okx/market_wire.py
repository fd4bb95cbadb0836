"""Public channels: frames of bytes to market events. Pure functions that raise CodecError and nothing else.

Prices become float in the JSON decoder itself (this path feeds indicators, never money). OKX writes "" for
what does not exist, an empty side of the book for instance; that is rare, so it is decoded a second time
with null in its place. Payloads and cadences: https://www.okx.com/docs-v5/en/#public-data-websocket and
https://www.okx.com/docs-v5/en/#order-book-trading-market-data.

    {"arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP",
     "tradeId":"2832749645","px":"63913.4","sz":"34.95","side":"sell","ts":"1786540436090","count":"10"}]}
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

import msgspec

from engine.core.errors import CodecError
from engine.core.market import (
    BookTop,
    Candle,
    FundingRate,
    IndexPrice,
    MarketEvent,
    MarkPrice,
    OpenInterest,
    Side,
    Ticker,
    Trade,
)
from engine.core.times import timeframe_ns
from engine.exchange.okx.numbers import ns, price

T = TypeVar("T")
Level = tuple[float, ...]  # price, contracts, a deprecated 0, number of orders
_CANDLE_FIELDS: Final = 9
# Bars of 6 hours and more open at 00:00 UTC+8 unless the name ends in utc.
BARS: Final[dict[str, str]] = {
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
_TIMEFRAMES: Final = {bar: timeframe for timeframe, bar in BARS.items()}


class _Arg(msgspec.Struct, frozen=True):
    instId: str = ""


class Push(msgspec.Struct, Generic[T]):
    """A data frame, or an answer of REST: both have `data`."""

    data: list[T]
    arg: _Arg = _Arg()
    action: str = ""


class _Trade(msgspec.Struct):
    instId: str
    tradeId: str
    px: float
    sz: float
    side: Side
    ts: int


class _Ticker(msgspec.Struct):
    instId: str
    last: float
    ts: int
    bidPx: float | None = None
    askPx: float | None = None
    bidSz: float | None = None
    askSz: float | None = None
    volCcy24h: float | None = None
    open24h: float | None = None


class _Mark(msgspec.Struct):
    instId: str
    markPx: float
    ts: int


class _Index(msgspec.Struct):
    instId: str
    idxPx: float
    ts: int


class _Funding(msgspec.Struct):
    instId: str
    fundingRate: float
    fundingTime: int
    ts: int | None = None  # absent before 2024


class _Interest(msgspec.Struct):
    instId: str
    oi: float
    ts: int
    oiCcy: float | None = None


class _Book(msgspec.Struct):
    asks: list[Level]
    bids: list[Level]
    ts: int
    seqId: int | None = None
    prevSeqId: int | None = None


class BookMessage(msgspec.Struct, frozen=True):
    """One frame of `books`. `previous` is -1 for a snapshot and None where the channel has no chain."""

    symbol: str
    snapshot: bool
    bids: list[Level]
    asks: list[Level]
    sequence: int | None
    previous: int | None
    ts_event: int


_trades: Final = msgspec.json.Decoder(Push[_Trade], strict=False)
_tickers: Final = msgspec.json.Decoder(Push[_Ticker], strict=False)
_marks: Final = msgspec.json.Decoder(Push[_Mark], strict=False)
_indices: Final = msgspec.json.Decoder(Push[_Index], strict=False)
_funding: Final = msgspec.json.Decoder(Push[_Funding], strict=False)
_interest: Final = msgspec.json.Decoder(Push[_Interest], strict=False)
_books: Final = msgspec.json.Decoder(Push[_Book], strict=False)
_candles: Final = msgspec.json.Decoder(Push[tuple[float | None, ...]], strict=False)


def read(decoder: msgspec.json.Decoder[T], frame: bytes) -> T:
    """Decode, with "" as null where the type wants a number. Raises CodecError."""
    try:
        return decoder.decode(frame)
    except msgspec.ValidationError:
        pass
    except (ValueError, RecursionError) as error:
        raise CodecError(f"no JSON of OKX: {error}", frame) from error
    try:
        return decoder.decode(frame.replace(b'""', b"null"))
    except (ValueError, RecursionError) as error:
        raise CodecError(f"unexpected payload: {error}", frame) from error


def _trade_events(frame: bytes, ts_recv: int) -> list[MarketEvent]:
    return [
        Trade(row.instId, price(row.px), price(row.sz), row.side, row.tradeId, ns(row.ts), ts_recv)
        for row in read(_trades, frame).data
    ]


def _ticker_events(frame: bytes, ts_recv: int) -> list[MarketEvent]:
    return [
        Ticker(
            symbol=row.instId,
            last=price(row.last),
            bid=_side(row.bidPx),
            ask=_side(row.askPx),
            bid_size=_side(row.bidSz),
            ask_size=_side(row.askSz),
            volume_24h=_finite(row.volCcy24h),
            open_24h=_side(row.open24h),
            ts_event=ns(row.ts),
            ts_recv=ts_recv,
        )
        for row in read(_tickers, frame).data
    ]


def _mark_events(frame: bytes, ts_recv: int) -> list[MarketEvent]:
    return [MarkPrice(row.instId, price(row.markPx), ns(row.ts), ts_recv) for row in read(_marks, frame).data]


def _index_events(frame: bytes, ts_recv: int) -> list[MarketEvent]:
    """The index BTC-USDT is told as the swap BTC-USDT-SWAP, whose index it is."""
    return [
        IndexPrice(f"{row.instId}-SWAP", price(row.idxPx), ns(row.ts), ts_recv)
        for row in read(_indices, frame).data
    ]


def _funding_events(frame: bytes, ts_recv: int) -> list[MarketEvent]:
    return [
        FundingRate(
            symbol=row.instId,
            rate=_number(row.fundingRate),
            ts_funding=ns(row.fundingTime),
            ts_event=ns(row.ts) if row.ts is not None else ts_recv,
            ts_recv=ts_recv,
        )
        for row in read(_funding, frame).data
    ]


def _interest_events(frame: bytes, ts_recv: int) -> list[MarketEvent]:
    return [
        OpenInterest(row.instId, _number(row.oi), _finite(row.oiCcy), ns(row.ts), ts_recv)
        for row in read(_interest, frame).data
    ]


def _top_events(frame: bytes, ts_recv: int) -> list[MarketEvent]:
    """books5 and bbo-tbt: every push is a whole book, valid by itself."""
    push = read(_books, frame)
    return [
        BookTop(push.arg.instId, levels(row.bids), levels(row.asks), ns(row.ts), ts_recv) for row in push.data
    ]


_DECODERS: Final[dict[str, Callable[[bytes, int], list[MarketEvent]]]] = {
    "trades": _trade_events,
    "tickers": _ticker_events,
    "mark-price": _mark_events,
    "index-tickers": _index_events,
    "funding-rate": _funding_events,
    "open-interest": _interest_events,
    "books5": _top_events,
    "bbo-tbt": _top_events,
}


def decode(channel: str, frame: bytes, ts_recv: int) -> list[MarketEvent]:
    """Events of one data frame of `channel`, oldest first. Raises CodecError, also for other channels."""
    decoder = _DECODERS.get(channel)
    if decoder is not None:
        return decoder(frame, ts_recv)
    if channel.startswith("candle"):
        push = read(_candles, frame)
        timeframe = timeframe_of(channel)
        return [candle(push.arg.instId, timeframe, row, ts_recv) for row in push.data]
    raise CodecError(f"no codec for channel {channel[:40]!r}", frame)


def decode_books(frame: bytes) -> list[BookMessage]:
    """Messages of `books` for the order book. The checksum is not read: OKX sends 0 since June 2026."""
    push = read(_books, frame)
    return [
        BookMessage(
            symbol=push.arg.instId,
            snapshot=push.action == "snapshot",
            bids=_checked(row.bids),
            asks=_checked(row.asks),
            sequence=row.seqId,
            previous=row.prevSeqId,
            ts_event=ns(row.ts),
        )
        for row in push.data
    ]


def candle_channel(timeframe: str) -> str:
    """Name of the channel of a timeframe: 1h → candle1H. Raises KeyError for one that OKX has not."""
    return f"candle{BARS[timeframe]}"


def timeframe_of(channel: str) -> str:
    """Timeframe of a candle channel. Raises CodecError for one that edgewise does not use."""
    timeframe = _TIMEFRAMES.get(channel.removeprefix("candle"))
    if timeframe is None:
        raise CodecError(f"no timeframe of ours: {channel[:40]!r}")
    return timeframe


def candle(symbol: str, timeframe: str, row: tuple[float | None, ...], ts_recv: int = 0) -> Candle:
    """A bar from `[ts, o, h, l, c, contracts, coins, quote, confirm]`. Raises CodecError.

    A forming bar has no time of its own but its start; it counts as told when it was received.
    """
    if len(row) < _CANDLE_FIELDS:
        raise CodecError(f"a candle of {len(row)} fields")
    opened, first, high, low, close, _, coins, _, confirm = row[:_CANDLE_FIELDS]
    if opened is None or first is None or high is None or low is None or close is None or confirm is None:
        raise CodecError("a candle with empty fields")
    if (
        not (price(low) <= min(price(first), price(close)) and max(first, close) <= price(high))
        or opened != opened // 1
    ):
        raise CodecError("a candle whose close or open lies outside its range")
    ts_open = ns(int(opened))
    closed = confirm == 1.0
    ts_close = ts_open + timeframe_ns(timeframe)
    return Candle(
        symbol=symbol,
        timeframe=timeframe,
        ts_open=ts_open,
        open=first,
        high=high,
        low=low,
        close=close,
        volume=_finite(coins) or 0.0,
        closed=closed,
        ts_event=ts_close if closed or not ts_recv else min(ts_close, max(ts_open, ts_recv)),
        ts_recv=ts_recv,
    )


def levels(rows: list[Level], depth: int = 5) -> tuple[tuple[float, float], ...]:
    """Price and contracts of the best levels. Raises CodecError."""
    return tuple((price(row[0]), price(row[1])) for row in _checked(rows)[:depth])


def _checked(rows: list[Level]) -> list[Level]:
    if any(len(row) < 2 or not 0.0 < row[0] < 1e18 or not 0.0 <= row[1] < 1e18 for row in rows):  # noqa: PLR2004
        raise CodecError("a book level without price and size")
    return rows


def _side(value: float | None) -> float | None:
    """A quote; 0 and "" both mean that there is none. Raises CodecError for NaN and its like."""
    return None if value is None or value == 0.0 else price(value)


def _finite(value: float | None) -> float | None:
    return None if value is None else _number(value)


def _number(value: float) -> float:
    if value - value != 0.0:  # NaN and the infinities
        raise CodecError(f"{value} is no number")
    return value


def decode_candles(body: bytes, symbol: str, timeframe: str) -> list[Candle]:
    """Closed bars of market/candles or market/history-candles, oldest first. Raises CodecError."""
    bars = [candle(symbol, timeframe, row) for row in read(_candles, body).data]
    return sorted((bar for bar in bars if bar.closed), key=lambda bar: bar.ts_open)
