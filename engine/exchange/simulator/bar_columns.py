"""Candles by column: a year of minutes takes 25 MB, where a bar each would take four hundred.

Whole numbers, so that nothing is lost: a price in the last digit of the market's tick, a volume in lots.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final, overload

from engine.core.instruments import Instrument
from engine.core.market import Candle
from engine.exchange.simulator.past import Bar

_MOST: Final = 2**63 - 1  # of a column
_ZERO: Final = Decimal(0)
Calm = tuple[Decimal, Decimal]  # prices, both excluded


class BarColumns(Sequence[Bar]):
    """Candles of one market in the order of their times, ns. A bar is made when it is asked for."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self._digits = max(0, -int(instrument.tick_size.as_tuple().exponent))
        self._unit = 10**self._digits
        self._digit = Decimal(1).scaleb(-self._digits)
        self._exact = instrument.tick_size == self._digit  # every number of digits is a price
        self._coins, self._of_coins = instrument.coins(instrument.lot_size).as_integer_ratio()
        self.ts = array("q")
        self._open, self._high, self._low, self._close, self._lots = (array("q") for _ in range(5))

    def add(self, ts: int, prices: Sequence[str]) -> None:
        """One more candle: open, high, low and close to the nearest tick.

        Raises ValueError or InvalidOperation for what is none.
        """
        opened, high, low, close = map(self._units, prices)
        if not low <= min(opened, close) <= max(opened, close) <= high:
            raise ValueError("open and close must lie between low and high")
        if max(high, ts, -low) > _MOST:
            raise ValueError("too large a number")
        self.ts.append(ts)
        self._open.append(opened)
        self._high.append(high)
        self._low.append(low)
        self._close.append(close)

    def set_contracts(self, volumes: Iterable[Decimal]) -> None:
        """What was traded in each candle; whole lots of it. Raises OverflowError."""
        lot = self.instrument.lot_size
        self._lots = array("q", (int(contracts / lot) for contracts in volumes))

    def closes(self) -> Iterator[Decimal]:
        """One after the other."""
        return (close * self._digit for close in self._close)

    def since(self, first: int) -> BarColumns:
        """The candles from number `first` on, their times counted from its open."""
        rest = BarColumns(self.instrument)
        start = self.ts[first]
        rest.ts = array("q", (ts - start for ts in self.ts[first:]))
        rest._open, rest._high, rest._low = self._open[first:], self._high[first:], self._low[first:]
        rest._close, rest._lots = self._close[first:], self._lots[first:]
        return rest

    def __len__(self) -> int:
        return len(self.ts)

    @overload
    def __getitem__(self, index: int) -> Bar: ...

    @overload
    def __getitem__(self, index: slice) -> list[Bar]: ...

    def __getitem__(self, index: int | slice) -> Bar | list[Bar]:
        if isinstance(index, slice):
            return list(self.bars(range(len(self))[index]))
        number = range(len(self))[index]
        return next(self.bars(range(number, number + 1)))

    def bars(self, numbers: range, start_ns: int = 0) -> Iterator[Bar]:
        """Candles that follow each other; `start_ns` is the time 0 of the columns."""
        digit, lot = self._digit, self.instrument.lot_size
        for ts, opened, high, low, close, lots in self._rows(numbers):
            volume = (lots * lot).normalize() + _ZERO  # as Instrument.floor_size writes it
            yield Bar(start_ns + ts, opened * digit, high * digit, low * digit, close * digit, volume)

    def calm(self, numbers: range, period: int, calm: Calm, least_lots: int) -> int:
        """How many of those stay within `calm`, trade so many lots, and have another candle right after.

        Counted from the first of them, up to one that does not.
        """
        low = math.floor(calm[0] * self._unit)
        high = math.ceil(calm[1] * self._unit) if calm[1].is_finite() else _MOST
        ts, lows, highs, lots = self.ts, self._low, self._high, self._lots
        for at in numbers:
            if not (low < lows[at] and highs[at] < high and least_lots <= lots[at]):
                return at - numbers.start
            if ts[at + 1] - ts[at] != period:
                return at - numbers.start
        return len(numbers)

    def candles(self, numbers: range, timeframe: str, period: int, start_ns: int) -> Iterator[Candle]:
        """Those candles as a feed tells them at their ends; `start_ns` is the time 0 of the columns."""
        symbol, unit = self.instrument.symbol, self._unit
        coins, of_coins = self._coins, self._of_coins
        for ts, opened, high, low, close, lots in self._rows(numbers):
            ts_open = start_ns + ts
            end = ts_open + period
            yield Candle(
                symbol,
                timeframe,
                ts_open,
                opened / unit,
                high / unit,
                low / unit,
                close / unit,
                lots * coins / of_coins,
                True,
                end,
                end,
            )

    def _rows(self, numbers: range) -> Iterator[tuple[int, ...]]:
        columns = (self.ts, self._open, self._high, self._low, self._close, self._lots)
        return zip(*(column[numbers.start : numbers.stop] for column in columns), strict=True)

    def _units(self, text: str) -> int:
        """A price in units of the last digit. Raises ValueError or InvalidOperation for what is no number."""
        whole, _, part = text.partition(".")
        if self._exact and whole.isdecimal() and len(part) <= self._digits and (part.isdecimal() or not part):
            return int(whole + part.ljust(self._digits, "0"))
        value = Decimal(text)
        if not value.is_finite():
            raise ValueError(f"{text} is no number")
        return int(self.instrument.round_price(value, ROUND_HALF_EVEN) * self._unit)
