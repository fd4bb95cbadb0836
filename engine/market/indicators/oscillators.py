"""Momentum: how fast and how far the price went."""

from __future__ import annotations

from bisect import bisect_left, insort
from math import fsum
from typing import ClassVar, Final

from engine.core.market import Candle
from engine.market.indicators.rolling import OUTWEIGHED, Exponential, Highest, Lag, Mean, Rolling, wilder
from engine.market.indicators.study import Formula, Values

_LAMBERT: Final = 0.015  # scales CCI so that most values lie within ±100
_NEUTRAL: Final = 50.0
_UNKNOWN: Final[Values] = (None,)


class Rsi(Formula):
    """Relative strength index 0..100 of Wilder.

    A market that never moved is neutral here (50); TA-Lib says 0, which reads as oversold.
    """

    __slots__ = ("_close", "_count", "_gain", "_loss", "_period")
    STATE: ClassVar[tuple[str, ...]] = ("_close", "_count", "_gain", "_loss")

    def __init__(self, period: int) -> None:
        self._period = period
        self._close: float | None = None
        self._count = 0  # changes seen, up to the period: until then gain and loss are sums, then means
        self._gain = 0.0
        self._loss = 0.0

    def step(self, candle: Candle, commit: bool) -> Values:
        close, before, period, count = candle.close, self._close, self._period, self._count
        gain, loss = self._gain, self._loss
        if before is not None:
            change = close - before
            up, down = (change, 0.0) if change > 0.0 else (0.0, -change)
            if count == period:
                gain += (up - gain) / period
                loss += (down - loss) / period
            else:
                count += 1
                gain, loss = gain + up, loss + down
                if count == period:
                    gain, loss = gain / period, loss / period
        if commit:
            self._close, self._count, self._gain, self._loss = close, count, gain, loss
        if count < period:
            return _UNKNOWN
        moved = gain + loss
        return (100.0 * gain / moved if moved > 0 else _NEUTRAL,)


class Macd(Formula):
    """Difference of two exponential means, its own exponential mean (signal) and their difference.

    Both means give their first value at the same candle, as in TA-Lib: the fast one starts later.
    """

    __slots__ = ("_fast", "_idle", "_signal", "_slow")
    STATE: ClassVar[tuple[str, ...]] = ("_fast", "_idle", "_signal", "_slow")

    def __init__(self, fast: int, slow: int, signal: int) -> None:
        self._fast = Exponential(fast)
        self._slow = Exponential(slow)
        self._signal = Exponential(signal)
        self._idle = slow - fast  # candles until the fast mean starts

    def step(self, candle: Candle, commit: bool) -> Values:
        slow = self._slow.step(candle.close, commit)
        if self._idle:
            self._idle -= commit
            return (None, None, None)
        fast = self._fast.step(candle.close, commit)
        if fast is None or slow is None:
            return (None, None, None)
        macd = fast - slow
        signal = self._signal.step(macd, commit)
        return (macd, signal, None if signal is None else macd - signal)


class Stochastic(Formula):
    """Place of the close within the range of the newest candles, 0..100, smoothed twice.

    A window without any range is neutral (50). With `j` there is a third line, 3K - 2D (KDJ).
    """

    __slots__ = ("_d", "_high", "_k", "_low", "_with_j")
    STATE: ClassVar[tuple[str, ...]] = ("_d", "_high", "_k", "_low")

    def __init__(self, period: int, k: Rolling, d: Rolling, with_j: bool = False) -> None:
        self._high = Highest(period)
        self._low = Highest(period)
        self._k = k
        self._d = d
        self._with_j = with_j

    def step(self, candle: Candle, commit: bool) -> Values:
        high = self._high.step(candle.high, commit)
        low = self._low.step(-candle.low, commit)  # negated: see Highest
        k = d = None
        if high is not None and low is not None:
            span = high + low
            k = self._k.step(100.0 * (candle.close + low) / span if span > 0 else _NEUTRAL, commit)
            d = None if k is None else self._d.step(k, commit)
        if not self._with_j:
            return (k, d)
        return (k, d, None if k is None or d is None else 3.0 * k - 2.0 * d)


def stochastic(period: int, k: int, d: int) -> Stochastic:
    """Slow stochastic with simple means."""
    return Stochastic(period, Mean(k), Mean(d))


def kdj(period: int, k: int, d: int) -> Stochastic:
    """KDJ: Wilder's smoothing, which for 3 is the usual 2/3 old + 1/3 new."""
    return Stochastic(period, wilder(k), wilder(d), with_j=True)


class Cci(Formula):
    """Commodity channel index: distance of the typical price from its mean in mean deviations.

    What lies above the mean is as far from it as what lies below, so the deviation is twice the upper part:
    of the window kept in order, a step reads the half above the mean. The window is fixed.
    """

    __slots__ = ("_at", "_ordered", "_ring", "_sum")
    STATE: ClassVar[tuple[str, ...]] = ("_at", "_ordered", "_ring", "_sum")

    def __init__(self, period: int) -> None:
        self._ring = [0.0] * period
        self._at = 0
        self._sum = 0.0
        self._ordered: list[float] = []  # the values seen of the ring, ascending

    def step(self, candle: Candle, commit: bool) -> Values:
        typical = (candle.high + candle.low + candle.close) / 3.0
        ring, at = self._ring, self._at
        ordered = self._ordered if commit else self._ordered.copy()
        period, oldest = len(ring), ring[at]
        total = self._sum + typical - oldest
        if oldest * OUTWEIGHED > total:
            total = fsum((*ring, typical, -oldest))
        if len(ordered) == period:
            del ordered[bisect_left(ordered, oldest)]
        insort(ordered, typical)
        if commit:
            ring[at] = typical
            self._at = at = (at + 1) % period
            self._sum = total if at else fsum(ring)
        if len(ordered) < period:
            return _UNKNOWN
        if ordered[0] == ordered[-1]:  # no rounding may make a deviation of a market that stands still
            return (0.0,)
        mean = total / period
        above = ordered[bisect_left(ordered, mean) :]
        deviation = 2.0 * (sum(above) - len(above) * mean)
        return ((typical - mean) * period / (_LAMBERT * deviation) if deviation > 0.0 else 0.0,)


class Roc(Formula):
    """Change of the close over `period` candles, in percent."""

    __slots__ = ("_lag",)
    STATE: ClassVar[tuple[str, ...]] = ("_lag",)

    def __init__(self, period: int) -> None:
        self._lag = Lag(period)

    def step(self, candle: Candle, commit: bool) -> Values:
        past = self._lag.step(candle.close, commit)
        return ((candle.close / past - 1.0) * 100.0 if past else None,)
