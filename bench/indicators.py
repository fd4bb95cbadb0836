"""Eight indicators per closed candle, beside talipp (incremental Python) and TA-Lib (C, a whole array)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final

import numpy as np
import talib

from bench.frames import Market
from bench.measure import Kind, Row, Run, Title, Unequal, paired
from bench.peers import missing
from engine.config.market import parse_indicator
from engine.core.market import Candle
from engine.market.indicators.batch import History
from engine.market.indicators.catalog import build

_NAMES: Final = ("sma_20", "ema_12", "rsi_14", "macd_12_26_9", "bb_20_2", "atr_14", "adx_14", "cci_20")
_CANDLES: Final = 3000
_HISTORY: Final = 50_000
_SECTION: Final = "Eight indicators, a closed candle"
_CLOSE: Final = 1e-9
_SHARE_OF_TALIPP: Final = 0.15  # of its time, at most
_NEAR: Final = 1e-6  # talipp starts some averages otherwise; the difference has died away at the end

Batch = Callable[[], list[Any]]


def closed_candles(run: Run) -> list[Row]:
    """All eight on the same candles."""
    candles = Market("COIN-USDT-SWAP", 7).history(run.of(_CANDLES, 200))
    rows = []
    batch = _batch(candles)
    _compare("TA-Lib", _ours(candles), batch(), _CLOSE)
    if missing("talipp"):
        run.notes.append("talipp is not installed, so it has no row (make bench installs it)")
    else:
        if not run.quick:  # so short a history still shows how talipp starts
            _compare("talipp", [_ours(candles)[-1]], [[line] for line in _talipp(candles)], _NEAR)
        title = Title(
            _SECTION,
            "candle by candle",
            "talipp, candle by candle",
            "newest values, 1e-6",
            Kind.PEER,
            aim=1 / _SHARE_OF_TALIPP,
        )
        rows.append(paired(title, lambda: _fed(candles), lambda: _talipp(candles), len(candles), 3))
    title = Title(_SECTION, "candle by candle", "TA-Lib, whole array in C", "every value, 1e-9")
    rows.append(paired(title, lambda: _fed(candles), batch, len(candles)))
    return [*rows, _whole(run.of(_HISTORY, 200))]


def _whole(size: int) -> Row:
    """A history at once, all lines of each indicator, columns ready on both sides."""
    candles = Market("COIN-USDT-SWAP", 8).history(size)
    history, batch = History(candles), _batch(candles)
    made = history.features(_NAMES)
    firsts = [made[parse_indicator(name).outputs[0]] for name in _NAMES]
    for name, ours, theirs in zip(_NAMES, firsts, batch(), strict=True):
        known = ~np.isnan(theirs)
        if not np.allclose(ours[known], theirs[known], rtol=_CLOSE, atol=1e-6):
            raise Unequal(f"{name}: not as TA-Lib has it")
    high, low, close = history.high, history.low, history.close

    def reference() -> None:
        batch()
        talib.PLUS_DI(high, low, close, 14)
        talib.MINUS_DI(high, low, close, 14)

    path, limit = "a history at once, all lines", "TA-Lib, the same lines in C"
    title = Title(_SECTION, path, limit, "every value, 1e-9", aim=0.5)
    return paired(title, lambda: history.features(_NAMES), reference, size)


def _ours(candles: Sequence[Candle]) -> list[tuple[float | None, ...]]:
    """The first line of each indicator, for each candle."""
    updates = [build(name).update for name in _NAMES]
    return [tuple([update(candle)[0] for update in updates]) for candle in candles]


def _fed(candles: Sequence[Candle]) -> None:
    """All eight hear of each candle, as in a frame of the pipeline; the newest values stay in them."""
    studies = [build(name) for name in _NAMES]
    for candle in candles:
        for study in studies:
            study.values = study.step(candle, True)


def _batch(candles: Sequence[Candle]) -> Batch:
    high = np.array([candle.high for candle in candles])
    low = np.array([candle.low for candle in candles])
    close = np.array([candle.close for candle in candles])

    def run() -> list[Any]:
        return [
            talib.SMA(close, 20),
            talib.EMA(close, 12),
            talib.RSI(close, 14),
            talib.MACD(close, 12, 26, 9)[0],
            talib.BBANDS(close, 20, 2, 2)[0],
            talib.ATR(high, low, close, 14),
            talib.ADX(high, low, close, 14),
            talib.CCI(high, low, close, 20),
        ]

    return run


def _talipp(candles: Sequence[Candle]) -> list[float]:
    """The newest value of each, after all candles were added one by one."""
    made: Any = import_module("talipp.indicators")
    bar: Any = import_module("talipp.ohlcv").OHLCV
    on_close = [made.SMA(20), made.EMA(12), made.RSI(14), made.MACD(12, 26, 9), made.BB(20, 2)]
    on_bar = [made.ATR(14), made.ADX(14, 14), made.CCI(20)]
    for candle in candles:
        for indicator in on_close:
            indicator.add(candle.close)
        whole = bar(candle.open, candle.high, candle.low, candle.close, candle.volume)
        for indicator in on_bar:
            indicator.add(whole)
    newest = [indicator[-1] for indicator in (*on_close, *on_bar)]
    newest[3], newest[4], newest[6] = newest[3].macd, newest[4].ub, newest[6].adx
    return newest


def _compare(
    peer: str, ours: Sequence[tuple[float | None, ...]], theirs: Sequence[Any], tolerance: float
) -> None:
    """Every value that the peer knows is known here too, and close. Raises Unequal."""
    for column, (name, line) in enumerate(zip(_NAMES, theirs, strict=True)):
        compared = 0
        for row, value in zip(ours, line, strict=True):
            if math.isnan(value):
                continue
            found = row[column]
            if found is None or not math.isclose(found, value, rel_tol=tolerance, abs_tol=1e-6):
                raise Unequal(f"{name}: {found} here, {value} by {peer}")
            compared += 1
        if not compared:
            raise Unequal(f"{name}: {peer} gave nothing to compare with")
