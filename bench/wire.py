"""OKX frames to typed rows, to events and to a book, beside the bare decode of the same frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from bench.frames import Frame, Market, book_frames
from bench.measure import Row, Run, Title, paired, same
from engine.core.errors import CodecError
from engine.core.market import Levels, MarketEvent
from engine.exchange.okx import market_readers
from engine.exchange.okx.book import OrderBook, Outcome
from engine.exchange.okx.dispatch import HEAD, Dispatch
from engine.exchange.okx.frames import Arg, push_arg
from engine.exchange.okx.freshness import Pulse
from engine.exchange.okx.market_readers import READERS, symbol_of
from engine.exchange.okx.market_wire import decode_books

T = TypeVar("T")
_SYMBOLS: Final = tuple(f"COIN{number}-USDT-SWAP" for number in range(20))
_BY_CHANNEL: Final = "OKX frames"


# The limit: msgspec decodes the same fields to the same types, and nothing is done with them.


class _Push(msgspec.Struct, Generic[T]):
    data: list[T]


class _Trade(msgspec.Struct):
    instId: str
    tradeId: str
    px: float
    sz: float
    side: str
    ts: int


class _Ticker(msgspec.Struct):
    instId: str
    last: float
    bidPx: float
    askPx: float
    bidSz: float
    askSz: float
    volCcy24h: float
    open24h: float
    ts: int


class _Mark(msgspec.Struct):
    instId: str
    markPx: float
    ts: int


class _Top(msgspec.Struct):
    asks: list[tuple[float, ...]]
    bids: list[tuple[float, ...]]
    ts: int


class _Book(_Top):
    seqId: int
    prevSeqId: int


_BARE: Final[dict[str, Callable[[bytes], object]]] = {
    "trades": msgspec.json.Decoder(_Push[_Trade], strict=False).decode,
    "tickers": msgspec.json.Decoder(_Push[_Ticker], strict=False).decode,
    "books5": msgspec.json.Decoder(_Push[_Top], strict=False).decode,
    "mark-price": msgspec.json.Decoder(_Push[_Mark], strict=False).decode,
    "candle1m": msgspec.json.Decoder(_Push[tuple[float, ...]], strict=False).decode,
}
_BARE_BOOK: Final = msgspec.json.Decoder(_Push[_Book], strict=False).decode


_TYPED: Final[dict[str, Callable[[bytes], Any]]] = {
    "trades": market_readers.decode_trades,
    "tickers": market_readers.decode_tickers,
    "books5": market_readers.decode_tops,
    "mark-price": market_readers.decode_marks,
    "candle1m": market_readers.decode_bars,
}


class Decoders(dict[bytes, Callable[[bytes], Any]]):
    """The typed decoder of a frame by its first bytes, as engine.exchange.okx.dispatch finds its reader."""

    def __missing__(self, head: bytes) -> Callable[[bytes], Any]:
        decoder = self[head] = _TYPED[arg_of(head).channel]
        return decoder


def bare_decoder(channel: str) -> Callable[[bytes], object]:
    """The bare decoder of a channel."""
    return _BARE_BOOK if channel == "books" else _BARE[channel]


def decoding(run: Run) -> list[Row]:
    """Frames to typed rows, all channels mixed; then to events, channel by channel."""
    markets = [Market(symbol, seed) for seed, symbol in enumerate(_SYMBOLS)]
    minutes = range(run.of(40, 2))
    tape = [frame for minute in minutes for market in markets for frame in market.minute(minute)]
    tape = [frame for frame in tape if frame.channel in _BARE]
    return [_mixed_row(tape[:16_000])] + [
        _channel_row(channel, [frame for frame in tape if frame.channel == channel][:4000])
        for channel in _BARE
    ]


def _mixed_row(frames: Sequence[Frame]) -> Row:
    raw = [frame.data for frame in frames]
    bare = [(_BARE[frame.channel], frame.data) for frame in frames]
    same("typed rows", [_typed(data) for data in raw], [_plain(decode(data)) for decode, data in bare])

    decoders = Decoders()

    def typed() -> None:
        for data in raw:
            decoders[data[:HEAD]](data)

    def reference() -> None:
        for decode, data in bare:
            decode(data)

    path = "all channels mixed: find the decoder, typed rows"
    return paired(
        Title(_BY_CHANNEL, path, "bare msgspec decode", "every row", aim=0.8), typed, reference, len(raw)
    )


def _channel_row(channel: str, frames: Sequence[Frame]) -> Row:
    handed: list[MarketEvent] = []
    received = [(frame.data, frame.ts_recv) for frame in frames]
    _read(channel, received, handed.append)
    same(f"events of {channel}", handed, [frame.event for frame in frames])
    raw, bare = [frame.data for frame in frames], _BARE[channel]

    def reference() -> None:
        for data in raw:
            bare(data)

    title = Title(_BY_CHANNEL, f"{channel}: events, to a handler", "bare msgspec decode", "every event")
    return paired(title, lambda: _read(channel, received, _nothing), reference, len(frames))


def _typed(data: bytes) -> object:
    return _plain(_TYPED[arg_of(data).channel](data))


def _plain(push: Any) -> list[list[object]]:
    """The values of the rows that both decoders read, in an order of their own."""
    names = ("px", "sz", "tradeId", "last", "markPx", "bidPx", "askSz", "volCcy24h", "ts", "open", "close")
    rows = []
    for row in push.data:
        if isinstance(row, tuple):  # a bare bar
            rows.append([row[0], row[1], row[4]])
            continue
        values = [getattr(row, name) for name in names if hasattr(row, name)]
        levels = [*getattr(row, "bids", ()), *getattr(row, "asks", ())]
        values += [tuple(msgspec.to_builtins(level))[:2] for level in levels]
        rows.append(values)
    return rows


def arg_of(data: bytes) -> Arg:
    """What a data frame is about."""
    arg = push_arg(data)
    assert arg is not None, data
    return arg


def _read(
    channel: str, frames: Sequence[tuple[bytes, int]], handler: Callable[[MarketEvent], object]
) -> None:
    """As the feed does it, once a frame's channel is known."""
    pulse = Pulse(0.0, 0.0)
    pulse.heard(0.0)
    data = Dispatch(lambda arg: READERS[arg.channel](symbol_of(arg), handler, pulse, _unheard).read, _refused)
    for frame, ts_recv in frames:
        data.take([frame], 0, ts_recv)


