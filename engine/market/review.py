"""A recording through the real pipeline, and what came of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from engine.config.market import MarketConfig
from engine.core.market import Candle, MarketEvent, Trade
from engine.core.signals import Signal
from engine.core.times import NS_PER_DAY, timeframe_ns
from engine.market.pipeline import ClosedCandle, MarketPipeline

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
    events: int
    closed: int
    days: float
    signals: int
    edges: dict[str, int]  # edge → how many
    digest: str
    tallies: tuple[Tally, ...]


class Replayed(msgspec.Struct, frozen=True):
    """All that a replay made, for a table or a picture."""

    review: Review
    signals: tuple[Signal, ...]
    candles: tuple[ClosedCandle, ...]


def fitted(config: MarketConfig, symbol: str, first: MarketEvent) -> MarketConfig:
    """The configuration for one symbol and this kind of recording.

    Candles of 5m cannot make those of 1m: shorter timeframes and their rules are left out. A recording
    without candles gets them from its trades.
    """
    base = timeframe_ns(first.timeframe) if isinstance(first, Candle) else 0
    timeframes: list[str] = [tf for tf in config.timeframes if base == 0 or timeframe_ns(tf) % base == 0]
    if isinstance(first, Candle) and first.timeframe not in timeframes:
        timeframes.insert(0, first.timeframe)
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
        candles="trades" if isinstance(first, Trade) else "venue",
        aggregate=True,
    )


def replay(config: MarketConfig, events: Iterable[MarketEvent]) -> Replayed:
    """Every event through a fresh pipeline of the configuration's only symbol."""
    pipeline = MarketPipeline(config)
    signals: list[Signal] = []
    closed: list[ClosedCandle] = []
    count, begin, end = 0, 0, 0
    for event in events:
        signals += pipeline.update(event)
        closed += pipeline.take_closed()
        count, begin, end = count + 1, begin or event.ts_event, event.ts_event
    days = max(end - begin, 1) / NS_PER_DAY
    digest = hashlib.sha256(b"\n".join(_ENCODER.encode(signal) for signal in signals)).hexdigest()
    review = Review(
        symbol=config.symbols[0],
        events=count,
        closed=len(closed),
        days=days,
        signals=len(signals),
        edges=dict(sorted(Counter(signal.edge.value for signal in signals).items())),
        digest=digest,
        tallies=_tallies(signals, days),
    )
    return Replayed(review, tuple(signals), tuple(closed))


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
