"""Other libraries that backtest the trader of bench.cross over the same candles, each in its own way.

Each is used as its documentation says, from columns in memory to closed trades; what is not installed has no
row. All fill at the open of the next candle, which is where the one before closed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import numpy as np

from bench.cross import FAST, FEE, SLOW, Candles, CrossTrade
from engine.core.times import NS_PER_MIN

_CASH: Final = 1e9
Backtest = Callable[[], list[CrossTrade]]


def bare(candles: Candles, first: int) -> Backtest:
    """The rule in a plain loop: the least that Python needs, with neither orders nor an account."""
    opened, closes = candles.open.tolist(), candles.close.tolist()
    return lambda: _loop(opened, closes, first)


def _loop(opened: list[float], closes: list[float], first: int) -> list[CrossTrade]:
    fast_weight, slow_weight = 2 / (FAST + 1), 2 / (SLOW + 1)
    fast = slow = closes[0]
    trades: list[CrossTrade] = []
    held = entry = 0
    for at, close in enumerate(closes[:-1]):
        fast += (close - fast) * fast_weight
        slow += (close - slow) * slow_weight
        if at < first:
            continue
        side = 1 if fast > slow else -1
        if not held:
            held, entry = side, at + 1
        elif held != side:
            trades.append(_trade(held, (entry, at + 1), (opened[entry], opened[at + 1])))
            held = 0
    return trades


def _trade(side: int, at: tuple[int, int], prices: tuple[float, float]) -> CrossTrade:
    net = (prices[1] - prices[0]) * side - FEE * (prices[0] + prices[1])
    return CrossTrade(side, at[0], at[1], prices[0], prices[1], net)


def _frame(candles: Candles, *names: str) -> Any:
    """A pandas frame by time, with the columns' names as the library wants them."""
    pandas: Any = import_module("pandas")
    columns = zip(
        names, (candles.open, candles.high, candles.low, candles.close, candles.volume), strict=True
    )
    return pandas.DataFrame(dict(columns), index=pandas.to_datetime(candles.ts))


def _ema(closes: Any, period: int) -> Any:
    return import_module("pandas").Series(closes).ewm(span=period, adjust=False).mean()


def backtesting_py(candles: Candles, first: int) -> Backtest:
    """backtesting.py: indicators in `init`, one order of a coin at a time."""
    library: Any = import_module("backtesting")
    frame = _frame(candles, "Open", "High", "Low", "Close", "Volume")

    class Cross(library.Strategy):  # type: ignore[misc]
        def init(self) -> None:
            self.fast = self.I(_ema, self.data.Close, FAST)
            self.slow = self.I(_ema, self.data.Close, SLOW)

        def next(self) -> None:
            if len(self.data) <= first:
                return
            side = 1 if self.fast[-1] > self.slow[-1] else -1
            if not self.position:
                (self.buy if side > 0 else self.sell)(size=1)
            elif self.position.size * side < 0:
                self.position.close()

    def run() -> list[CrossTrade]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a trade is open at the end: it counts for nobody
            found = library.Backtest(frame, Cross, cash=_CASH, commission=FEE).run()._trades
        return [
            CrossTrade(int(row.Size), row.EntryBar, row.ExitBar, row.EntryPrice, row.ExitPrice, row.PnL)
            for row in found.itertuples()
        ]

    return run


def backtrader(candles: Candles, first: int) -> Backtest:
    """backtrader: a strategy on a pandas feed, a coin an order, told of each trade as it closes."""
    library: Any = import_module("backtrader")
    frame = _frame(candles, "open", "high", "low", "close", "volume")
    told: list[CrossTrade] = []

    class Cross(library.Strategy):  # type: ignore[misc]
        def __init__(self) -> None:
            self.fast = library.ind.EMA(self.data.close, period=FAST)
            self.slow = library.ind.EMA(self.data.close, period=SLOW)

        def notify_trade(self, trade: Any) -> None:
            if trade.isclosed:
                side = 1 if trade.long else -1
                leaves = trade.price + trade.pnl * side
                told.append(
                    CrossTrade(
                        side, trade.baropen - 1, trade.barclose - 1, trade.price, leaves, trade.pnlcomm
                    )
                )

        def next(self) -> None:
            if len(self) <= first:
                return
            side = 1 if self.fast[0] > self.slow[0] else -1
            if not self.position:
                (self.buy if side > 0 else self.sell)(size=1)
            elif self.position.size * side < 0:
                self.close()

    def run() -> list[CrossTrade]:
        told.clear()
        cerebro = library.Cerebro(stdstats=False)
        cerebro.addstrategy(Cross)
        cerebro.adddata(library.feeds.PandasData(dataname=frame))
        cerebro.broker.setcash(_CASH)
        cerebro.broker.setcommission(commission=FEE)
        cerebro.run()
        return list(told)

    return run


def vectorbt(candles: Candles, first: int) -> Backtest:
    """vectorbt: averages as arrays, what is held by a compiled loop, the portfolio from orders."""
    library: Any = import_module("vectorbt")
    numba: Any = import_module("numba")
    frame = _frame(candles, "open", "high", "low", "close", "volume")
    held_of = numba.njit(_held)

    def run() -> list[CrossTrade]:
        fast, slow = (_ema(candles.close, period).to_numpy() for period in (FAST, SLOW))
        held = held_of(fast, slow, first)
        portfolio = library.Portfolio.from_orders(
            frame.close,
            size=held,
            size_type="targetamount",
            price=frame.open,
            fees=FEE,
            init_cash=_CASH,
            freq="1min",
        )
        found = portfolio.trades.records
        found = found[found["status"] == 1]
        sides = 1 - 2 * found["direction"]
        columns = (sides, found["entry_idx"], found["exit_idx"], found["entry_price"], found["exit_price"])
        rows = zip(*(column.tolist() for column in (*columns, found["pnl"])), strict=True)
        return [CrossTrade(*row) for row in rows]

    return run


def _held(fast: Any, slow: Any, first: int) -> Any:
    """Coins held within each candle, filled at its open."""
    held = np.zeros(len(fast))
    for at in range(first, len(fast) - 1):
        side = 1.0 if fast[at] > slow[at] else -1.0
        held[at + 1] = side if held[at] == 0.0 or held[at] == side else 0.0
    return held


def nautilus(candles: Candles, first: int) -> Backtest:
    """nautilus_trader: its engine on bars, a position a trade, logging and its risk engine bypassed."""
    from bench.cross_nautilus import prepared

    start = int(candles.ts[0])

    def number(ts: int) -> int:
        return (ts - start) // NS_PER_MIN

    make = prepared(candles, first, _CASH / 100)  # its sums of money are floats: larger ones do not add up
    return lambda: [
        CrossTrade(side, number(entry), number(leaves), *rest) for side, entry, leaves, *rest in make()
    ]


PEERS: Final[dict[str, tuple[str, Callable[[Candles, int], Backtest]]]] = {
    "backtesting.py": ("backtesting", backtesting_py),
    "backtrader": ("backtrader", backtrader),
    "vectorbt": ("vectorbt", vectorbt),
    "nautilus_trader": ("nautilus_trader", nautilus),
}
