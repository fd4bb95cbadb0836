"""OKX frames to features and signals, beside what decoding and dispatching the same frames costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Final

import msgspec

from bench.frames import START, Frame, Market
from bench.measure import Row, Run, Title, of_items, same
from bench.wire import arg_of
from engine.config.market import MarketConfig
from engine.core.market import Candle, MarketEvent
from engine.core.signals import Signal
from engine.core.times import timeframe_ns
from engine.exchange.okx.market_readers import decode
from engine.garbage import settle
from engine.market.pipeline import MarketPipeline
from engine.market.records import ClosedCandle

_SYMBOLS: Final = tuple(f"COIN{number}-USDT-SWAP" for number in range(20))
_TIMEFRAMES: Final = ("1m", "5m", "15m")
_MINUTES: Final = 15
_WARM: Final = 100  # candles of each timeframe
_ROUNDS: Final = 3


class Warm(msgspec.Struct, frozen=True):
    """A pipeline that has its history, to be set up again for each round."""

    config: MarketConfig
    states: tuple[bytes, ...]  # of each symbol

    def made(self) -> MarketPipeline:
        pipeline = MarketPipeline(self.config)
        for symbol, state in zip(self.config.symbols, self.states, strict=True):
            same("restored pipeline", pipeline.restore(symbol, state), True)
        pipeline.take_closed()
        return pipeline


def pipeline(run: Run) -> list[Row]:
    """Frame to signals, one by one, with the default indicators, detectors and stream features."""
    config = MarketConfig(symbols=_SYMBOLS, timeframes=_TIMEFRAMES)
    markets = [Market(symbol, seed) for seed, symbol in enumerate(_SYMBOLS)]
    warm = warmed(config, markets)
    tape = [
        frame
        for minute in range(run.of(_MINUTES, 4))
        for market in markets
        for frame in market.minute(minute)
    ]
    closing = [isinstance(frame.event, Candle) and frame.event.closed for frame in tape]
    wanted = _without_wire(warm.made(), tape)
    ours, alone = list[int](), list[int]()
    rounds = run.of(_ROUNDS, 1)
    for _ in range(rounds):
        made = warm.made()
        signals: list[Signal] = []
        settle()
        ours += _timed_frames(tape, lambda event: signals.extend(made.update(event)))  # noqa: B023 - at once
        same("signals and closed candles", (signals, made.take_closed()), wanted)
        settle()
        alone += _timed_frames(tape, _nothing)
    signals_made, closed_made = len(wanted[0]), len(wanted[1])
    run.notes.append(
        f"pipeline: {len(_SYMBOLS)} symbols, {'/'.join(_TIMEFRAMES)}, {len(config.indicators)} indicators, "
        f"{len(config.detectors)} detectors; {len(tape)} frames made {closed_made} closed candles and "
        f"{signals_made} signals"
    )
    same("whether there were signals", signals_made > 0, True)
    closes = closing * rounds
    section, equal = "Frame → features → signals", "all signals, features of all closed candles"
    return [
        of_items(
            Title(section, name, "decode, dispatch", equal), _where(ours, closes, k), _where(alone, closes, k)
        )
        for name, k in (("ticks and forming candles", False), ("closed 1m candles (with 5m, 15m)", True))
    ]


def _nothing(event: MarketEvent) -> None:
    """Where events go when only the way there is timed."""


def _where(times: Sequence[int], marks: Sequence[bool], wanted: bool) -> list[int]:
    return [time for time, mark in zip(times, marks, strict=True) if mark is wanted]


def _timed_frames(frames: Sequence[Frame], handler: Callable[[MarketEvent], object]) -> list[int]:
    times = []
    for _, data, ts_recv, _ in frames:
        began = perf_counter_ns()
        for event in decode(arg_of(data), data, ts_recv):
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


def warmed(config: MarketConfig, markets: Sequence[Market]) -> Warm:
    """A pipeline of the symbols of `markets`, with as much history as they give."""
    made = MarketPipeline(config)
    longest = timeframe_ns(config.timeframes[-1]) // timeframe_ns(config.timeframes[0])
    for market in markets:
        minutes = market.history(_WARM * longest)
        for timeframe in reversed(config.timeframes):
            made.warm_up(market.symbol, timeframe, _grouped(minutes, timeframe)[-_WARM:])
    return Warm(config, tuple(made.state(symbol) for symbol in config.symbols))


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
