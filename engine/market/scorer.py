"""Salience: how much an edge deserves attention, from 0 to 1.

    score = kind x freshness x (wd D + wr R + wv V + wa A) / (wd + wr + wv + wa)

D  distance:  d / (1 + d), d = distance beyond the threshold in deviations of the feature's usual move
R  rarity:    1 / (1 + n), n = earlier edges of this detector in this symbol, each halved every half-life
V  volume:    v / (1 + v), v = volume of the newest candle over the mean of those before it
A  agreement: (1 + a) / 2, a = mean over the timeframes of +1 where their trend goes the edge's way, else -1
freshness:    exp(-age / tau)
kind:         1; for RECOVERED the weight of the configuration

What is not known counts 0.5, as does A of an edge without direction. The score rises with distance,
volume and agreement and falls with earlier edges and age; each input alone moves it within its weight.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import exp
from typing import ClassVar, Final

from engine.config.market import ScorerConfig
from engine.core.signals import Edge
from engine.core.times import NS_PER_S
from engine.market.records import Evidence

_UNKNOWN: Final = 0.5


class Recurrence:
    """How many edges there were lately: a count that halves every half-life."""

    __slots__ = ("_count", "_half_life_ns", "_ts")
    STATE: ClassVar[tuple[str, ...]] = ("_count", "_ts")

    def __init__(self, half_life_s: float) -> None:
        self._half_life_ns = half_life_s * NS_PER_S
        self._count = 0.0
        self._ts = 0

    def count(self, ts: int) -> float:
        """The count as of `ts`."""
        return float(self._count * 0.5 ** (max(0, ts - self._ts) / self._half_life_ns))

    def add(self, ts: int) -> None:
        """One more edge at `ts`."""
        self._count = self.count(ts) + 1.0
        self._ts = max(self._ts, ts)


class Scorer:
    """The formula with its weights. Holds no state."""

    def __init__(self, config: ScorerConfig) -> None:
        self._config = config
        self._weights = config.distance + config.rarity + config.volume + config.agreement

    def score(self, evidence: Evidence) -> float:
        """Salience of one edge, 0..1."""
        config = self._config
        mean = (
            config.distance * _saturated(evidence.distance)
            + config.rarity / (1.0 + evidence.earlier)
            + config.volume * _saturated(evidence.volume_ratio)
            + config.agreement * (_UNKNOWN if evidence.agreement is None else (1 + evidence.agreement) / 2)
        ) / self._weights
        kind = config.recovered if evidence.edge is Edge.RECOVERED else 1.0
        return min(1.0, max(0.0, kind * exp(-max(0.0, evidence.age_s) / config.freshness) * mean))


def agreement(direction: int, trends: Iterable[int]) -> float | None:
    """Mean of +1 where a trend (+1, 0, -1) has the direction, -1 where the other one; None without any."""
    known = [trend * direction for trend in trends if trend]
    return sum(known) / len(known) if known and direction else None


def _saturated(value: float | None) -> float:
    return _UNKNOWN if value is None else 1.0 - 1.0 / (1.0 + max(0.0, value))
