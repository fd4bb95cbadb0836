"""A recording through the real pipeline, and what came of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from engine.config.market import MarketConfig
from engine.core.market import Candle, MarketEvent
from engine.core.signals import Signal
from engine.core.times import NEVER_NS, NS_PER_DAY, NS_PER_S, timeframe_ns
from engine.market.pipeline import MarketPipeline
from engine.market.records import ClosedCandle

_ENCODER: Final = msgspec.json.Encoder()


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Edges of one detector: how many of each kind, how many a day, and their salience."""

    detector: str
    edge: str
    count: int
    per_day: float
    score_mean: float
    score_max: float


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a replay. `digest` is over all signals: the same input gives the same digest."""

    symbol: str
    events: int = 0
    closed: int = 0
    days: float
    signals: int
    edges: dict[str, int]  # edge → how many
    digest: str
    tallies: tuple[Tally, ...]


class Sample(msgspec.Struct, frozen=True):
    """What was known at `ts`: the last price, else the middle of the quotes, and the live features."""

    ts: int
    price: float | None
    live: Mapping[str, float | None]


class Replayed(msgspec.Struct, frozen=True):
    """All that a replay made, for a table or a picture. Samples are at least a second apart."""

    review: Review
    signals: tuple[Signal, ...]
    candles: tuple[ClosedCandle, ...]
    samples: tuple[Sample, ...]
    begin_ns: int
    end_ns: int


class Window(msgspec.Struct, frozen=True):
    """The part of a recording that is reviewed; what comes before it warms up."""

    begin_ns: int = 0
    end_ns: int = NEVER_NS

    def holds(self, ts: int) -> bool:
        return self.begin_ns <= ts < self.end_ns


ALL: Final = Window()


def fitted(config: MarketConfig, symbol: str, kinds: Iterable[MarketEvent]) -> MarketConfig:
    """The configuration for one symbol and the kinds of events in a recording.

    The shortest candles are the base: those of 5m cannot make those of 1m, so shorter timeframes and their
    rules are left out. A recording without candles gets them from its trades.
    """
    bars = {event.timeframe for event in kinds if isinstance(event, Candle)}
    timeframes: list[str] = list(config.timeframes)
    if bars:
        base = min(bars, key=timeframe_ns)
        longer = [tf for tf in timeframes if timeframe_ns(tf) % timeframe_ns(base) == 0 and tf != base]
        timeframes = [base, *longer]
    rules = [
        msgspec.structs.replace(rule, symbols=())
        for rule in config.detectors
        if rule.watches(symbol) and rule.timeframe in ("", *timeframes)
    ]
    return msgspec.structs.replace(
        config,
        symbols=(symbol,),
        timeframes=tuple(timeframes),
        detectors=tuple(rules),
        candles="venue" if bars else "trades",
        aggregate=True,
    )


def replay(config: MarketConfig, events: Iterable[MarketEvent], window: Window = ALL) -> Replayed:
    """Every event through a fresh pipeline of one symbol; what the window holds is kept."""
    pipeline = MarketPipeline(config)
    signals: list[Signal] = []
    closed: list[ClosedCandle] = []
    samples: list[Sample] = []
    count, begin, end = 0, 0, 0
    for event in events:
        ts = event.ts_event
        if ts >= window.end_ns:
            break
        made = list(pipeline.update(event))
        for gap in pipeline.take_gaps():  # a recording has nobody to ask
            made += pipeline.skip_gap(gap.symbol, gap.timeframe)
        finished = pipeline.take_closed()
        if ts < window.begin_ns:
            continue
        signals += made
        closed += finished
        count, begin, end = count + 1, begin or ts, max(end, ts)
        if not samples or ts - samples[-1].ts >= NS_PER_S:
            samples.append(_sample(pipeline, config.symbols[0], ts))
    review = _review(config.symbols[0], signals, max(end - begin, 1) / NS_PER_DAY)
    review = msgspec.structs.replace(review, events=count, closed=len(closed))
    return Replayed(review, tuple(signals), tuple(closed), tuple(samples), begin, end)


def _sample(pipeline: MarketPipeline, symbol: str, ts: int) -> Sample:
    known = pipeline.snapshot(symbol, ts)
    price = known.last
    if price is None and known.bid is not None and known.ask is not None:
        price = (known.bid + known.ask) / 2.0
    return Sample(ts, price, known.live)


def _review(symbol: str, signals: list[Signal], days: float) -> Review:
    return Review(
        symbol=symbol,
        days=days,
        signals=len(signals),
        edges=dict(sorted(Counter(signal.edge.value for signal in signals).items())),
        digest=hashlib.sha256(b"\n".join(_ENCODER.encode(signal) for signal in signals)).hexdigest(),
        tallies=_tallies(signals, days),
    )


def _tallies(signals: list[Signal], days: float) -> tuple[Tally, ...]:
    counts = Counter((signal.detector, signal.edge.value) for signal in signals)
    tallies: list[Tally] = []
    for (name, edge), count in sorted(counts.items()):
        scores = [s.score for s in signals if (s.detector, s.edge.value) == (name, edge)]
        tallies.append(
            Tally(
                detector=name,
                edge=edge,
                count=count,
                per_day=count / days,
                score_mean=sum(scores) / count,
                score_max=max(scores),
            )
        )
    return tuple(tallies)
