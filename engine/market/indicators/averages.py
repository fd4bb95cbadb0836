"""Averages of the price."""

from __future__ import annotations

from typing import ClassVar

from engine.core.market import Candle
from engine.core.times import NS_PER_DAY
from engine.market.indicators.rolling import Mean, Rolling
from engine.market.indicators.study import Formula, Values


class OnClose(Formula):
    """A rolling number of the close: SMA, EMA, WMA."""

    __slots__ = ("_rolling",)
    STATE: ClassVar[tuple[str, ...]] = ("_rolling",)

    def __init__(self, rolling: Rolling) -> None:
        self._rolling = rolling

    def step(self, candle: Candle, commit: bool) -> Values:
        return (self._rolling.step(candle.close, commit),)


class Bbi(Formula):
    """Bull and bear index: the mean of four simple means of the close."""

    __slots__ = ("_means",)
    STATE: ClassVar[tuple[str, ...]] = ("_means",)

    def __init__(self, *periods: int) -> None:
        self._means = tuple(Mean(period) for period in periods)

    def step(self, candle: Candle, commit: bool) -> Values:
        total = 0.0
        ready = True
        for mean in self._means:
            value = mean.step(candle.close, commit)
            if value is None:
                ready = False
            else:
                total += value
        return (total / len(self._means) if ready else None,)


class Vwap(Formula):
    """Volume weighted mean of the typical price since midnight UTC.

    None before the day's first trade, and until a midnight was seen: that of half a day is another number.
    """

    __slots__ = ("_day", "_money", "_volume", "_whole")
    STATE: ClassVar[tuple[str, ...]] = ("_day", "_money", "_volume", "_whole")

    def __init__(self) -> None:
        self._day = -1
        self._whole = False  # whether the day was seen from its midnight
        self._money = 0.0
        self._volume = 0.0

    def step(self, candle: Candle, commit: bool) -> Values:
        day, since_ns = divmod(candle.ts_open, NS_PER_DAY)
        whole, money, volume = self._whole, self._money, self._volume
        if day != self._day:
            whole, money, volume = since_ns == 0 or self._day >= 0, 0.0, 0.0
        money += (candle.high + candle.low + candle.close) / 3.0 * candle.volume
        volume += candle.volume
        if commit:
            self._day, self._whole, self._money, self._volume = day, whole, money, volume
        return (money / volume if whole and volume > 0 else None,)
