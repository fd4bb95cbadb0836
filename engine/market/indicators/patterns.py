"""Candlestick patterns as TA-Lib finds them, on a fixed window of candles. Needs the extra `patterns`."""

from __future__ import annotations

from collections import deque
from importlib import import_module
from typing import Any, ClassVar, Final

from engine.config.patterns import PATTERNS
from engine.core.errors import ConfigError
from engine.core.market import Candle
from engine.market.indicators.study import Formula, Values

# The longest pattern looks back 14 candles; one that is confirmed later (hikkake) a few more.
_WINDOW: Final = 32
_FULL: Final = 100.0  # TA-Lib says 100 for a pattern, 200 for a confirmed one, negative for a bearish one


class Pattern(Formula):
    """+1 where the newest candle completes a bullish pattern, -1 a bearish one, 0 none; ±2 is confirmed.

    Known from a full window on.
    """

    __slots__ = ("_array", "_close", "_find", "_high", "_low", "_open")
    STATE: ClassVar[tuple[str, ...]] = ("_close", "_high", "_low", "_open")

    def __init__(self, kind: str) -> None:
        try:
            talib, numpy = import_module("talib"), import_module("numpy")
        except ImportError as error:
            raise ConfigError(f"{kind} needs TA-Lib: pip install 'edgewise[patterns]'") from error
        self._find: Any = getattr(talib, PATTERNS[kind])
        self._array: Any = numpy.array
        self._open: deque[float] = deque(maxlen=_WINDOW)
        self._high: deque[float] = deque(maxlen=_WINDOW)
        self._low: deque[float] = deque(maxlen=_WINDOW)
        self._close: deque[float] = deque(maxlen=_WINDOW)

    def step(self, candle: Candle, commit: bool) -> Values:
        windows = [self._open, self._high, self._low, self._close]
        if not commit:
            windows = [window.copy() for window in windows]
        for window, price in zip(windows, (candle.open, candle.high, candle.low, candle.close), strict=True):
            window.append(price)
        if len(windows[0]) < _WINDOW:
            return (None,)
        return (float(self._find(*map(self._array, windows))[-1]) / _FULL,)
