"""`market.yaml`: what is watched, which features are computed, and which of their moves are signals.

The defaults are those of `etc/market.yaml`, where each is explained. nof0's two keys (`default`,
`providers`) are kept, so that its file loads unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from engine.config.loader import Duration, nearest
from engine.config.market_rules import (
    DetectorRule,
    Name,
    Rule,
    default_detectors,
)
from engine.config.market_sources import NewsConfig, ReferenceConfig
from engine.config.patterns import PATTERNS
from engine.config.values import Misplaced
from engine.core.errors import ConfigError
from engine.core.instruments import venue_symbol
from engine.core.times import timeframe_ns

_T = TypeVar("_T")
_R = TypeVar("_R")
Timeframe = Literal["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "1d"]
Weight = Annotated[float, Meta(ge=0, le=100)]
Fraction = Annotated[float, Meta(ge=0, le=1)]

_PRICE_FEATURES: Final = ("close", "volume")  # of the newest closed candle, always there
_SPEC = re.compile(r"([a-z][a-z_]*?)((?:_\d+(?:\.\d+)?)*)")
_STREAM_SPEC = re.compile(r"([a-z][a-z_]*?)(?:_(\d+(?:s|m|h)?))?")
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600}

# kind → (default parameters, features it gives)
INDICATORS: Final[dict[str, tuple[tuple[float, ...], tuple[str, ...]]]] = {
    "sma": ((20,), ("sma",)),
    "ema": ((20,), ("ema",)),
    "wma": ((20,), ("wma",)),
    "bbi": ((3, 6, 12, 24), ("bbi",)),
    "vwap": ((), ("vwap",)),
    "rsi": ((14,), ("rsi",)),
    "macd": ((12, 26, 9), ("macd", "macd_signal", "macd_hist")),
    "kdj": ((9, 3, 3), ("kdj_k", "kdj_d", "kdj_j")),
    "stoch": ((14, 3, 3), ("stoch_k", "stoch_d")),
    "cci": ((20,), ("cci",)),
    "roc": ((10,), ("roc",)),
    "adx": ((14,), ("adx", "plus_di", "minus_di")),
    "supertrend": ((10, 3), ("supertrend", "supertrend_dir")),
    "atr": ((14,), ("atr",)),
    "bb": ((20, 2), ("bb_upper", "bb_middle", "bb_lower", "bb_width", "bb_pct")),
    "donchian": ((20,), ("donchian_upper", "donchian_middle", "donchian_lower")),
    "realised_vol": ((20,), ("realised_vol",)),
    "zscore": ((20,), ("zscore",)),
    "return_z": ((60,), ("return_z",)),
    "obv": ((), ("obv",)),
    "volume_ratio": ((20,), ("volume_ratio",)),
    **{name: ((), (name,)) for name in PATTERNS},
}
_MULTIPLIED: Final = frozenset({"bb", "supertrend"})  # whose last number is a factor, not a period
_LONGEST_PERIOD: Final = 2000  # candles; no warm-up fetches more
_BOOK_LEVELS: Final = 5  # that a feed tells
# kind → what its suffix is
STREAM_FEATURES: Final[dict[str, Literal["", "levels", "window"]]] = {
    "spread_bps": "",
    "basis_bps": "",
    "funding_rate": "",
    "book_imbalance": "levels",
    "trade_flow": "window",
    "oi_change_pct": "window",
    "change_pct": "window",
    "change_z": "window",
}


class IndicatorSpec(msgspec.Struct, frozen=True):
    """One indicator as written in the file: `bb_20_2.5` is kind `bb` with 20 and 2.5.

    `outputs` are the names of its features: the kind's, with what was written after the kind.
    """

    kind: str
    parameters: tuple[float, ...]
    outputs: tuple[str, ...]


class StreamSpec(msgspec.Struct, frozen=True):
    """One feature of the live stream: `change_pct_5m`. `window_s` and `levels` are 0 where it has none."""

    kind: str
    name: str
    window_s: int = 0
    levels: int = 0


def parse_indicator(text: str) -> IndicatorSpec:
    """Raises ValueError, with the nearest spelling, for what is no indicator of INDICATORS."""
    match = _SPEC.fullmatch(text)
    if match is None or match[1] not in INDICATORS:
        raise ValueError(f"no indicator {text!r}{nearest(match[1] if match else text, INDICATORS)}")
    defaults, outputs = INDICATORS[match[1]]
    given = tuple(float(part) for part in match[2].split("_")[1:])
    if len(given) > len(defaults):
        raise ValueError(f"{text!r}: {match[1]} takes at most {len(defaults)} numbers")
    parameters = given + defaults[len(given) :]
    _check_numbers(text, match[1], parameters)
    return IndicatorSpec(match[1], parameters, tuple(output + match[2] for output in outputs))


def _check_numbers(text: str, kind: str, numbers: tuple[float, ...]) -> None:
    if any(value <= 0 for value in numbers):
        raise ValueError(f"{text!r}: the numbers of an indicator are above 0")
    for value in numbers[:-1] if kind in _MULTIPLIED else numbers:
        if value != int(value):
            raise ValueError(f"{text!r}: {value:g} is no period, which is a whole number of candles")
        if value > _LONGEST_PERIOD:
            raise ValueError(f"{text!r}: a period is at most {_LONGEST_PERIOD} candles")
    if kind == "macd" and numbers[0] >= numbers[1]:
        raise ValueError(f"{text!r}: the fast period is below the slow one, as in macd_12_26_9")
    if kind == "realised_vol" and numbers[0] == 1:
        raise ValueError(f"{text!r}: at least 2 returns are needed for a deviation")


def parse_stream(text: str) -> StreamSpec:
    """Raises ValueError, with the nearest spelling, for what is no feature of STREAM_FEATURES."""
    match = _STREAM_SPEC.fullmatch(text)
    if match is None or match[1] not in STREAM_FEATURES:
        raise ValueError(f"no stream feature {text!r}{nearest(match[1] if match else text, STREAM_FEATURES)}")
    kind, suffix = match[1], match[2] or ""
    wants = STREAM_FEATURES[kind]
    if wants == "window":
        if not suffix or suffix[-1] not in _UNIT_S or int(suffix[:-1]) == 0:
            raise ValueError(f"{text!r} needs a window, as in {kind}_5m")
        return StreamSpec(kind, text, window_s=int(suffix[:-1]) * _UNIT_S[suffix[-1]])
    if wants == "levels":
        if suffix and (not suffix.isdigit() or int(suffix) == 0):
            raise ValueError(f"{text!r}: the number of book levels is expected, as in {kind}_5")
        if (levels := int(suffix or _BOOK_LEVELS)) > _BOOK_LEVELS:
            raise ValueError(f"{text!r}: at most {_BOOK_LEVELS} levels of the book are followed")
        return StreamSpec(kind, text, levels=levels)
    if suffix:
        raise ValueError(f"{kind} takes no number")
    return StreamSpec(kind, text)


class ScorerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Weights of the salience (see engine.market.scorer for the formula)."""

    distance: Weight = 0.35
    rarity: Weight = 0.25
    volume: Weight = 0.15
    agreement: Weight = 0.25
    recovered: Fraction = 0.4  # a RECOVERED edge counts this much of any other
    rarity_half_life: Duration = Duration(4 * 3600)  # how fast earlier edges of a detector are forgotten
    freshness: Duration = Duration(60)  # an edge this old counts 1/e of a new one

    def __post_init__(self) -> None:
        if self.distance + self.rarity + self.volume + self.agreement <= 0:
            raise ValueError("one of distance, rarity, volume, agreement must be above 0")
        if min(self.rarity_half_life, self.freshness) <= 0:
            raise ValueError("rarity_half_life and freshness must be above 0")


