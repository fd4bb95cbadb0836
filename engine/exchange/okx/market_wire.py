"""Order books and answers of REST about the market. Pure functions that raise CodecError and nothing else.

What the busy channels push is read by engine.exchange.okx.market_readers.
"""

from __future__ import annotations

from typing import Final

from engine.core.errors import CodecError
from engine.core.market import BookTop, Candle
from engine.core.times import NS_PER_MS, timeframe_ns
from engine.exchange.okx.blanks import read
from engine.exchange.okx.market_readers import BARS, bars, decode_bars, decode_tops, decoder, top
from engine.exchange.okx.market_rows import BookMessage, BookPush

_books: Final = decoder(BookPush)


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
    rows = read(decode_tops, body).data
    if not rows:
        raise CodecError("market/books is empty", body)
    return top(symbol, rows[0], 0)


def decode_candles(body: bytes, symbol: str, timeframe: str) -> list[Candle]:
    """Closed bars of market/candles or market/history-candles, oldest first. Raises CodecError."""
    made = bars(read(decode_bars, body).data, symbol, timeframe, timeframe_ns(timeframe), 0)
    return sorted((bar for bar in made if bar.closed), key=lambda bar: bar.ts_open)


def candle_channel(timeframe: str) -> str:
    """Name of the channel of a timeframe: 1h → candle1H. Raises KeyError for one that OKX has not."""
    return f"candle{BARS[timeframe]}"
