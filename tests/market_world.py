"""Candles, trades and events of our own making for the tests of the market part."""

from __future__ import annotations

import random
from collections.abc import Sequence

from engine.core.market import Candle, Side, Trade
from engine.core.times import NS_PER_MIN, timeframe_ns

BTC = "BTC-USDT-SWAP"
START = 1_760_000_040 * 1_000_000_000 // NS_PER_MIN * NS_PER_MIN  # 2025-10-09 08:54 UTC, no round hour


def walk(
    seed: int, count: int, *, price: float = 60_000.0, step: float = 0.001, timeframe: str = "1m"
) -> list[Candle]:
    """A random walk of closed candles; `step` is the deviation of a candle as a fraction of the price."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    candles: list[Candle] = []
    close = price
    for index in range(count):
        open_ = close
        close = open_ * (1 + rng.gauss(0, step))
        high = max(open_, close) * (1 + rng.random() * step)
        low = min(open_, close) * (1 - rng.random() * step)
        volume = round(rng.lognormvariate(2, 1) + 0.0001, 4)
        candles.append(candle(index, open_, high, low, close, volume, timeframe=timeframe))
    return candles


def candle(
    index: int,
    open_: float,
    high: float,
    low: float,
    close: float,
    volume: float = 1.0,
    *,
    timeframe: str = "1m",
    closed: bool = True,
    symbol: str = BTC,
) -> Candle:
    """The candle number `index` since START."""
    ts_open = START - START % timeframe_ns(timeframe) + index * timeframe_ns(timeframe)
    ts_event = ts_open + timeframe_ns(timeframe)
    return Candle(symbol, timeframe, ts_open, open_, high, low, close, volume, closed, ts_event)


def closes(values: Sequence[float], *, timeframe: str = "1m") -> list[Candle]:
    """Flat candles with these closes."""
    return [candle(i, v, v, v, v, timeframe=timeframe) for i, v in enumerate(values)]


def trades_of(candles: Sequence[Candle], contract_value: float) -> list[Trade]:
    """Trades that make exactly these candles: open, extremes, close, in contracts."""
    trades: list[Trade] = []
    for item in candles:
        contracts = item.volume / contract_value / 4
        for offset, price in enumerate((item.open, item.high, item.low, item.close)):
            ts = item.ts_open + offset * 14_000_000_000
            side = Side.BUY if offset % 2 else Side.SELL
            trades.append(Trade(item.symbol, price, contracts, side, f"{ts}", ts))
    return trades
