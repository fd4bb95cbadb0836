"""OKX frames to events, books and signals, beside what only decoding the same frames costs."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Final, Generic, TypeVar

import msgspec

from bench.frames import START, Frame, Market, book_frames
from bench.measure import Row, Title, of_items, paired, same
from engine.config.market import MarketConfig
from engine.core.market import Candle, MarketEvent
from engine.core.signals import Signal
from engine.core.times import timeframe_ns
from engine.exchange.okx import market_wire
from engine.exchange.okx.book import OrderBook, Outcome
from engine.exchange.okx.frames import push_channel
from engine.market.pipeline import ClosedCandle, MarketPipeline

T = TypeVar("T")
_SYMBOLS: Final = tuple(f"COIN{number}-USDT-SWAP" for number in range(20))
_TIMEFRAMES: Final = ("1m", "5m", "15m")
_MINUTES: Final = 15
_WARM: Final = 100  # candles of each timeframe
_ROUNDS: Final = 3


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
    "candle1m": msgspec.json.Decoder(_Push[tuple[float, ...]], strict=False).decode,
}
_BARE_BOOK: Final = msgspec.json.Decoder(_Push[_Book], strict=False).decode


def decoding(notes: list[str]) -> list[Row]:
    """Typed decode and dispatch by channel, as a fraction of the bare decode."""
    markets = [Market(symbol, seed) for seed, symbol in enumerate(_SYMBOLS)]
    tape = [frame for minute in range(40) for market in markets for frame in market.minute(minute)]
    return [_decode_row(name, [frame for frame in tape if frame.channel == name][:4000]) for name in _BARE]


def _decode_row(channel: str, frames: Sequence[Frame]) -> Row:
    handed: list[MarketEvent] = []
    _dispatch(frames, handed.append)
    same(f"events of {channel}", handed, [frame.event for frame in frames])
    raw, bare = [frame.data for frame in frames], _BARE[channel]

    def reference() -> None:
        for data in raw:
            bare(data)

    title = Title(
        "OKX frames", f"{channel}: find channel, decode, dispatch", "bare msgspec decode", "every event"
    )
    return paired(title, lambda: _dispatch(frames, _nothing), reference, len(frames))


def _dispatch(frames: Sequence[Frame], handler: Callable[[MarketEvent], object]) -> None:
    for _, data, ts_recv, _ in frames:
        for event in market_wire.decode(push_channel(data) or "", data, ts_recv):
            handler(event)


def _nothing(event: MarketEvent) -> None:
    """Where events go when only the way there is timed."""


def books(notes: list[str]) -> list[Row]:
    """A full book of 400 levels a side, 16 changed levels an update."""
    frames, sides = book_frames(_SYMBOLS[0], 1500)
    book, top = OrderBook(_SYMBOLS[0]), None
    for frame in frames:
        for message in market_wire.decode_books(frame):
            same("outcome of a book update", book.apply(message), Outcome.CHANGED)
            top = book.top(0)
    best_bids = tuple(sorted(sides["bids"].items(), reverse=True)[:5])
    best_asks = tuple(sorted(sides["asks"].items())[:5])
    same("top of the book", None if top is None else (top.bids, top.asks), (best_bids, best_asks))
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

    section, reference = "Order book, 400 levels", "decode alone"
    return [
        paired(
            Title(section, "update: decode, apply", reference, "every level at the end"),
            lambda: applied(tops=False),
            alone,
            len(frames),
        ),
        paired(
            Title(section, "update: decode, apply, best 5 levels", reference, "the best levels at the end"),
            lambda: applied(tops=True),
            alone,
            len(frames),
        ),
    ]


class _Warm(msgspec.Struct, frozen=True):
    """A pipeline that has its history, to be set up again for each round."""

    config: MarketConfig
    state: bytes

    def made(self) -> MarketPipeline:
        pipeline = MarketPipeline(self.config)
        same("restored pipeline", pipeline.restore(self.state), True)
        pipeline.take_closed()
        return pipeline


def pipeline(notes: list[str]) -> list[Row]:
    """Frame to signals, one by one, with the default indicators, detectors and stream features."""
    config = MarketConfig(symbols=_SYMBOLS, timeframes=_TIMEFRAMES)
    markets = [Market(symbol, seed) for seed, symbol in enumerate(_SYMBOLS)]
    warm = _Warm(config, _warmed(config, markets))
    tape = [frame for minute in range(_MINUTES) for market in markets for frame in market.minute(minute)]
    closing = [isinstance(frame.event, Candle) and frame.event.closed for frame in tape]
    wanted = _without_wire(warm.made(), tape)
    ours, alone = list[int](), list[int]()
    for _ in range(_ROUNDS):
        made = warm.made()
        signals: list[Signal] = []
        gc.collect()
        ours += _timed_frames(tape, lambda event: signals.extend(made.update(event)))  # noqa: B023 - at once
        same("signals and closed candles", (signals, made.take_closed()), wanted)
        gc.collect()
        alone += _timed_frames(tape, _nothing)
    signals_made, closed_made = len(wanted[0]), len(wanted[1])
    notes.append(
        f"pipeline: {len(_SYMBOLS)} symbols, {'/'.join(_TIMEFRAMES)}, {len(config.indicators)} indicators, "
        f"{len(config.detectors)} detectors; {len(tape)} frames made {closed_made} closed candles and "
        f"{signals_made} signals"
    )
    same("whether there were signals", signals_made > 0, True)
    closes = closing * _ROUNDS
    section, equal = "Frame → features → signals", "all signals, features of all closed candles"
    return [
        of_items(
            Title(section, name, "decode, dispatch", equal), _where(ours, closes, k), _where(alone, closes, k)
        )
        for name, k in (("ticks and forming candles", False), ("closed 1m candles (with 5m, 15m)", True))
    ]


def _where(times: Sequence[int], marks: Sequence[bool], wanted: bool) -> list[int]:
    return [time for time, mark in zip(times, marks, strict=True) if mark is wanted]


def _timed_frames(frames: Sequence[Frame], handler: Callable[[MarketEvent], object]) -> list[int]:
    times = []
    for _, data, ts_recv, _ in frames:
        began = perf_counter_ns()
        for event in market_wire.decode(push_channel(data) or "", data, ts_recv):
            handler(event)
        times.append(perf_counter_ns() - began)
    return times


def _without_wire(
    made: MarketPipeline, tape: Sequence[Frame]
) -> tuple[list[Signal], tuple[ClosedCandle, ...]]:
    """What comes out when the events never were frames."""
    signals: list[Signal] = []
    for frame in tape:
        signals += made.update(frame.event)
    return signals, tuple(made.take_closed())


def _warmed(config: MarketConfig, markets: Sequence[Market]) -> bytes:
    made = MarketPipeline(config)
    longest = timeframe_ns(_TIMEFRAMES[-1]) // timeframe_ns("1m")
    for market in markets:
        minutes = market.history(_WARM * longest)
        for timeframe in reversed(_TIMEFRAMES):
            made.warm_up(market.symbol, timeframe, _grouped(minutes, timeframe)[-_WARM:])
    return made.state()


def _grouped(minutes: Sequence[Candle], timeframe: str) -> list[Candle]:
    """Longer candles of one-minute ones that end at START."""
    size = timeframe_ns(timeframe) // timeframe_ns("1m")
    same("end of the history", minutes[-1].ts_event, START)
    return [
        msgspec.structs.replace(
            group[-1],
            timeframe=timeframe,
            ts_open=group[0].ts_open,
            open=group[0].open,
            high=max(candle.high for candle in group),
            low=min(candle.low for candle in group),
            volume=round(sum(candle.volume for candle in group), 8),
        )
        for group in (minutes[at : at + size] for at in range(0, len(minutes), size))
    ]
