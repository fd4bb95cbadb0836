"""The arithmetic under the indicators: each takes a value and gives a number, in O(1) and fixed memory.

`step(value, commit)` is the number with `value` as the newest one, None while too few were seen. With
`commit` the value is taken in; without it nothing changes, which is how a forming candle is looked at.
Running sums are added up anew once a window (amortised O(1)), so that rounding errors do not pile up, and at
once where so much has left them that what remains could be no more than such errors.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import fsum
from operator import mul
from typing import ClassVar, Final, Protocol

OUTWEIGHED: Final = 1e-4  # a sum so much smaller than what has left it has lost 4 of its 16 digits


class Rolling(Protocol):
    """One number from the values so far."""

    __slots__ = ()
    STATE: ClassVar[tuple[str, ...]]

    def step(self, value: float, commit: bool) -> float | None: ...


class Mean(Rolling):
    """Arithmetic mean of the newest `period` values."""

    __slots__ = ("_at", "_full", "_ring", "_sum", "period")
    STATE: ClassVar[tuple[str, ...]] = ("_at", "_full", "_ring", "_sum")

    def __init__(self, period: int) -> None:
        self.period = period
        self._ring = [0.0] * period
        self._at = 0
        self._full = False
        self._sum = 0.0

    def step(self, value: float, commit: bool) -> float | None:
        at, ring = self._at, self._ring
        old = ring[at]
        total = self._sum + value - old
        if old * OUTWEIGHED > total:
            total = fsum((*ring, value, -old))
        newest = at + 1
        mean = total / self.period if self._full or newest == self.period else None
        if commit:
            ring[at] = value
            if newest == self.period:
                newest = 0
                self._full = True
                total = fsum(ring)
            self._at = newest
            self._sum = total
        return mean


class Moments:
    """Mean and population variance of the newest `period` values.

    Sums are kept around an anchor, the mean of a recent window: prices of 60,000 that move by 10 would
    otherwise lose all digits of their variance.
    """

    __slots__ = ("_anchor", "_at", "_full", "_ring", "_squares", "_sum", "period")
    STATE: ClassVar[tuple[str, ...]] = ("_anchor", "_at", "_full", "_ring", "_squares", "_sum")

    def __init__(self, period: int) -> None:
        self.period = period
        self._ring = [0.0] * period
        self._at = 0
        self._full = False
        self._anchor: float | None = None
        self._sum = 0.0
        self._squares = 0.0

    def step(self, value: float, commit: bool) -> tuple[float, float] | None:
        at, ring, period = self._at, self._ring, self.period
        anchor = value if self._anchor is None else self._anchor
        new = value - anchor
        old = ring[at] - anchor if self._full else 0.0
        total = self._sum + new - old
        squares = self._squares + (new * new - old * old)
        newest = at + 1
        result = None
        if self._full or newest == period:
            mean = total / period
            variance = squares / period - mean * mean
            if variance < OUTWEIGHED**2 * mean * mean or squares < OUTWEIGHED * old * old:
                return self._exact(value, commit)
            result = anchor + mean, variance if variance > 0.0 else 0.0
        if commit:
            self._anchor, self._sum, self._squares = anchor, total, squares
            ring[at] = value
            self._at = newest
            if newest == period:
                self._settle()
        return result

    def _settle(self) -> None:
        self._at, self._full = 0, True
        self._anchor, self._sum, self._squares = _sums(self._ring)

    def _exact(self, value: float, commit: bool) -> tuple[float, float]:
        """The same from the values themselves."""
        window, newest = self._ring.copy(), self._at + 1
        window[self._at] = value
        anchor, total, squares = _sums(window)
        if commit:
            self._ring, self._anchor, self._sum, self._squares = window, anchor, total, squares
            self._at, self._full = newest % self.period, self._full or newest == self.period
        mean = total / self.period
        return anchor + mean, max(0.0, squares / self.period - mean * mean)


def _sums(window: list[float]) -> tuple[float, float, float]:
    """Anchor, and the sums of the offsets from it and of their squares: exactly 0 where all are equal."""
    first = window[0]
    anchor = first if window.count(first) == len(window) else fsum(window) / len(window)
    offsets = [value - anchor for value in window]
    return anchor, fsum(offsets), fsum(map(mul, offsets, offsets))


class Weighted(Rolling):
    """Linearly weighted mean of the newest `period` values, the newest weighs most."""

    __slots__ = ("_at", "_full", "_ring", "_sum", "_weighted", "period")
    STATE: ClassVar[tuple[str, ...]] = ("_at", "_full", "_ring", "_sum", "_weighted")

    def __init__(self, period: int) -> None:
        self.period = period
        self._ring = [0.0] * period
        self._at = 0
        self._full = False
        self._sum = 0.0
        self._weighted = 0.0

    def step(self, value: float, commit: bool) -> float | None:
        at, ring, period = self._at, self._ring, self.period
        newest, old = at + 1, ring[at]
        total = self._sum + value - old
        if not self._full:
            weighted = self._weighted + newest * value
        elif old * OUTWEIGHED > total:
            window = (*ring[newest:], *ring[:at], value)
            total, weighted = fsum(window), _weighted(window)
        else:  # every weight falls by one, which takes the old sum off once
            weighted = self._weighted - self._sum + period * value
        mean = weighted * 2 / (period * (period + 1)) if self._full or newest == period else None
        if commit:
            ring[at] = value
            if newest == period:
                newest = 0
                self._full = True
                total = fsum(ring)
                weighted = _weighted(ring)
            self._at, self._sum, self._weighted = newest, total, weighted
        return mean


def _weighted(window: Sequence[float]) -> float:
    return fsum((index + 1) * item for index, item in enumerate(window))


class Exponential(Rolling):
    """Exponential mean, seeded by the arithmetic mean of the first `period` values.

    `alpha` is 2 / (period + 1); Wilder's smoothing is 1 / period (see `wilder`).
    """

    __slots__ = ("_count", "_sum", "_value", "alpha", "period")
    STATE: ClassVar[tuple[str, ...]] = ("_count", "_sum", "_value")

    def __init__(self, period: int, alpha: float | None = None) -> None:
        self.period = period
        self.alpha = 2.0 / (period + 1) if alpha is None else alpha
        self._count = 0
        self._sum = 0.0
        self._value: float | None = None

    def step(self, value: float, commit: bool) -> float | None:
        mean = self._value
        if mean is None:
            return self._seed(value, commit)
        mean += (value - mean) * self.alpha
        if commit:
            self._value = mean
        return mean

    def _seed(self, value: float, commit: bool) -> float | None:
        total, count = self._sum + value, self._count + 1
        mean = total / count if count == self.period else None
        if commit:
            self._sum, self._count, self._value = total, count, mean
        return mean


def wilder(period: int) -> Exponential:
    """Wilder's smoothing: the newest value weighs 1 / period."""
    return Exponential(period, 1.0 / period)