def _unheard(ts_recv: int) -> None:
    raise LookupError(ts_recv)


def _refused(channel: str, error: CodecError) -> None:
    raise error


def _nothing(event: MarketEvent) -> None:
    """Where events go when only the way there is timed."""


def books(run: Run) -> list[Row]:
    """A full book of 400 levels a side, 16 changed levels an update."""
    frames, sides = book_frames(_SYMBOLS[0], run.of(1500, 50))
    book, top = OrderBook(_SYMBOLS[0]), None
    for frame in frames:
        for message in decode_books(frame):
            same("outcome of a book update", book.apply(message), Outcome.CHANGED)
            top = book.top(0)
    same("top of the book", None if top is None else (pairs(top.bids), pairs(top.asks)), best_levels(sides))
    deep = book.top(0, depth=1000)
    whole = None if deep is None else (dict(pairs(deep.bids)), dict(pairs(deep.asks)))
    same("the whole book", whole, (sides["bids"], sides["asks"]))

    def alone() -> None:
        for frame in frames:
            _BARE_BOOK(frame)

    def applied(*, tops: bool) -> None:
        kept = OrderBook(_SYMBOLS[0])
        for frame in frames:
            for message in decode_books(frame):
                kept.apply(message)
                if tops:
                    kept.top(0)

    section, limit = "Order book, 400 levels", "bare msgspec decode"
    plain = Title(section, "update: decode, apply", limit, "every level at the end", aim=0.4)
    best = Title(section, "update: decode, apply, best 5 levels", limit, "the best levels at the end")
    return [
        paired(plain, lambda: applied(tops=False), alone, len(frames)),
        paired(best, lambda: applied(tops=True), alone, len(frames)),
    ]


def pairs(levels: Levels) -> tuple[tuple[float, float], ...]:
    """Price and contracts of each level."""
    return tuple((level.price, level.size) for level in levels)


def best_levels(sides: dict[str, dict[float, float]]) -> tuple[tuple[tuple[float, float], ...], ...]:
    bids = sorted(sides["bids"].items(), reverse=True)[:5]
    return tuple(bids), tuple(sorted(sides["asks"].items())[:5])
