"""Every indicator equals its definition, from candle to candle, and a forming candle leaves no trace."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config.market import INDICATORS
from engine.config.patterns import PATTERNS
from engine.core.errors import ConfigError
from engine.core.market import Candle
from engine.core.times import NS_PER_DAY
from engine.market.indicators.batch import History
from engine.market.indicators.catalog import build
from engine.market.recording import read_events
from tests.market_world import BTC, candle, closes, walk

Lines = Sequence[Any]
ALL = (
    *(name for name in INDICATORS if name not in PATTERNS),
    *("ema_5", "bb_10_2.5", "macd_5_35_5", "supertrend_7_2", "stoch_9_2_4", "adx_5"),
    *("cdl_engulfing", "cdl_hikkake"),
)
DATA = Path(__file__).parents[2] / "shared" / "data"  # recordings that are not part of the project


class Columns:
    """Prices of candles as TA-Lib takes them."""

    def __init__(self, candles: Sequence[Candle]) -> None:
        self.open = np.array([c.open for c in candles])
        self.high = np.array([c.high for c in candles])
        self.low = np.array([c.low for c in candles])
        self.close = np.array([c.close for c in candles])
        self.volume = np.array([c.volume for c in candles])


def bands(c: Columns, period: int, width: float) -> Lines:
    upper, middle, lower = talib.BBANDS(c.close, period, width, width)
    return (upper, middle, lower, (upper - lower) / middle, (c.close - lower) / (upper - lower))


ORACLES: dict[str, Callable[[Columns], Lines]] = {
    "sma_20": lambda c: (talib.SMA(c.close, 20),),
    "ema_12": lambda c: (talib.EMA(c.close, 12),),
    "wma_10": lambda c: (talib.WMA(c.close, 10),),
    "rsi_14": lambda c: (talib.RSI(c.close, 14),),
    "macd": lambda c: talib.MACD(c.close, 12, 26, 9),
    "macd_5_35_5": lambda c: talib.MACD(c.close, 5, 35, 5),
    "kdj": lambda c: talib.KDJ(c.high, c.low, c.close),
    "stoch": lambda c: talib.STOCH(c.high, c.low, c.close, fastk_period=14),
    "cci_20": lambda c: (talib.CCI(c.high, c.low, c.close, 20),),
    "roc_10": lambda c: (talib.ROC(c.close, 10),),
    "adx_14": lambda c: tuple(
        f(c.high, c.low, c.close, 14) for f in (talib.ADX, talib.PLUS_DI, talib.MINUS_DI)
    ),
    "atr_14": lambda c: (talib.ATR(c.high, c.low, c.close, 14),),
    "bb_20": lambda c: bands(c, 20, 2),
    "bb_10_2.5": lambda c: bands(c, 10, 2.5),
    "donchian_20": lambda c: talib.DONCHIAN(c.high, c.low, 20),
    "supertrend_10_3": lambda c: (talib.SUPERTREND(c.high, c.low, c.close, 10, 3)[0],),
    "obv": lambda c: (talib.OBV(c.close, c.volume),),
    "vwap": lambda c: (talib.VWAP(c.high, c.low, c.close, c.volume),),
    "zscore_20": lambda c: ((c.close - talib.SMA(c.close, 20)) / talib.STDDEV(c.close, 20),),
}


WIDTH, PLACE = 3, 4  # of the lines of a band: its width, and %b
OSCILLATORS = ("rsi", "kdj", "stoch", "cci", "roc", "adx", "zscore", "obv")  # not in units of the price


def from_midnight(candles: Sequence[Candle]) -> list[Candle]:
    """The same, begun at a midnight UTC, as VWAP wants to see one."""
    shift = -candles[0].ts_open % NS_PER_DAY
    return [msgspec.structs.replace(c, ts_open=c.ts_open + shift) for c in candles]


def lines(name: str, candles: Sequence[Candle]) -> list[list[float | None]]:
    study = build(name)
    return [list(line) for line in zip(*(study.update(c) for c in candles), strict=True)]


def assert_equal_to_talib(name: str, candles: Sequence[Candle]) -> None:
    price = candles[0].close
    oracle = ORACLES[name](Columns(candles))
    for number, (ours, theirs) in enumerate(zip(lines(name, candles), oracle, strict=False)):
        known = [i for i, value in enumerate(theirs) if not math.isnan(value)]
        assert known, "the oracle gave something to compare with"
        pure = name.startswith(OSCILLATORS) or (name.startswith("bb_") and number == PLACE)
        near_zero = 1e-9 if pure else 1e-12 * price  # a difference of like numbers has no relative error
        first = next(i for i, value in enumerate(ours) if value is not None)
        early = number == 0 and name.startswith(("macd", "kdj", "stoch"))  # told before its smoothed line
        assert first == known[0] or early, "known from the same candle on"
        for i in known:
            value = ours[i]
            assert value is not None
            assert math.isclose(value, theirs[i], rel_tol=1e-9, abs_tol=near_zero), (i, value, theirs[i])


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    price=st.sampled_from([0.08, 1.0, 150.0, 60_000.0]),
    step=st.sampled_from([0.0005, 0.003, 0.02]),
)
@pytest.mark.parametrize("name", ORACLES)
def test_indicator_equals_talib(name: str, seed: int, price: float, step: float) -> None:
    assert_equal_to_talib(name, from_midnight(walk(seed, 220, price=price, step=step)))


@pytest.mark.skipif(not DATA.is_dir(), reason="no recordings here")
@pytest.mark.parametrize("file", ["btc_perp_1m_2022-01", "okx_eth-usdt-swap_5m", "binance_btcusdt_perp_1m"])
def test_indicators_equal_talib_on_real_candles(file: str) -> None:
    events = islice(read_events(next(DATA.glob(f"{file}*")), BTC), 3000)
    candles = [event for event in events if isinstance(event, Candle)]
    for name in ORACLES.keys() - {"vwap"}:  # which begins anew at midnight, TA-Lib's never
        assert_equal_to_talib(name, candles)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 220), still=st.integers(0, 60))
def test_a_history_at_once_equals_candle_by_candle(seed: int, size: int, still: int) -> None:
    candles = walk(seed, size, price=150.0, step=0.003)
    flat = {"open": 150.0, "high": 150.0, "low": 150.0, "close": 150.0}
    candles = [msgspec.structs.replace(c, **flat) if n < still else c for n, c in enumerate(candles)]
    history = History(candles)
    for name in (*ALL, "rsi_1", "adx_1", "cci_1", "bb_1", "sma_1", "macd_1_2_1"):
        study = build(name)
        streamed = zip(*(study.update(candle) for candle in candles), strict=True)
        for feature, ours in zip(study.names, streamed, strict=True):
            whole = history.features([name])[feature]
            assert len(whole) == len(candles)
            for one, all_at_once in zip(ours, whole.tolist(), strict=True):
                assert (one is None) == math.isnan(all_at_once), (name, feature)
                assert one is None or math.isclose(one, all_at_once, rel_tol=1e-9, abs_tol=1e-9), (
                    name,
                    feature,
                )


def test_every_pattern_of_talib_has_a_name_and_equals_it() -> None:
    assert sorted(PATTERNS.values()) == sorted(name for name in dir(talib) if name.startswith("CDL"))
    # a coarse tick makes the equal prices and gaps of which patterns are made
    candles = [
        coarse(c) for c in itertools.chain(walk(21, 1500, step=0.01), walk(22, 500, price=9, step=0.2))
    ]
    columns, seen = Columns(candles), set[str]()
    for name, function in PATTERNS.items():
        theirs = getattr(talib, function)(columns.open, columns.high, columns.low, columns.close) / 100
        (ours,) = lines(name, candles)
        assert ours[:31] == [None] * 31
        assert ours[31:] == theirs[31:].tolist(), name
        seen |= {name} if any(ours[31:]) else set()
    assert len(seen) > len(PATTERNS) / 2


def coarse(item: Candle) -> Candle:
    tick = item.close * 0.004
    prices = {key: round(getattr(item, key) / tick) * tick for key in ("open", "high", "low", "close")}
    return msgspec.structs.replace(item, **prices)


@pytest.mark.parametrize("name", ALL)
def test_forming_candle_changes_nothing_and_shows_what_closing_would(name: str) -> None:
    study, twin = build(name), build(name)
    other = walk(99, 150, step=0.004)
    for closed, never in zip(walk(5, 150), other, strict=True):
        before = study.snapshot()
        study.peek(never)
        seen = study.peek(closed)
        assert study.snapshot() == before
        assert seen == study.update(closed) == twin.update(closed)


@pytest.mark.parametrize("name", ALL)
@given(cut=st.integers(0, 120))
@settings(max_examples=15)
def test_restored_indicator_goes_on_bit_for_bit(name: str, cut: int) -> None:
    candles = walk(7, 160)
    whole, first, second = build(name), build(name), build(name)
    for item in candles[:cut]:
        whole.update(item)
        first.update(item)
    second.restore(first.snapshot())
    assert [second.update(c) for c in candles[cut:]] == [whole.update(c) for c in candles[cut:]]
    assert second.snapshot() == whole.snapshot()


@pytest.mark.parametrize("name", ALL)
def test_indicator_does_not_grow(name: str) -> None:
    def scalars(state: object) -> int:
        return sum(scalars(item) for item in state) if isinstance(state, list) else 1

    study = build(name)
    candles = walk(3, 600)
    for item in candles[:300]:
        study.update(item)
    bound = scalars(study.snapshot()) * 2 + 40  # extremes keep between one value and a window
    for item in candles[300:]:
        study.update(item)
        assert scalars(study.snapshot()) <= bound


@pytest.mark.parametrize("name", ALL)
def test_indicator_says_when_it_is_ready(name: str) -> None:
    study = build(name)
    ready = [study.ready]
    for item in from_midnight(walk(1, 120)):
        study.update(item)
        ready.append(study.ready)
    assert (ready[0], ready[-1]) == (False, True)
    assert ready == sorted(ready), "once ready, it stays so"
    assert study.value == study.values[0]


@pytest.mark.parametrize("count", [20, 33, 219, 20_000])
def test_deviation_is_exact_however_long_it_runs(count: int) -> None:
    score, band = build("zscore_20"), build("bb_20")
    candles = walk(11, count, step=0.0004)
    for item in candles:
        score.update(item)
        band.update(item)
    window = [c.close for c in candles[-20:]]
    mean, deviation = statistics.fmean(window), statistics.pstdev(window)
    assert score.value == pytest.approx((window[-1] - mean) / deviation, rel=1e-10)
    assert band.values[WIDTH] == pytest.approx(4 * deviation / mean, rel=1e-10)


def test_bbi_is_the_mean_of_four_means() -> None:
    (line,) = lines("bbi", closes([float(i) for i in range(30)]))
    assert line[22] is None
    assert line[23] == pytest.approx((22 + 20.5 + 17.5 + 11.5) / 4)


def test_realised_volatility_is_annualised_from_sample_deviation() -> None:
    candles = walk(2, 40, timeframe="5m")
    returns = [math.log(b.close / a.close) for a, b in zip(candles[-21:], candles[-20:], strict=False)]
    (line,) = lines("realised_vol_20", candles)
    assert line[-1] == pytest.approx(statistics.stdev(returns) * math.sqrt(365 * 288), rel=1e-9)


def test_return_z_compares_with_returns_before_it() -> None:
    candles = walk(2, 80)
    returns = [math.log(b.close / a.close) for a, b in itertools.pairwise(candles)]
    exact = (returns[-1] - statistics.fmean(returns[-61:-1])) / statistics.pstdev(returns[-61:-1])
    (line,) = lines("return_z_60", candles)
    assert line[-1] == pytest.approx(exact, rel=1e-9)


def test_volume_ratio_compares_with_candles_before_it() -> None:
    candles = [candle(i, 1, 1, 1, 1, volume=2.0) for i in range(20)] + [candle(20, 1, 1, 1, 1, volume=7.0)]
    (line,) = lines("volume_ratio_20", candles)
    assert line[19] is None
    assert line[20] == 3.5


def test_vwap_begins_anew_at_midnight_utc_and_is_unknown_before_the_first() -> None:
    study = build("vwap")
    prices = [10.0, 12.0, 20.0, 40.0]  # of 22:00, 23:00, 00:00 and 01:00
    day = [candle(i + 14, p, p, p, p, timeframe="1h") for i, p in enumerate(prices)]
    assert [study.update(c)[0] for c in day] == [None, None, 20.0, 30.0]


@pytest.mark.parametrize("name", ["zscore_7", "return_z_7", "volume_ratio_7", "bb_7"])
def test_stillness_after_a_move_is_unknown_and_no_remainder_of_its_rounding(name: str) -> None:
    study = build(name)
    moving = walk(5, 100, price=100.0, step=0.01)
    still = moving[-1].close
    for item in moving:
        study.update(item)
    for index in range(100, 140):
        (*_, value) = study.update(candle(index, still, still, still, still, volume=0.0))
        assert index < 108 or value is None


@pytest.mark.parametrize(
    "name", ["sma_7", "wma_7", "bb_7", "bb_1", "zscore_7", "return_z_7", "cci_7", "bbi_3_4_5_6"]
)
@pytest.mark.parametrize("spike", [1e9, 1e-9])
def test_absurd_price_is_forgotten_with_its_candle(name: str, spike: float) -> None:
    before = [candle(i, p, p, p, p) for i, p in enumerate((1.1, spike, 1.2, spike, spike, 1.3))]
    study, fresh = build(name), build(name)
    for item in before:
        study.update(item)
    for number, item in enumerate(walk(4, 40, price=1.1)):
        seen, exact = study.update(item), fresh.update(item)
        for one, other in zip(seen, exact, strict=True):
            assert number < 8 or one == other or one == pytest.approx(other, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "value"), [("rsi_14", 50.0), ("stoch", 50.0), ("cci_20", 0.0), ("adx_14", 0.0)]
)
def test_market_that_does_not_move_is_neutral(name: str, value: float) -> None:
    study = build(name)
    for item in closes([100.0] * 60):
        study.update(item)
    assert study.value == value


def test_bands_without_width_have_no_place_in_them() -> None:
    study = build("bb_20")
    for item in closes([100.0] * 30):
        study.update(item)
    assert study.values == (100.0, 100.0, 100.0, 0.0, None)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("rsy_14", "did you mean 'rsi'"),
        ("rsi_14_3", "at most 1"),
        ("ema_0", "above 0"),
        ("ema_2.5", "no period"),
    ],
)
def test_wrong_indicator_is_refused(name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build(name)
