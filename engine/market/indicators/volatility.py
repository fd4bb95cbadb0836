"""Bands, channels and how much the price moves."""

from __future__ import annotations

from math import log, sqrt
from typing import ClassVar, Final

from engine.core.market import Candle
from engine.core.times import NS_PER_DAY, timeframe_ns
from engine.market.indicators.rolling import Highest, Mean, Moments
from engine.market.indicators.study import Formula, Values

_DAYS_PER_YEAR: Final = 365  # this market never closes


class Bollinger(Formula):
    """Mean of the close ± `width` standard deviations (of the population).

    Also the width as a fraction of the middle, and %b, the close's place: 0 lower band, 1 upper.
    """

    __slots__ = ("_moments", "_width")
    STATE: ClassVar[tuple[str, ...]] = ("_moments",)

    def __init__(self, period: int, width: float) -> None:
        self._moments = Moments(period)
        self._width = width

    def step(self, candle: Candle, commit: bool) -> Values:
        moments = self._moments.step(candle.close, commit)
        if moments is None:
            return (None, None, None, None, None)
        middle, variance = moments
        half = self._width * sqrt(variance)
        lower = middle - half
        place = (candle.close - lower) / (2.0 * half) if half > 0.0 else None
        return (middle + half, middle, lower, 2.0 * half / middle, place)


class Donchian(Formula):
    """Highest high, lowest low and their middle."""

    __slots__ = ("_high", "_low")
    STATE: ClassVar[tuple[str, ...]] = ("_high", "_low")

    def __init__(self, period: int) -> None:
        self._high = Highest(period)
        self._low = Highest(period)

    def step(self, candle: Candle, commit: bool) -> Values:
        high = self._high.step(candle.high, commit)
        low = self._low.step(-candle.low, commit)  # negated: see Highest
        if high is None or low is None:
            return (None, None, None)
        return (high, (high - low) / 2.0, -low)


class ZScore(Formula):
    """Distance of the close from its mean in standard deviations; None when it did not move."""

    __slots__ = ("_moments",)
    STATE: ClassVar[tuple[str, ...]] = ("_moments",)

    def __init__(self, period: int) -> None:
        self._moments = Moments(period)

    def step(self, candle: Candle, commit: bool) -> Values:
        moments = self._moments.step(candle.close, commit)
        if moments is None or moments[1] <= 0:
            return (None,)
        return ((candle.close - moments[0]) / sqrt(moments[1]),)


class RealisedVolatility(Formula):
    """Sample standard deviation of the log returns, as a fraction a year (0.6 is 60 %)."""

    __slots__ = ("_close", "_moments", "_period", "_scale")
    STATE: ClassVar[tuple[str, ...]] = ("_close", "_moments")

    def __init__(self, period: int) -> None:
        self._period = period
        self._scale = 0.0  # from the variance of a window to that of a year's sample; 0: not known yet
        self._close: float | None = None
        self._moments = Moments(period)

    def step(self, candle: Candle, commit: bool) -> Values:
        before = self._close
        if commit:
            self._close = candle.close
        moments = None if before is None else self._moments.step(log(candle.close / before), commit)
        if moments is None:
            return (None,)
        if not self._scale:
            candles_per_year = _DAYS_PER_YEAR * NS_PER_DAY / timeframe_ns(candle.timeframe)
            self._scale = candles_per_year * self._period / (self._period - 1)
        return (sqrt(moments[1] * self._scale),)


class ReturnZ(Formula):
    """The newest log return in standard deviations of the `period` returns before it."""

    __slots__ = ("_close", "_mean", "_moments", "_variance")
    STATE: ClassVar[tuple[str, ...]] = ("_close", "_mean", "_moments", "_variance")

    def __init__(self, period: int) -> None:
        self._close: float | None = None
        self._moments = Moments(period)
        self._mean = 0.0
        self._variance = 0.0

    def step(self, candle: Candle, commit: bool) -> Values:
        before = self._close
        if commit:
            self._close = candle.close
        if before is None:
            return (None,)
        change = log(candle.close / before)
        score = (change - self._mean) / sqrt(self._variance) if self._variance > 0 else None
        if commit and (moments := self._moments.step(change, True)) is not None:
            self._mean, self._variance = moments
        return (score,)


class VolumeRatio(Formula):
    """Volume of the candle over the mean of the `period` candles before it."""

    __slots__ = ("_before", "_mean")
    STATE: ClassVar[tuple[str, ...]] = ("_before", "_mean")

    def __init__(self, period: int) -> None:
        self._mean = Mean(period)
        self._before: float | None = None

    def step(self, candle: Candle, commit: bool) -> Values:
        ratio = candle.volume / self._before if self._before else None
        if commit:
            self._before = self._mean.step(candle.volume, True)
        return (ratio,)


class Obv(Formula):
    """On-balance volume: coins traded in rising candles less those in falling ones."""

    __slots__ = ("_close", "_total")
    STATE: ClassVar[tuple[str, ...]] = ("_close", "_total")

    def __init__(self) -> None:
        self._close: float | None = None
        self._total = 0.0

    def step(self, candle: Candle, commit: bool) -> Values:
        total = self._total
        if self._close is None or candle.close > self._close:
            total += candle.volume
        elif candle.close < self._close:
            total -= candle.volume
        if commit:
            self._close, self._total = candle.close, total
        return (total,)