class Highest(Rolling):
    """Maximum of the newest `period` values. The minimum is the negated maximum of negated values.

    Keeps only values that can still become the maximum: each enters and leaves once, so O(1) amortised.
    """

    __slots__ = ("_born", "_count", "_values", "period")
    STATE: ClassVar[tuple[str, ...]] = ("_born", "_count", "_values")

    def __init__(self, period: int) -> None:
        self.period = period
        self._count = 0
        self._born: deque[int] = deque()
        self._values: deque[float] = deque()

    def step(self, value: float, commit: bool) -> float | None:
        count, born, values = self._count, self._born, self._values
        expired = bool(born) and born[0] <= count - self.period
        best = value
        if len(values) > expired and values[expired] > value:
            best = values[expired]
        if commit:
            if expired:
                born.popleft()
                values.popleft()
            while values and values[-1] <= value:
                born.pop()
                values.pop()
            born.append(count)
            values.append(value)
            self._count = count + 1
        return best if count + 1 >= self.period else None


class Lag(Rolling):
    """The value `period` values ago."""

    __slots__ = ("_at", "_full", "_ring", "period")
    STATE: ClassVar[tuple[str, ...]] = ("_at", "_full", "_ring")

    def __init__(self, period: int) -> None:
        self.period = period
        self._ring = [0.0] * period
        self._at = 0
        self._full = False

    def step(self, value: float, commit: bool) -> float | None:
        at = self._at
        past = self._ring[at] if self._full else None
        if commit:
            self._ring[at] = value
            at += 1
            if at == self.period:
                at = 0
                self._full = True
            self._at = at
        return past
