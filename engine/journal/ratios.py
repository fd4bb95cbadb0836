"""Risk and return of an equity curve, kept up to date point by point.

A return is an equity over the one before it, minus 1. Formulas are those of empyrical (Quantopian's
reference, maintained as empyrical-reloaded), with the period and the risk-free rate stated beside the figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import msgspec

from engine.journal.moments import rounded

HOURLY: Final = 24 * 365  # periods of a year: this market never closes
_FEWEST: Final = 2
_NOISE: Final = 1e-15


class Ratios(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a curve; None where too few points or no variation leave one undefined.

    `*_pct` are percent. `risk_free_pct` is a year's, taken off every period. sharpe: mean excess return over
    its sample deviation. sortino: mean excess return over the root mean square of those below 0. Both, and
    the volatility, annualised by the root of `periods_per_year`. calmar: compound return of a year over the
    deepest drawdown, as fractions.
    """

    periods: int
    periods_per_year: int
    risk_free_pct: float
    total_return_pct: float | None
    annual_return_pct: float | None
    annual_volatility_pct: float | None
    max_drawdown_pct: float
    sharpe: float | None
    sortino: float | None
    calmar: float | None


class Curve:
    """An equity curve in constant room. Feed it one equity a period, in order; 0 and less end in ruin.

    After an equity that is not positive there is no return to speak of: the next one starts anew.
    """

    def __init__(self, periods_per_year: int = HOURLY, risk_free_pct: float = 0.0) -> None:
        self._per_year, self._risk_free_pct = periods_per_year, risk_free_pct
        self._risk_free = (1 + risk_free_pct / 100) ** (1 / periods_per_year) - 1
        self._first = self._before = self._peak = 0.0
        self._deepest = 0.0
        self._count = 0
        self._mean = self._squares = 0.0  # Welford: numerically steady in one pass
        self._shortfall = 0.0  # sum of squared excess returns below 0

    def add(self, equity: float) -> None:
        """The equity at the end of one more period."""
        if self._before > 0:
            self._gain(equity / self._before - 1)
        self._first = self._first or equity
        self._before = equity
        self._peak = max(self._peak, equity)
        if self._peak > 0:
            self._deepest = max(self._deepest, (self._peak - equity) / self._peak)

    def _gain(self, gain: float) -> None:
        excess = gain - self._risk_free
        self._count += 1
        delta = excess - self._mean
        self._mean += delta / self._count
        self._squares += delta * (excess - self._mean)
        self._shortfall += min(0.0, excess) ** 2

    @property
    def period_sharpe(self) -> float | None:
        """Mean over sample deviation of the excess returns of a period, not annualised."""
        deviation = self._deviation
        return rounded(self._mean / deviation) if deviation > _NOISE else None

    @property
    def max_drawdown_pct(self) -> float:
        """Deepest fall from a former peak, in percent of that peak; 0 or positive."""
        return rounded(100 * self._deepest)

    @property
    def _deviation(self) -> float:
        return math.sqrt(self._squares / (self._count - 1)) if self._count >= _FEWEST else 0.0

    @property
    def _annual_return(self) -> float | None:
        if not self._count or self._first <= 0 or self._before <= 0:
            return None
        try:
            return math.expm1(math.log(self._before / self._first) * self._per_year / self._count)
        except OverflowError:  # a few lucky minutes, compounded over a year
            return None

    def ratios(self) -> Ratios:
        """All figures, annualised where they say so."""
        root, annual = math.sqrt(self._per_year), self._annual_return
        enough = self._count >= _FEWEST
        deviation, downside = self._deviation, math.sqrt(self._shortfall / max(1, self._count))
        return Ratios(
            periods=self._count,
            periods_per_year=self._per_year,
            risk_free_pct=self._risk_free_pct,
            total_return_pct=rounded(100 * (self._before / self._first - 1)) if self._first > 0 else None,
            annual_return_pct=None if annual is None else rounded(100 * annual),
            annual_volatility_pct=rounded(100 * deviation * root) if enough else None,
            max_drawdown_pct=self.max_drawdown_pct,
            sharpe=rounded(self._mean / deviation * root) if deviation > _NOISE else None,
            sortino=rounded(self._mean / downside * root) if enough and downside > _NOISE else None,
            calmar=rounded(annual / self._deepest) if annual is not None and self._deepest > 0 else None,
        )


def ratios(equities: Iterable[float], periods_per_year: int = HOURLY, risk_free_pct: float = 0.0) -> Ratios:
    """The figures of a whole curve."""
    curve = Curve(periods_per_year, risk_free_pct)
    for equity in equities:
        curve.add(equity)
    return curve.ratios()


def profit_factor(won: float, lost: float) -> float | None:
    """What the winners made for each dollar that the losers lost (`lost` positive); None without a loss."""
    return rounded(won / lost) if lost > 0 else None
