"""Rules of the detectors as written in `market.yaml`, one struct a kind, and the default set."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from engine.config.loader import Duration
from engine.core.instruments import venue_symbol

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,48}$")]
NotNegative = Annotated[float, Meta(ge=0)]


class DetectorRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every rule says: the feature it watches, where, and for which symbols (none named: all).

    `timeframe` "" is the live stream. After a change of state nothing follows for `min_hold`.
    `directional` says that up is bullish, so that other timeframes can agree with it.
    """

    name: Name
    feature: str
    timeframe: str = ""
    symbols: tuple[str, ...] = ()
    min_hold: Duration = Duration(0)
    directional: bool = True

    def features(self) -> tuple[str, ...]:
        """Names of all features that the rule reads."""
        return (self.feature,)

    def watches(self, symbol: str) -> bool:
        """Whether the rule is for this symbol, given by its venue id."""
        return not self.symbols or symbol in map(venue_symbol, self.symbols)


class ThresholdRule(DetectorRule, frozen=True, kw_only=True, tag="threshold"):
    """UP at `upper`, over again at `upper_release`; DOWN at `lower`, over again at `lower_release`."""

    upper: float | None = None
    upper_release: float | None = None
    lower: float | None = None
    lower_release: float | None = None

    def __post_init__(self) -> None:
        if self.upper is None and self.lower is None:
            raise ValueError("a threshold needs upper or lower")
        pairs = ((self.upper, self.upper_release), (self.lower, self.lower_release))
        if any((enter is None) != (leave is None) for enter, leave in pairs):
            raise ValueError("upper comes with upper_release, lower with lower_release")
        upper, upper_release = pairs[0]
        lower, lower_release = pairs[1]
        if upper is not None and upper_release is not None and upper_release >= upper:
            raise ValueError("upper_release must be below upper")
        if lower is not None and lower_release is not None and lower_release <= lower:
            raise ValueError("lower_release must be above lower")
        if upper is not None and lower is not None and lower >= upper:
            raise ValueError("lower must be below upper")


class SpikeRule(DetectorRule, frozen=True, kw_only=True, tag="spike"):
    """SPIKE when the feature is `threshold` or more away from 0, over again within `release`."""

    threshold: Annotated[float, Meta(gt=0)]
    release: NotNegative

    def __post_init__(self) -> None:
        if self.release >= self.threshold:
            raise ValueError("release must be below threshold")


class CrossRule(DetectorRule, frozen=True, kw_only=True, tag="cross"):
    """UP when the feature crosses above `against` (a number or a feature), DOWN when below.

    It has crossed when it is further away than the dead band, in the feature's unit or in bps of the price.
    """

    against: float | str = 0.0
    dead_band: NotNegative = 0.0
    dead_band_bps: NotNegative = 0.0

    def features(self) -> tuple[str, ...]:
        return (self.feature, self.against) if isinstance(self.against, str) else (self.feature,)


class BreakoutRule(DetectorRule, frozen=True, kw_only=True, tag="breakout"):
    """UP above the channel, DOWN below it, over again when back at its middle.

    `upper`, `lower` and `release` are features; their values of the candle before count, since a
    channel that holds the candle itself is never left.
    """

    upper: str
    lower: str
    release: str

    def __post_init__(self) -> None:
        if not self.timeframe:
            raise ValueError("a breakout needs a timeframe")

    def features(self) -> tuple[str, ...]:
        return (self.feature, self.upper, self.lower, self.release)


Rule = ThresholdRule | SpikeRule | CrossRule | BreakoutRule


def default_detectors() -> tuple[Rule, ...]:
    """The set of `etc/market.yaml`, where each rule says what it is for and how often it fires."""
    return (*_moves(), *_turns(), *_conditions())


def _moves() -> tuple[Rule, ...]:
    """What the price did: jumps, extremes, breakouts."""
    return (
        SpikeRule(name="move_1m", feature="change_z_1m", threshold=5.0, release=2.0, min_hold=Duration(120)),
        SpikeRule(
            name="move_15m", feature="change_pct_15m", threshold=1.5, release=0.75, min_hold=Duration(300)
        ),
        ThresholdRule(
            name="rsi_1m",
            feature="rsi_14",
            timeframe="1m",
            upper=75.0,
            upper_release=60.0,
            lower=25.0,
            lower_release=40.0,
        ),
        ThresholdRule(
            name="rsi_5m",
            feature="rsi_14",
            timeframe="5m",
            upper=70.0,
            upper_release=60.0,
            lower=30.0,
            lower_release=40.0,
        ),
        BreakoutRule(
            name="breakout_15m",
            feature="close",
            timeframe="15m",
            upper="donchian_upper_20",
            lower="donchian_lower_20",
            release="donchian_middle_20",
        ),
    )


def _turns() -> tuple[Rule, ...]:
    """Where averages cross."""
    return (
        CrossRule(name="macd_1m", feature="macd_hist", timeframe="1m", dead_band_bps=0.2),
        CrossRule(name="macd_15m", feature="macd_hist", timeframe="15m", dead_band_bps=1.0),
        CrossRule(name="ema_15m", feature="ema_12", against="ema_26", timeframe="15m", dead_band_bps=2.0),
    )


def _conditions() -> tuple[Rule, ...]:
    """What the market is like, whichever way it goes."""
    return (
        ThresholdRule(
            name="volume_5m",
            feature="volume_ratio_20",
            timeframe="5m",
            upper=4.0,
            upper_release=2.0,
            min_hold=Duration(900),
            directional=False,
        ),
        ThresholdRule(
            name="funding",
            feature="funding_rate",
            upper=0.0005,
            upper_release=0.0003,
            lower=-0.0005,
            lower_release=-0.0003,
            directional=False,
        ),
        ThresholdRule(
            name="basis",
            feature="basis_bps",
            upper=15.0,
            upper_release=8.0,
            lower=-15.0,
            lower_release=-8.0,
            min_hold=Duration(60),
            directional=False,
        ),
        SpikeRule(
            name="open_interest_15m",
            feature="oi_change_pct_15m",
            threshold=3.0,
            release=1.5,
            min_hold=Duration(300),
            directional=False,
        ),
        ThresholdRule(
            name="spread",
            feature="spread_bps",
            upper=5.0,
            upper_release=3.0,
            min_hold=Duration(30),
            directional=False,
        ),
    )
