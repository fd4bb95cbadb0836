"""One symbol on one timeframe: its candles in order, their indicators, and what is derived from both."""

from __future__ import annotations

from collections import deque
from typing import ClassVar, Final

from engine.config.market import MarketConfig
from engine.core.market import Candle
from engine.core.signals import TimeframeView
from engine.market.candles import CandleSeries
from engine.market.indicators.catalog import build
from engine.market.indicators.rolling import Mean
from engine.market.indicators.volatility import VolumeRatio

_TREND_PERIOD: Final = 20  # candles; the trend is the side of their mean on which the close is
_VOLUME_PERIOD: Final = 20


class Frame:
    """Features of the closed candles. `previous` are those of the candle before the newest."""

    __slots__ = (
        "_config",
        "_mean",
        "_names",
        "_view",
        "_volume",
        "closes",
        "features",
        "previous",
        "series",
        "studies",
        "trend",
        "volume_ratio",
    )
    STATE: ClassVar[tuple[str, ...]] = (
        "_mean",
        "_volume",
        "closes",
        "features",
        "previous",
        "series",
        "studies",
        "trend",
        "volume_ratio",
    )

    def __init__(self, symbol: str, timeframe: str, config: MarketConfig) -> None:
        self._config = config
        self._names = config.candle_features()  # close, volume, then those of the studies in order
        self.series = CandleSeries(symbol, timeframe)
        self.reset()

    def reset(self) -> None:
        """Forget all but the order of the candles."""
        self.studies = [build(text) for text in self._config.indicators]
        self.features: dict[str, float | None] = dict.fromkeys(self._names)
        self.previous: dict[str, float | None] = {}
        self.closes: deque[float] = deque(maxlen=self._config.closes)
        self.trend = 0
        self.volume_ratio: float | None = None
        self._mean = Mean(_TREND_PERIOD)
        self._volume = VolumeRatio(_VOLUME_PERIOD)
        self._view: TimeframeView | None = None

    @property
    def timeframe(self) -> str:
        return self.series.timeframe

    @property
    def ts_close(self) -> int | None:
        """End of the newest closed candle."""
        last = self.series.last_open
        return None if last is None else last + self.series.step_ns

    def absorb(self, candle: Candle) -> None:
        """Take in the next closed candle."""
        values: list[float | None] = [candle.close, candle.volume]
        for study in self.studies:
            line = study.values = study.formula.step(candle, True)
            values += line
        self.previous, self.features = self.features, dict(zip(self._names, values, strict=True))
        self.closes.append(candle.close)
        mean = self._mean.step(candle.close, True)
        self.trend = 0 if mean is None else (candle.close > mean) - (candle.close < mean)
        (self.volume_ratio,) = self._volume.step(candle, True)
        self._view = None

    def forming(self, candle: Candle) -> dict[str, float | None]:
        """Features as if the forming candle were closed; changes nothing."""
        values: list[float | None] = [candle.close, candle.volume]
        for study in self.studies:
            values += study.peek(candle)
        return dict(zip(self._names, values, strict=True))

    def view(self) -> TimeframeView | None:
        """What a trader sees of it; None before the first closed candle."""
        ts_close = self.ts_close
        if ts_close is None:
            return None
        if self._view is None:
            self._view = TimeframeView(
                timeframe=self.timeframe,
                ts_close=ts_close,
                closes=tuple(self.closes),
                features=dict(self.features),
            )
        return self._view
