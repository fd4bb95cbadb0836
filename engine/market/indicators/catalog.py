"""From the name in the configuration to the indicator."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from engine.config.market import IndicatorSpec, parse_indicator
from engine.config.patterns import PATTERNS
from engine.core.errors import ConfigError
from engine.market.indicators import averages, oscillators, trend, volatility
from engine.market.indicators.patterns import Pattern
from engine.market.indicators.rolling import Exponential, Mean, Weighted
from engine.market.indicators.study import Formula, Study

_FORMULAS: Final[dict[str, Callable[..., Formula]]] = {
    "sma": lambda period: averages.OnClose(Mean(period)),
    "ema": lambda period: averages.OnClose(Exponential(period)),
    "wma": lambda period: averages.OnClose(Weighted(period)),
    "bbi": averages.Bbi,
    "vwap": averages.Vwap,
    "rsi": oscillators.Rsi,
    "macd": oscillators.Macd,
    "kdj": oscillators.kdj,
    "stoch": oscillators.stochastic,
    "cci": oscillators.Cci,
    "roc": oscillators.Roc,
    "adx": trend.Adx,
    "supertrend": trend.Supertrend,
    "atr": trend.Atr,
    "bb": volatility.Bollinger,
    "donchian": volatility.Donchian,
    "realised_vol": volatility.RealisedVolatility,
    "zscore": volatility.ZScore,
    "return_z": volatility.ReturnZ,
    "obv": volatility.Obv,
    "volume_ratio": volatility.VolumeRatio,
    **{name: partial(Pattern, name) for name in PATTERNS},
}


def build(spec: IndicatorSpec | str) -> Study:
    """A fresh indicator. Raises ConfigError for what is none (see engine.config.market.parse_indicator)."""
    try:
        spec = parse_indicator(spec) if isinstance(spec, str) else spec
    except ValueError as error:
        raise ConfigError(f"indicators: {error}") from error
    numbers = (int(value) if value == int(value) else value for value in spec.parameters)
    return Study(spec.outputs, _FORMULAS[spec.kind](*numbers))
