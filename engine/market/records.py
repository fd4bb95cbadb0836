"""What the parts of the pipeline hand to each other.

These stay out of the modules that are compiled: mypyc leaves out the keywords of a class, `frozen` too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from engine.core.market import Candle
from engine.core.signals import Edge
from engine.core.times import timeframe_ns

_MARGIN: Final = 5


class Gap(msgspec.Struct, frozen=True):
    """Closed candles that were never seen: those that open from `ts_from` to before `ts_to`.

    `ts_newest` is the open of the newest candle that waits behind the gap.
    """

    symbol: str
    timeframe: str
    ts_from: int
    ts_to: int
    ts_newest: int

    @property
    def reach(self) -> int:
        """How many of the newest candles to fetch to cover the gap, with some that close meanwhile."""
        return (self.ts_newest - self.ts_from) // timeframe_ns(self.timeframe) + _MARGIN


class Reading(msgspec.Struct, frozen=True, gc=False):
    """What a detector looks at: the value, the marks it is held against, and when.

    For a cross `upper` is what the value crosses; for a breakout `upper`, `lower` and `release` are the
    channel of the candle before.
    """

    value: float | None
    ts: int
    upper: float | None = None
    lower: float | None = None
    release: float | None = None
    price: float | None = None


class Crossing(msgspec.Struct, frozen=True, gc=False):
    """One edge. `distance` is how far beyond the threshold in units of the feature's volatility."""

    edge: Edge
    value: float
    threshold: float
    release: float
    distance: float | None
    direction: int  # +1 up, -1 down, 0 back inside
    ts: int


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the score is made of. Everything but the edge and the age may be unknown (None)."""

    edge: Edge
    age_s: float
    distance: float | None  # deviations, not negative
    earlier: float  # decayed count of earlier edges
    volume_ratio: float | None
    agreement: float | None  # -1..1


class ClosedCandle(msgspec.Struct, frozen=True):
    """A final candle with the features as of its close; None where the warm-up is not over."""

    candle: Candle
    features: Mapping[str, float | None]
