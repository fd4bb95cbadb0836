"""Whole histories of indicators at once, for research and backtests: arrays in, arrays out.

The same numbers as the streaming indicators, to 1e-9 of their size, and NaN where those say None. What TA-Lib
has is computed by it, in C (extra `patterns`); every other indicator is fed candle by candle. A market that
stands still is where TA-Lib means something else; see Rsi, which is corrected here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any, Final

from engine.config.market import IndicatorSpec, parse_indicator
from engine.core.errors import ConfigError
from engine.core.market import Candle
from engine.market.indicators.catalog import build

Array = Any  # numpy's float64 array; numpy comes with an extra and has no types without it
_NEUTRAL: Final = 50.0


class History:
    """Closed candles of one symbol and timeframe as columns; made once for many indicators."""

    def __init__(self, candles: Sequence[Candle]) -> None:
        try:
            self._talib, self._numpy = import_module("talib"), import_module("numpy")
        except ImportError as error:
            raise ConfigError("histories need TA-Lib: pip install 'edgewise[patterns]'") from error
        column = self._numpy.array
        self.candles = candles
        self.high: Array = column([candle.high for candle in candles])
        self.low: Array = column([candle.low for candle in candles])
        self.close: Array = column([candle.close for candle in candles])
        self.volume: Array = column([candle.volume for candle in candles])

    def features(self, indicators: Iterable[str]) -> dict[str, Array]:
        """One array a feature, as long as the history. Raises ConfigError for what is no indicator."""
        found: dict[str, Array] = {}
        for text in indicators:
            try:
                spec = parse_indicator(text)
            except ValueError as error:
                raise ConfigError(f"indicators: {error}") from error
            whole = _WHOLE.get(spec.kind) if 1 not in spec.parameters else None  # which TA-Lib mostly refuses
            lines = self._streamed(text) if whole is None else whole(self, spec)
            found.update(zip(spec.outputs, lines, strict=True))
        return found

    def _streamed(self, text: str) -> Sequence[Array]:
        update = build(text).update
        rows = [update(candle) for candle in self.candles]
        # None becomes NaN.
        return tuple(self._numpy.array(rows, dtype=float).reshape(len(rows), -1).T)

    # -- what TA-Lib has; each gives the lines of the streaming indicator in its order

    def _sma(self, spec: IndicatorSpec) -> Sequence[Array]:
        return (self._talib.SMA(self.close, int(spec.parameters[0])),)

    def _ema(self, spec: IndicatorSpec) -> Sequence[Array]:
        return (self._talib.EMA(self.close, int(spec.parameters[0])),)

    def _wma(self, spec: IndicatorSpec) -> Sequence[Array]:
        return (self._talib.WMA(self.close, int(spec.parameters[0])),)

    def _rsi(self, spec: IndicatorSpec) -> Sequence[Array]:
        """Neutral until the price has moved for the first time, where TA-Lib says 0."""
        line = self._talib.RSI(self.close, int(spec.parameters[0]))
        moved = self.close != self.close[:1]
        first = int(moved.argmax()) if moved.any() else len(moved)
        still = line[:first]
        still[still == 0.0] = _NEUTRAL
        return (line,)

    def _macd(self, spec: IndicatorSpec) -> Sequence[Array]:
        """TA-Lib keeps the first line back until there is a signal; here it is told at once."""
        fast, slow, signal = (int(number) for number in spec.parameters)
        ema, numpy = self._talib.EMA, self._numpy
        if len(self.close) < slow:
            unknown = numpy.full(len(self.close), numpy.nan)
            return unknown, unknown, unknown
        macd = numpy.full(len(self.close), numpy.nan)
        macd[slow - fast :] = ema(self.close[slow - fast :], fast)
        macd -= ema(self.close, slow)
        smooth = numpy.full(len(self.close), numpy.nan)
        smooth[slow - 1 :] = ema(macd[slow - 1 :], signal)
        return macd, smooth, macd - smooth

    def _atr(self, spec: IndicatorSpec) -> Sequence[Array]:
        return (self._talib.ATR(self.high, self.low, self.close, int(spec.parameters[0])),)

    def _adx(self, spec: IndicatorSpec) -> Sequence[Array]:
        period, columns = int(spec.parameters[0]), (self.high, self.low, self.close)
        functions = (self._talib.ADX, self._talib.PLUS_DI, self._talib.MINUS_DI)
        return tuple(function(*columns, period) for function in functions)

    def _bb(self, spec: IndicatorSpec) -> Sequence[Array]:
        """A band of no height has no place in it: NaN."""
        period, width = int(spec.parameters[0]), spec.parameters[1]
        upper, middle, lower = self._talib.BBANDS(self.close, period, width, width)
        height = upper - lower
        with self._numpy.errstate(divide="ignore", invalid="ignore"):
            place = self._numpy.where(height > 0.0, (self.close - lower) / height, self._numpy.nan)
            return upper, middle, lower, height / middle, place

    def _cci(self, spec: IndicatorSpec) -> Sequence[Array]:
        return (self._talib.CCI(self.high, self.low, self.close, int(spec.parameters[0])),)

    def _roc(self, spec: IndicatorSpec) -> Sequence[Array]:
        return (self._talib.ROC(self.close, int(spec.parameters[0])),)

    def _obv(self, spec: IndicatorSpec) -> Sequence[Array]:
        return (self._talib.OBV(self.close, self.volume),)


_WHOLE: Final[dict[str, Callable[[History, IndicatorSpec], Sequence[Array]]]] = {
    "sma": History._sma,
    "ema": History._ema,
    "wma": History._wma,
    "rsi": History._rsi,
    "macd": History._macd,
    "atr": History._atr,
    "adx": History._adx,
    "bb": History._bb,
    "cci": History._cci,
    "roc": History._roc,
    "obv": History._obv,
}
