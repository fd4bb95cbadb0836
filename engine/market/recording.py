"""Recorded markets as events: what the pipeline would have been told at the time.

Tables, packed or not, with a header row:

    ts_ms,open,high,low,close,volume          candles, stamped at their open, volume in coins
    ...ts_ms,...,price,size,...taker_side     prints; the first column that names a time counts
    ts_ms,...,bid,bid_size,ask,ask_size       best quotes
    funding_ts_ms,funding_rate                charges

and books as JSON lines (engine.market.recorded_depth). Every candle is told when it closed. Events are in
the order of the file.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Final

from engine.core.errors import ConfigError
from engine.core.market import MOST, BookTop, Candle, FundingRate, Level, MarketEvent, Side, Trade
from engine.core.times import NS_PER_MS, TIMEFRAMES, timeframe_ns
from engine.market.recorded_depth import check_level, read_depth
from engine.recordings import read_lines

CANDLE_COLUMNS: Final = ("ts_ms", "open", "high", "low", "close", "volume")
FUNDING_COLUMNS: Final = ("funding_ts_ms", "funding_rate")
Row = Mapping[str, str]


def read_events(path: Path, symbol: str) -> Iterator[MarketEvent]:
    """The events of a file, oldest first. Raises ConfigError that names file and line."""
    if ".jsonl" in path.suffixes:
        yield from read_depth(path, read_lines(path), symbol)
        return
    rows = _rows(path)
    first = list(islice(rows, 2))
    if not first:
        raise ConfigError(f"{path} holds no events")
    parse = _parser(path, symbol, first)
    for line, row in enumerate(chain(first, rows), 2):
        try:
            yield parse(row)
        except (KeyError, ValueError, TypeError) as error:  # TypeError: the row ends early
            raise ConfigError(f"{path}:{line}: {error}") from error


def _rows(path: Path) -> Iterator[Row]:
    try:
        yield from csv.DictReader(read_lines(path))
    except csv.Error as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _parser(path: Path, symbol: str, first: list[Row]) -> Callable[[Row], MarketEvent]:
    columns = tuple(first[0])
    time = next((name for name in columns if name.endswith("ts_ms")), "")
    if columns[: len(CANDLE_COLUMNS)] == CANDLE_COLUMNS:
        timeframe = _timeframe(path, first)
        return lambda row: _candle(row, symbol, timeframe)
    if time and {"price", "size"} <= set(columns):
        return lambda row: _trade(row, symbol, time)
    if time and {"bid", "bid_size", "ask", "ask_size"} <= set(columns):
        return lambda row: _book(row, symbol, time)
    if columns == FUNDING_COLUMNS:
        return lambda row: _funding(row, symbol)
    expected = "ts_ms,open,high,low,close,volume or columns for time, price and size, or bid and ask"
    raise ConfigError(f"{path}:1: expected {expected}")


def _timeframe(path: Path, first: list[Row]) -> str:
    """Told by the distance of the first two candles."""
    try:
        step = (int(first[-1]["ts_ms"]) - int(first[0]["ts_ms"])) * NS_PER_MS
    except ValueError as error:
        raise ConfigError(f"{path}:2: {error}") from error
    for timeframe in TIMEFRAMES:
        if timeframe_ns(timeframe) == step:
            return timeframe
    raise ConfigError(f"{path}: no timeframe has candles {step / NS_PER_MS / 1000:g} s apart")


def _candle(row: Row, symbol: str, timeframe: str) -> Candle:
    ts_open = int(row["ts_ms"]) * NS_PER_MS
    first, high, low, last = float(row["open"]), float(row["high"]), float(row["low"]), float(row["close"])
    volume = float(row["volume"])
    if not (0.0 < low <= first <= high < MOST and low <= last <= high and 0.0 <= volume < MOST):
        raise ValueError(f"no candle has {first:g}, {high:g}, {low:g}, {last:g} and a volume of {volume:g}")
    ts_event = ts_open + timeframe_ns(timeframe)
    return Candle(symbol, timeframe, ts_open, first, high, low, last, volume, True, ts_event)


def _trade(row: Row, symbol: str, time: str) -> Trade:
    side = Side((row.get("taker_side") or Side.BUY).lower())
    price, size = float(row["price"]), float(row["size"])
    if not (0.0 < price < MOST and 0.0 < size < MOST):
        raise ValueError(f"nobody trades {size:g} at {price:g}")
    return Trade(symbol, price, size, side, row.get("trade_id", ""), int(row[time]) * NS_PER_MS)


def _book(row: Row, symbol: str, time: str) -> BookTop:
    bid = Level(float(row["bid"]), float(row["bid_size"]))
    ask = Level(float(row["ask"]), float(row["ask_size"]))
    for level in (bid, ask):
        check_level(level.price, level.size)
    return BookTop(symbol, (bid,), (ask,), int(row[time]) * NS_PER_MS)


def _funding(row: Row, symbol: str) -> FundingRate:
    """A charge, told at its time."""
    ts, rate = int(row["funding_ts_ms"]) * NS_PER_MS, float(row["funding_rate"])
    if not -1.0 < rate < 1.0:
        raise ValueError(f"no charge is {rate:g} of the notional")
    return FundingRate(symbol, rate, ts, ts)
