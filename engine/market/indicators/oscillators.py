"""Momentum: how fast and how far the price went."""

from __future__ import annotations

from collections import deque
from typing import ClassVar, Final

from engine.core.market import Candle
from engine.market.indicators.rolling import Exponential, Highest, Lag, Mean, Rolling, wilder
from engine.market.indicators.study import Values

_LAMBERT: Final = 0.015  # scales CCI so that most values lie within ±100
_NEUTRAL: Final = 50.0


class Rsi:
    """Relative strength index 0..100 of Wilder.

    A market that never moved is neutral here (50); TA-Lib says 0, which reads as oversold.
    """

    __slots__ = ("_close", "_gain", "_loss")
    STATE: ClassVar[tuple[str, ...]] = ("_close", "_gain", "_loss")

    def __init__(self, period: int) -> None:
        self._close: float | None = None
        self._gain = wilder(period)
        self._loss = wilder(period)

    def step(self, candle: Candle, commit: bool) -> Values:
        close, before = candle.close, self._close
        if commit:
            self._close = close
        if before is None:
            return (None,)
        change = close - before
        gain = self._gain.step(change if change > 0 else 0.0, commit)
        loss = self._loss.step(-change if change < 0 else 0.0, commit)
        if gain is None or loss is None:
            return (None,)
        moved = gain + loss
        return (100.0 * gain / moved if moved > 0 else _NEUTRAL,)


class Macd:
    """Difference of two exponential means, its own exponential mean (signal) and their difference.

    Both means give their first value at the same candle, as in TA-Lib: the fast one starts later.
    """

    __slots__ = ("_fast", "_idle", "_signal", "_slow")
    STATE: ClassVar[tuple[str, ...]] = ("_fast", "_idle", "_signal", "_slow")

    def __init__(self, fast: int, slow: int, signal: int) -> None:
        if fast >= slow:
            raise ValueError("the fast period of macd is below the slow one")
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


class Stochastic:
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


class Cci:
    """Commodity channel index: distance of the typical price from its mean in mean deviations.

    The mean deviation has no O(1) form: a step costs one pass over the fixed window.
    """

    __slots__ = ("_window",)
    STATE: ClassVar[tuple[str, ...]] = ("_window",)

    def __init__(self, period: int) -> None:
        self._window: deque[float] = deque(maxlen=period)

    def step(self, candle: Candle, commit: bool) -> Values:
        typical = (candle.high + candle.low + candle.close) / 3.0
        window = self._window if commit else self._window.copy()
        window.append(typical)
        size = len(window)
        if size != window.maxlen:
            return (None,)
        mean = sum(window) / size
        deviation = sum(abs(value - mean) for value in window) / size
        return ((typical - mean) / (_LAMBERT * deviation) if deviation > 0 else 0.0,)


class Roc:
    """Change of the close over `period` candles, in percent."""

    __slots__ = ("_lag",)
    STATE: ClassVar[tuple[str, ...]] = ("_lag",)

    def __init__(self, period: int) -> None:
        self._lag = Lag(period)

    def step(self, candle: Candle, commit: bool) -> Values:
        past = self._lag.step(candle.close, commit)
        return ((candle.close / past - 1.0) * 100.0 if past else None,)
