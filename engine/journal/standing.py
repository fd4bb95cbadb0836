"""How a trader stands: the ratio of its hourly returns and its share of winners, kept with its equity."""

from __future__ import annotations

from engine.core.times import NS_PER_HOUR
from engine.journal.moments import share
from engine.journal.ratios import Curve


class Standing:
    """Fed with equities in order of time, and with counts of closed trades."""

    def __init__(self) -> None:
        self._curve = Curve()
        self._hour, self._equity = -1, 0.0
        self._trades = self._winners = 0

    def add_equity(self, ts: int, equity: float) -> None:
        """The newest equity; the last one of an hour is a point of the curve."""
        hour = ts // NS_PER_HOUR
        if hour > self._hour >= 0:
            self._curve.add(self._equity)
        self._hour, self._equity = max(hour, self._hour), equity

    def add_trades(self, trades: int, winners: int) -> None:
        """So many more closed trades, and how many of them made money after fees."""
        self._trades += trades
        self._winners += winners

    @property
    def sharpe_ratio(self) -> float | None:
        """Of the complete hours, risk-free rate 0, not annualised; None while it is not defined."""
        return self._curve.period_sharpe

    @property
    def win_rate(self) -> float | None:
        """Percent; None before the first closed trade."""
        return share(self._winners, self._trades) if self._trades else None
