"""Edges: a detector watches one number of one symbol and says once when it leaves a band or comes back.

Each is a state machine on values: `update(reading)` gives the edges, none as long as the state lasts. The
first value sets the state silently, an unknown value (None, or no finite number) changes nothing, and no
change of state follows within `min_hold` of the one before. A jump from one side to the other is two edges,
RECOVERED first.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from math import isfinite, sqrt
from typing import ClassVar, Final

from engine.config.market_rules import BreakoutRule, CrossRule, DetectorRule, Rule, SpikeRule, ThresholdRule
from engine.core.signals import Edge
from engine.core.times import NS_PER_S
from engine.market.records import Crossing, Reading

Band = tuple[float, float, float, float]  # upper threshold and release, lower threshold and release

_NONE: Final[tuple[Crossing, ...]] = ()
_SPAN: Final = 120
_MEMORY: Final = 2.0 / (_SPAN + 1)  # weight of the newest change in the feature's volatility
_BPS: Final = 10_000.0
_INFINITY: Final = float("inf")
_LONG_AGO: Final = -(2**62)


class Side(StrEnum):
    UNKNOWN = "unknown"
    INSIDE = "inside"
    ABOVE = "above"
    BELOW = "below"


_INSIDE: Final = Side.INSIDE
_ABOVE: Final = Side.ABOVE
_BELOW: Final = Side.BELOW


class _Motion:
    """How much a feature usually moves from one value to the next; None until ten moves were seen."""

    __slots__ = ("_last", "_moves", "_variance")
    STATE: ClassVar[tuple[str, ...]] = ("_last", "_moves", "_variance")
    _READY = 10

    def __init__(self) -> None:
        self._last: float | None = None
        self._moves = 0
        self._variance = 0.0

    def add(self, value: float) -> None:
        """Take in one more value."""
        last = self._last
        self._last = value
        if last is None:
            return
        move = value - last
        if self._moves < _SPAN:
            self._moves += 1
        weight = _MEMORY if self._moves > _SPAN / 2 else 1.0 / self._moves
        self._variance += (move * move - self._variance) * weight

    def deviation(self) -> float | None:
        """Of the moves so far."""
        return sqrt(self._variance) if self._moves >= self._READY and self._variance > 0.0 else None


class BandDetector:
    """Threshold, spike and breakout: a band with an inner edge to come back through (hysteresis).

    Above `upper` it is UP (a spike: SPIKE) until the value is back at `upper_release`, and likewise below.
    """

    __slots__ = (
        "_hold_ns",
        "_lower",
        "_lower_release",
        "_motion",
        "_side",
        "_since",
        "_upper",
        "_upper_release",
        "fixed",
        "rule",
    )
    STATE: ClassVar[tuple[str, ...]] = ("_motion", "_side", "_since")

    def __init__(self, rule: ThresholdRule | SpikeRule | BreakoutRule) -> None:
        self.rule: ThresholdRule | SpikeRule | BreakoutRule = rule
        self.fixed = not isinstance(rule, BreakoutRule)  # the band does not move: `follow` will do
        band = (_INFINITY, _INFINITY, -_INFINITY, -_INFINITY)
        if not isinstance(rule, BreakoutRule):
            band = _fixed_band(rule)
        self._upper, self._upper_release, self._lower, self._lower_release = band
        self._hold_ns = _hold_ns(rule)
        self._side: str = Side.UNKNOWN
        self._since = _LONG_AGO
        self._motion = _Motion()

    @property
    def side(self) -> Side:
        """Where the value is known to be."""
        return Side(self._side)

    def update(self, reading: Reading) -> Sequence[Crossing]:
        value = reading.value
        if value is None or not (self.fixed or self._moved_to(reading)):
            return _NONE
        return self.follow(value, reading.ts)

    def follow(self, value: float, ts: int) -> Sequence[Crossing]:
        """`update` with a known value, for a band that does not move."""
        if not isfinite(value):
            return _NONE
        side, motion = self._side, self._motion
        crossings: Sequence[Crossing] = _NONE
        if side == _INSIDE:
            if not self._lower < value < self._upper:
                crossings = self._change(value, ts, motion.deviation())
        elif side == _ABOVE:
            if value <= self._upper_release:
                crossings = self._change(value, ts, motion.deviation())
        elif side == _BELOW:
            if value >= self._lower_release:
                crossings = self._change(value, ts, motion.deviation())
        else:
            outside = Side.ABOVE if value >= self._upper else Side.BELOW
            self._side = outside if self._beyond(value) else Side.INSIDE
        motion.add(value)
        return crossings

    def _moved_to(self, reading: Reading) -> bool:
        """Take the channel of the candle before as the band; one without height has no outside."""
        upper, lower, release = reading.upper, reading.lower, reading.release
        if upper is None or lower is None or release is None or not lower < release < upper:
            return False
        self._upper, self._upper_release = upper, release
        self._lower, self._lower_release = lower, release
        return True

    def _change(self, value: float, ts: int, deviation: float | None) -> Sequence[Crossing]:
        """The edges of a change of state that is due; none while the last state is held."""
        crossings: list[Crossing] = []
        held = ts - self._since < self._hold_ns
        if self._side != Side.INSIDE and not held:
            threshold, release = self._edge(above=self._side == Side.ABOVE)
            distance = None if deviation is None else abs(release - value) / deviation
            crossings.append(Crossing(Edge.RECOVERED, value, threshold, release, distance, 0, ts))
            self._side, self._since = Side.INSIDE, ts
            held = self.rule.min_hold > 0
        if self._side == Side.INSIDE and not held and self._beyond(value):
            up = value >= self._upper
            threshold, release = self._edge(above=up)
            distance = None if deviation is None else abs(value - threshold) / deviation
            edge = Edge.SPIKE if isinstance(self.rule, SpikeRule) else Edge.UP if up else Edge.DOWN
            crossings.append(Crossing(edge, value, threshold, release, distance, 1 if up else -1, ts))
            self._side, self._since = Side.ABOVE if up else Side.BELOW, ts
        return crossings

    def _beyond(self, value: float) -> bool:
        """At a threshold is beyond it; at the extreme of a channel is not out of it."""
        if self.fixed:
            return not self._lower < value < self._upper
        return not self._lower <= value <= self._upper

    def _edge(self, *, above: bool) -> tuple[float, float]:
        """Threshold and release of one side of the band."""
        return (self._upper, self._upper_release) if above else (self._lower, self._lower_release)


class CrossDetector:
    """UP when the value has crossed above its mark by more than the dead band, DOWN when below."""

    __slots__ = ("_hold_ns", "_motion", "_side", "_since", "rule")
    STATE: ClassVar[tuple[str, ...]] = ("_motion", "_side", "_since")

    def __init__(self, rule: CrossRule) -> None:
        self.rule = rule
        self._hold_ns = _hold_ns(rule)
        self._side: str = Side.UNKNOWN
        self._since = _LONG_AGO
        self._motion = _Motion()

    @property
    def side(self) -> Side:
        """On which side of the mark the value was last beyond the dead band."""
        return Side(self._side)

    def update(self, reading: Reading) -> Sequence[Crossing]:
        value, mark = reading.value, reading.upper
        if value is None or mark is None or not isfinite(difference := value - mark):
            return _NONE
        deviation = self._motion.deviation()
        self._motion.add(difference)
        band = self.rule.dead_band
        if self.rule.dead_band_bps:
            if reading.price is None:
                return _NONE
            band = max(band, self.rule.dead_band_bps / _BPS * reading.price)
        side = Side.ABOVE if difference > band else Side.BELOW if difference < -band else None
        if side is None or side == self._side:
            return _NONE
        if self._side == Side.UNKNOWN:
            self._side = side
            return _NONE
        if reading.ts - self._since < self._hold_ns:
            return _NONE
        self._side, self._since = side, reading.ts
        up = side is Side.ABOVE
        distance = None if deviation is None else abs(difference) / deviation
        threshold, release = (mark + band, mark - band) if up else (mark - band, mark + band)
        edge, direction = (Edge.UP, 1) if up else (Edge.DOWN, -1)
        return (Crossing(edge, value, threshold, release, distance, direction, reading.ts),)


def _fixed_band(rule: ThresholdRule | SpikeRule) -> Band:
    """The band of a rule that names its thresholds."""
    if isinstance(rule, SpikeRule):
        return (rule.threshold, rule.release, -rule.threshold, -rule.release)
    return (
        _INFINITY if rule.upper is None else rule.upper,
        _INFINITY if rule.upper_release is None else rule.upper_release,
        -_INFINITY if rule.lower is None else rule.lower,
        -_INFINITY if rule.lower_release is None else rule.lower_release,
    )


def _hold_ns(rule: DetectorRule) -> int:
    """At least 1 ns: of two changes at one instant the second would have the id of an earlier signal."""
    return max(1, int(rule.min_hold * NS_PER_S))


def detector(rule: Rule) -> BandDetector | CrossDetector:
    """A fresh detector for a rule."""
    return CrossDetector(rule) if isinstance(rule, CrossRule) else BandDetector(rule)
