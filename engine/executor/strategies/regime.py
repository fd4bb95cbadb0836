"""Which kind of market it is, by trend strength and by how far the bands stand apart."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from engine.core.signals import MarketSnapshot
from engine.executor.strategies.rule import known


class Regime(StrEnum):
    TREND = "trend"  # strong and wide
    RANGE = "range"  # without a trend, with room between the bands
    BREAKOUT = "breakout"  # a trend begins in narrow bands
    QUIET = "quiet"  # neither: nothing moves far enough to pay for its fees


class RegimeDetector(msgspec.Struct, frozen=True, kw_only=True):
    """ADX at or above `adx_threshold` is a trend; a band width at or above `bb_width_threshold` is room.

    Band width is the distance of the Bollinger bands over their middle (0.01 is one percent). Both defaults
    are ours: no source names values.
    """

    timeframe: str = "5m"
    adx_threshold: float = 25.0
    bb_width_threshold: float = 0.006

    def __post_init__(self) -> None:
        if self.adx_threshold <= 0 or self.bb_width_threshold <= 0:
            raise ValueError("adx_threshold and bb_width_threshold must be above 0")

    def regime(self, snapshot: MarketSnapshot) -> Regime | None:
        """The regime at the newest closed candle; None while it is not known."""
        view = snapshot.view(self.timeframe)
        names = ("adx_14", "bb_upper_20", "bb_lower_20", "bb_middle_20")
        values = known(view.features, *names) if view else None
        if values is None or values[3] <= 0:
            return None
        adx, upper, lower, middle = values
        wide = (upper - lower) / middle >= self.bb_width_threshold
        if adx >= self.adx_threshold:
            return Regime.TREND if wide else Regime.BREAKOUT
        return Regime.RANGE if wide else Regime.QUIET
