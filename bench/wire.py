"""OKX frames to typed rows, events and books: beside the bare decode, and beside other libraries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from bench.frames import Frame, Market, book_frames
from bench.measure import ROUNDS, Kind, Row, Run, Title, of_rounds, paired, same, timed
from bench.peers import CcxtPro, Cryptofeed, Peer, Seen, missing
from engine.clock import SystemClock, cancelled
from engine.config.exchange import OkxConfig
from engine.core.market import BookTop, MarketEvent, Trade
from engine.exchange.okx import market_wire
from engine.exchange.okx.book import OrderBook, Outcome
from engine.exchange.okx.feed import OkxMarketFeed
from engine.exchange.okx.frames import CHANNELS, HEAD, push_channel
from engine.exchange.okx.links import PUBLIC

T = TypeVar("T")
_SYMBOLS: Final = tuple(f"COIN{number}-USDT-SWAP" for number in range(20))
_MIXED: Final = frozenset({"trades", "tickers"})
_YIELD_EVERY: Final = 200  # frames that a busy socket may hand over before the reader of events has its turn
_MOST_TRADES: Final = 900  # ccxt.pro remembers 1,000
_BY_CHANNEL: Final = "OKX frames"
_AIMS: Final = {Cryptofeed.name: 5.0, CcxtPro.name: 20.0}


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


def bare_decoder(channel: str) -> Callable[[bytes], object]:
    """The bare decoder of a channel."""
    return _BARE[channel]


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

    def typed() -> None:
        channels, codecs = CHANNELS, market_wire.CODECS
        for data in raw:
            decode, _ = codecs[channels[data[:HEAD]]]
            decode(data)

    def reference() -> None:
        for decode, data in bare:
            decode(data)

    path = "all channels mixed: find the decoder, typed rows"
    return paired(
        Title(_BY_CHANNEL, path, "bare msgspec decode", "every row", aim=0.8), typed, reference, len(raw)
    )


def _channel_row(channel: str, frames: Sequence[Frame]) -> Row:
    handed: list[MarketEvent] = []
    _dispatch(frames, handed.append)
    same(f"events of {channel}", handed, [frame.event for frame in frames])
    raw, bare = [frame.data for frame in frames], _BARE[channel]

    def reference() -> None:
        for data in raw:
            bare(data)

    title = Title(_BY_CHANNEL, f"{channel}: events, to a handler", "bare msgspec decode", "every event")
    return paired(title, lambda: _dispatch(frames, _nothing), reference, len(frames))


def _typed(data: bytes) -> object:
    return _plain(market_wire.CODECS[_channel(data)].decode(data))


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


def _channel(data: bytes) -> str:
    return CHANNELS.get(data[:HEAD]) or push_channel(data) or ""


def _dispatch(frames: Sequence[Frame], handler: Callable[[MarketEvent], object]) -> None:
    for _, data, ts_recv, _ in frames:
        for event in market_wire.decode(_channel(data), data, ts_recv):
            handler(event)


def _nothing(event: object) -> None:
    """Where events go when only the way there is timed."""


def books(run: Run) -> list[Row]:
    """A full book of 400 levels a side, 16 changed levels an update."""
    frames, sides = book_frames(_SYMBOLS[0], run.of(1500, 50))
    book, top = OrderBook(_SYMBOLS[0]), None
    for frame in frames:
        for message in market_wire.decode_books(frame):
            same("outcome of a book update", book.apply(message), Outcome.CHANGED)
            top = book.top(0)
    same("top of the book", None if top is None else (top.bids, top.asks), _best(sides))
    deep = book.top(0, depth=1000)
    whole = None if deep is None else (dict(deep.bids), dict(deep.asks))
    same("the whole book", whole, (sides["bids"], sides["asks"]))

    def alone() -> None:
        for frame in frames:
            _BARE_BOOK(frame)

    def applied(*, tops: bool) -> None:
        kept = OrderBook(_SYMBOLS[0])
        for frame in frames:
            for message in market_wire.decode_books(frame):
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


def _best(sides: dict[str, dict[float, float]]) -> tuple[tuple[tuple[float, float], ...], ...]:
    bids = sorted(sides["bids"].items(), reverse=True)[:5]
    return tuple(bids), tuple(sorted(sides["asks"].items())[:5])


class _Edgewise:
    """The feed of the engine, from the frame to the reader of its events."""

    name = "edgewise"

    def __init__(self, symbol: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._feed = OkxMarketFeed(OkxConfig(book_channel="books"), (symbol,), (), SystemClock())
        self._trades, self._contracts, self._top = 0, 0.0, BookTop(symbol, (), (), 0)

    def take(self, frames: Sequence[bytes]) -> None:
        self._loop.run_until_complete(self._feed_all(frames))

    async def _feed_all(self, frames: Sequence[bytes]) -> None:
        reader = asyncio.create_task(self._read(), name="reader")
        for at in range(0, len(frames), _YIELD_EVERY):
            for frame in frames[at : at + _YIELD_EVERY]:
                self._feed.on_push(PUBLIC, _channel(frame), frame)
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        await cancelled(reader)

    async def _read(self) -> None:
        async for event in self._feed.events():
            if isinstance(event, Trade):
                self._trades += 1
                self._contracts += event.size
            elif isinstance(event, BookTop):
                self._top = event

    def seen(self) -> Seen:
        return Seen(self._trades, self._contracts, self._top.bids, self._top.asks)

    def close(self) -> None:
        self._loop.run_until_complete(self._feed.close())
        self._loop.close()


def feeds(run: Run) -> list[Row]:
    """Trades, tickers and a full book of one symbol, from frame to handler, in three feeds and bare."""
    symbol = "BTC-USDT-SWAP"
    frames, sides, trades = _mixed(symbol, run.of(_MOST_TRADES, 60))
    wanted = Seen(len(trades), sum(trade.size for trade in trades), *_best(sides))
    decoders = {channel: bare for channel, bare in _BARE.items() if channel in _MIXED} | {"books": _BARE_BOOK}
    bare = [(decoders[_channel(frame)], frame) for frame in frames]

    def reference() -> None:
        for decode, frame in bare:
            decode(frame)

    rounds = run.of(ROUNDS, 1)
    ours = [_timed_feed(_Edgewise, symbol, frames, wanted) for _ in range(rounds)]
    section, path = "One feed: 3 trades, 3 tickers, 4 updates of a full book", "frame to handler of events"
    limit = Title(section, path, "bare msgspec decode", "trades, best levels")
    rows = [of_rounds(limit, [(took, timed(reference)) for took in ours], len(frames))]
    for peer in (Cryptofeed, CcxtPro):
        if missing(peer.package):
            run.notes.append(f"{peer.name} is not installed, so it has no row (make bench installs it)")
            continue
        pairs = []
        for _ in range(rounds):
            theirs = _timed_feed(peer, symbol, frames, wanted)
            pairs.append((_timed_feed(_Edgewise, symbol, frames, wanted), theirs))
        title = Title(section, path, peer.name, "trades, best levels", Kind.PEER, _AIMS[peer.name])
        rows.append(of_rounds(title, pairs, len(frames)))
    return rows


def _timed_feed(peer: Callable[[str], Peer], symbol: str, frames: Sequence[bytes], wanted: Seen) -> float:
    """Microseconds of all frames, once everything is set up; what was seen is compared afterwards."""
    made = peer(symbol)
    try:
        took = timed(lambda: made.take(frames))
        seen = made.seen()
    finally:
        made.close()
    same(f"trades and book of {made.name}", _rounded(seen), _rounded(wanted))
    return took


def _rounded(seen: Seen) -> Seen:
    return seen._replace(contracts=round(seen.contracts, 6))


def _mixed(symbol: str, size: int) -> tuple[list[bytes], dict[str, dict[float, float]], list[Trade]]:
    """A snapshot of the book, then trades and tickers with book updates between them."""
    updates, sides = book_frames(symbol, size * 4 // 3)
    market, frames, trades, minute = Market(symbol, 3), [updates[0]], list[Trade](), 0
    waiting = updates[1:]
    while len(trades) < size:
        for frame in market.minute(minute):
            if frame.channel not in _MIXED:
                continue
            frames.append(frame.data)
            if isinstance(frame.event, Trade):
                trades.append(frame.event)
            elif waiting:
                frames.append(waiting.pop(0))
        minute += 1
    return [*frames, *waiting], sides, trades