class MarketProvider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A source of market data in nof0's file."""

    type: str
    testnet: bool = False
    base_url: str = ""
    timeout: Duration = Duration(8)
    http_timeout: Duration = Duration(10)
    max_retries: Annotated[int, Meta(ge=0)] = 3


def _symbol(text: str) -> str:
    """The venue id of any spelling. Raises ValueError, to which the loader adds the place."""
    try:
        return venue_symbol(text)
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _each(key: str, items: Iterable[_T], check: Callable[[_T], _R]) -> tuple[_R, ...]:
    """What `check` makes of each item. Raises Misplaced, with the item's place, for its ValueError."""
    found = []
    for number, item in enumerate(items):
        try:
            found.append(check(item))
        except ValueError as error:
            raise Misplaced((key, number), str(error)) from error
    return tuple(found)


class MarketConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file. Timeframes are multiples of the first, the base, from which they are made."""

    default: str = ""
    providers: dict[Name, MarketProvider] = {}
    symbols: Annotated[tuple[str, ...], Meta(min_length=1)] = tuple(
        f"{coin}-USDT-SWAP"
        for coin in ("BTC", "ETH", "SOL", "DOGE", "XRP", "ADA", "AVAX", "DOT", "POL", "LTC")
    )
    timeframes: Annotated[tuple[Timeframe, ...], Meta(min_length=1)] = ("1m", "5m", "15m")
    candles: Literal["venue", "trades"] = "venue"
    aggregate: bool = True
    trade_grace: Duration = Duration(2)
    warm_up: Annotated[int, Meta(ge=50, le=2000)] = 300
    keep_every: Duration = Duration(60)
    forming: bool = False
    closes: Annotated[int, Meta(ge=1, le=20)] = 20
    indicators: tuple[str, ...] = (
        "ema_12",
        "ema_26",
        "ema_50",
        "rsi_14",
        "macd",
        "atr_14",
        "bb_20",
        "adx_14",
        "donchian_20",
        "volume_ratio_20",
        "realised_vol_20",
    )
    stream: tuple[str, ...] = (
        "spread_bps",
        "book_imbalance_5",
        "trade_flow_1m",
        "oi_change_pct_15m",
        "basis_bps",
        "funding_rate",
        "change_pct_1m",
        "change_pct_5m",
        "change_pct_15m",
        "change_z_1m",
    )
    max_age: Duration = Duration(60)  # a live feature whose source is older is unknown
    detectors: tuple[Rule, ...] = msgspec.field(default_factory=default_detectors)
    scorer: ScorerConfig = ScorerConfig()
    reference: ReferenceConfig = ReferenceConfig()
    news: NewsConfig = NewsConfig()
    snapshots_per_s: Annotated[float, Meta(gt=0, le=4)] = 4.0  # per symbol, real time

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "symbols", _each("symbols", self.symbols, _symbol))
        for names, what in ((self.symbols, "symbols"), (self.timeframes, "timeframes")):
            if len(set(names)) != len(names):
                raise Misplaced((what,), "one stands twice")
        steps = [timeframe_ns(timeframe) for timeframe in self.timeframes]
        if any(a >= b for a, b in pairwise(steps)) or any(step % steps[0] for step in steps):
            raise Misplaced(("timeframes",), "from short to long, each a multiple of the first")
        if self.provider() is None and self.default:
            known = nearest(self.default, self.providers)
            raise Misplaced(("default",), f"no provider {self.default!r}{known}")
        if self.max_age <= 0:
            raise Misplaced(("max_age",), "must be above 0")
        if 0 < self.keep_every < 1:
            raise Misplaced(("keep_every",), "at least 1s, or 0s for never")
        for number, source in enumerate(self.news.sources):
            if unknown := [name for name in source.symbols if not self._has(name)]:
                hint = nearest(unknown[0], self.symbols)
                raise Misplaced(("news", "sources", number), f"{unknown[0]!r} is not in `symbols`{hint}")
        self._check_detectors()

    def _has(self, text: str) -> bool:
        try:
            return venue_symbol(text) in self.symbols
        except ConfigError:
            return False

    def provider(self) -> MarketProvider | None:
        """The default provider of nof0's file, None when the file names none."""
        return self.providers.get(self.default)

    def candle_features(self) -> tuple[str, ...]:
        """Every feature that a timeframe has."""
        outputs = [name for text in self.indicators for name in parse_indicator(text).outputs]
        return (*_PRICE_FEATURES, *outputs)

    def _check_detectors(self) -> None:
        _each("indicators", self.indicators, parse_indicator)
        candle = self.candle_features()
        live = tuple(spec.name for spec in _each("stream", self.stream, parse_stream))
        for names, what in ((candle, "indicators"), (live, "stream")):
            if len(set(names)) != len(names):
                raise Misplaced((what,), "two give the same feature")
        labels = [rule.name for rule in self.detectors]
        if len(set(labels)) != len(labels):
            raise Misplaced(("detectors",), "a name stands twice")
        try:
            _each(
                "detectors",
                self.detectors,
                lambda rule: self._check_rule(rule, candle if rule.timeframe else live),
            )
        except Misplaced as error:
            if self.detectors != default_detectors():
                raise
            hint = "it is one of the defaults, which are replaced by a list of `detectors`"
            raise Misplaced(error.path, f"{error}; {hint}") from error

    def _check_rule(self, rule: DetectorRule, known: tuple[str, ...]) -> None:
        if rule.timeframe and rule.timeframe not in self.timeframes:
            raise ValueError(f"detector {rule.name}: no timeframe {rule.timeframe!r} in `timeframes`")
        for name in rule.features():
            if name not in known:
                where = f"indicators of {rule.timeframe}" if rule.timeframe else "stream features"
                raise ValueError(f"detector {rule.name}: no {name!r} among the {where}{nearest(name, known)}")
        if unknown := [name for name in rule.symbols if not self._has(name)]:
            hint = nearest(unknown[0], self.symbols)
            raise ValueError(f"detector {rule.name}: {unknown[0]!r} is not in `symbols`{hint}")


def without_shorter(config: MarketConfig, timeframe: Timeframe) -> MarketConfig:
    """The configuration for data that has candles of `timeframe` and none shorter.

    It becomes the base; longer ones are made of it. What does not fit into them is left out with its rules.
    """
    base = timeframe_ns(timeframe)
    longer = [name for name in config.timeframes if name != timeframe and timeframe_ns(name) % base == 0]
    rules = tuple(rule for rule in config.detectors if rule.timeframe in ("", timeframe, *longer))
    return msgspec.structs.replace(config, timeframes=(timeframe, *longer), detectors=rules, aggregate=True)
