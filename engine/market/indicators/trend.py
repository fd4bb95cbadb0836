"""Is there a trend, and which way."""

from __future__ import annotations

from typing import ClassVar, Final

from engine.core.market import Candle
from engine.market.indicators.rolling import wilder
from engine.market.indicators.study import Formula, Values

_UNKNOWN: Final[Values] = (None, None, None)


class Adx(Formula):
    """Average directional index and the two directional indicators +DI and -DI, all 0..100 (Wilder).

    The sums of movement and range decay by one period-th a candle; the first period - 1 just add up.
    """

    __slots__ = ("_adx", "_before", "_count", "_decay", "_minus", "_period", "_plus", "_range")
    STATE: ClassVar[tuple[str, ...]] = ("_adx", "_before", "_count", "_minus", "_plus", "_range")

    def __init__(self, period: int) -> None:
        self._period = period
        self._decay = 1.0 - 1.0 / period
        self._before: Candle | None = None
        self._count = 0  # movements summed up, at most period - 1
        self._plus = self._minus = self._range = 0.0
        self._adx = wilder(period)

    def step(self, candle: Candle, commit: bool) -> Values:
        before, count = self._before, self._count
        if commit:
            self._before = candle
        if before is None:
            return _UNKNOWN
        high, low, close = candle.high, candle.low, before.close
        up, down = high - before.high, before.low - low
        plus, minus, span = self._plus, self._minus, self._range
        ready = count == self._period - 1
        if ready:
            decay = self._decay
            plus, minus, span = plus * decay, minus * decay, span * decay
        if up > down:
            plus += up if up > 0.0 else 0.0
        elif down > up:
            minus += down if down > 0.0 else 0.0
        span += (high if high > close else close) - (low if low < close else close)
        if commit:
            self._plus, self._minus, self._range = plus, minus, span
            self._count = count if ready else count + 1
        if not ready:
            return _UNKNOWN
        moved = plus + minus
        dx = 100.0 * abs(plus - minus) / moved if moved > 0.0 else 0.0
        if span <= 0.0:  # no movement at all: no direction
            return (self._adx.step(0.0, commit), 0.0, 0.0)
        return (self._adx.step(dx, commit), 100.0 * plus / span, 100.0 * minus / span)


class Supertrend(Formula):
    """A trailing band `multiplier` ATRs from the middle; its side (+1 below a rising price, -1 above).

    The band only tightens while its side lasts and changes side when a close goes through it.
    """

    __slots__ = ("_atr", "_close", "_lower", "_multiplier", "_side", "_upper")
    STATE: ClassVar[tuple[str, ...]] = ("_atr", "_close", "_lower", "_side", "_upper")

    def __init__(self, period: int, multiplier: float) -> None:
        self._multiplier = multiplier
        self._atr = Atr(period)
        self._close: float | None = None
        self._upper: float | None = None
        self._lower: float | None = None
        self._side = 1

    def step(self, candle: Candle, commit: bool) -> Values:
        (atr,) = self._atr.step(candle, commit)
        before = self._close
        if commit:
            self._close = candle.close
        if atr is None:
            return (None, None)
        middle = (candle.high + candle.low) / 2.0
        upper = middle + self._multiplier * atr
        lower = middle - self._multiplier * atr
        if before is not None and self._upper is not None and self._lower is not None:
            if upper > self._upper and before <= self._upper:
                upper = self._upper
            if lower < self._lower and before >= self._lower:
                lower = self._lower
        side = self._turned(candle.close, upper, lower)
        if commit:
            self._upper, self._lower, self._side = upper, lower, side
        return (lower if side > 0 else upper, float(side))

    def _turned(self, close: float, upper: float, lower: float) -> int:
        """The side after this close."""
        if self._side > 0:
            return -1 if close < lower else 1
        return 1 if close > upper else -1


class Atr(Formula):
    """Average true range of Wilder, in price units. The first candle has no close before it: left out."""

    __slots__ = ("_close", "_mean")
    STATE: ClassVar[tuple[str, ...]] = ("_close", "_mean")

    def __init__(self, period: int) -> None:
        self._close: float | None = None
        self._mean = wilder(period)

    def step(self, candle: Candle, commit: bool) -> Values:
        before = self._close
        if commit:
            self._close = candle.close
        if before is None:
            return _UNKNOWN[:1]
        high, low = candle.high, candle.low
        # The true range: that of the candle, the gap from the close before it included.
        span = (high if high > before else before) - (low if low < before else before)
        return (self._mean.step(span, commit),)
