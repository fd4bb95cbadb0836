"""Mean, deviation and median of a growing set of numbers, each kept up to date as they come.

Sums are whole numbers of billionths, so they are exact: the same numbers in another order, or all at once,
give the same statistics to the last digit.
"""

from __future__ import annotations

import heapq
import math
from array import array
from typing import Final

import msgspec

_PARTS: Final = 10**9  # a billionth of a dollar or of a minute: a thousand times finer than what is shown
_PLACES: Final = 6
_FEWEST: Final = 2


def rounded(value: float) -> float:
    """To the 6 places of nof1's tables, without a negative zero."""
    return round(value, _PLACES) + 0.0


def share(part: float, whole: float) -> float:
    """Percent, 0-100; 0 of nothing."""
    return rounded(100 * part / whole) if whole else 0.0


class MomentsState(msgspec.Struct, frozen=True, array_like=True):
    """A `Moments` as it stands; its sums as text, since they outgrow 64 bits."""

    count: int
    least: float
    greatest: float
    total: str
    squares: str


class MedianState(msgspec.Struct, frozen=True, array_like=True):
    """A `Median` as it stands: both heaps, as this machine writes doubles."""

    lower: bytes
    upper: bytes


class Moments:
    """Count, sum, extremes, mean and sample deviation; constant time and room a number.

    Every statistic of an empty set is 0, and so is the deviation of a single number.
    """

    __slots__ = ("_squares", "_total", "count", "greatest", "least")

    def __init__(self) -> None:
        self.count = 0
        self.least = math.inf
        self.greatest = -math.inf
        self._total = 0
        self._squares = 0

    def add(self, value: float) -> None:
        """One more number. Raises ValueError or OverflowError for one that is not finite."""
        parts = round(value * _PARTS)
        self.count += 1
        self.least = min(self.least, value)
        self.greatest = max(self.greatest, value)
        self._total += parts
        self._squares += parts * parts

    def state(self) -> MomentsState:
        return MomentsState(self.count, self.least, self.greatest, str(self._total), str(self._squares))

    def restore(self, state: MomentsState) -> None:
        """Go on from there. Raises ValueError for what is no state."""
        self.count, self.least, self.greatest = state.count, state.least, state.greatest
        self._total, self._squares = int(state.total), int(state.squares)

    @property
    def total(self) -> float:
        return self._total / _PARTS

    @property
    def mean(self) -> float:
        return rounded(self._total / (self.count * _PARTS)) if self.count else 0.0

    @property
    def std(self) -> float:
        """Sample standard deviation: n - 1 in the denominator."""
        if self.count < _FEWEST:
            return 0.0
        spread = self.count * self._squares - self._total * self._total
        return rounded(math.sqrt(spread / (self.count * (self.count - 1))) / _PARTS)

    @property
    def smallest(self) -> float:
        return rounded(self.least) if self.count else 0.0

    @property
    def largest(self) -> float:
        return rounded(self.greatest) if self.count else 0.0


class Median:
    """The middle of all numbers so far; adding one costs the logarithm of their count, and keeps it."""

    __slots__ = ("_lower", "_upper")

    def __init__(self) -> None:
        self._lower: list[float] = []  # a heap of the negated lower half, never smaller than the upper
        self._upper: list[float] = []

    def add(self, value: float) -> None:
        heapq.heappush(self._upper, -heapq.heappushpop(self._lower, -value))
        if len(self._upper) > len(self._lower):
            heapq.heappush(self._lower, -heapq.heappop(self._upper))

    def state(self) -> MedianState:
        return MedianState(array("d", self._lower).tobytes(), array("d", self._upper).tobytes())

    def restore(self, state: MedianState) -> None:
        """Go on from there. Raises ValueError for what is no state."""
        self._lower = list(array("d", state.lower))
        self._upper = list(array("d", state.upper))

    @property
    def value(self) -> float:
        """0 of nothing; of an even count, halfway between the two in the middle."""
        if not self._lower:
            return 0.0
        if len(self._lower) > len(self._upper):
            return rounded(-self._lower[0])
        return rounded((self._upper[0] - self._lower[0]) / 2)
