"""Candle files: a candle is played within its own interval, by what it says alone.

Open at its start, the extreme nearer to the open at one third (low first on a tie), the other at two
thirds, and the close a second before its end. Which one came first in truth is not in a candle, and nothing
later is looked at. The first candles are the market's past and are not played.

That path is a guess, and whoever trades within it knows more than a market tells: after the nearer extreme
comes the other one. So for a backtest (`corners`) the market stands at the open, and extremes and close come
in the last milliseconds: they fill and trigger what rests, and nobody can act between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Final, overload

from engine.core.errors import ConfigError
from engine.core.times import NS_PER_MIN, NS_PER_MS, NS_PER_S
from engine.exchange.simulator.bar_columns import BarColumns
from engine.exchange.simulator.past import Bar
from engine.exchange.simulator.recorded import HISTORY_CANDLES, Point, Recording, Row, finite, read_rows
from engine.exchange.simulator.universe import Listing

_MOST_STEPS: Final = 10
_MOST_USD: Final = 5_000_000_000  # of turnover in the middle candle; where it is more, volumes are dollars


def read_candles(path: Path, listing: Listing, rows: Iterator[Row], *, corners: bool = False) -> Recording:
    """Rows `ts_ms,open,high,low,close,volume`. Raises ConfigError that names file and line.

    `corners`: extremes and close at the end, without steps between them.
    """
    instrument = listing.instrument
    bars = BarColumns(instrument)

    def volume(row: Row) -> Decimal:
        bars.add(int(row[0]) * NS_PER_MS, row[1:5])
        return finite(row[5])

    volumes = read_rows(path, rows, volume)
    if len(bars) < 2:  # noqa: PLR2004 - a period needs two
        raise ConfigError(f"{path} holds no two candles")
    period = min(after - before for before, after in pairwise(bars.ts))
    if period < NS_PER_MIN or period % NS_PER_MIN:
        raise ConfigError(f"{path}: times must rise by whole minutes")
    if median(float(each * close) for each, close in zip(volumes, bars.closes(), strict=True)) >= _MOST_USD:
        volumes = [each / close for each, close in zip(volumes, bars.closes(), strict=True)]
    try:
        bars.set_contracts(each / instrument.contract_value for each in volumes)
    except OverflowError as error:
        raise ConfigError(f"{path} holds a volume that no market has") from error
    past = min(HISTORY_CANDLES, len(bars) // 2)
    first = bars.ts[past]
    earlier = [each._replace(ts_open=each.ts_open - first) for each in bars[:past]]
    return Recording(
        name=path.name,
        listing=listing,
        period_ns=period,
        first_ns=first,
        history=[minute for each in earlier for minute in minutes_of(each, period)],
        points=CandlePath(bars.since(past), period, corners=corners),
    )


def minutes_of(bar: Bar, period: int) -> list[Bar]:
    """A longer candle as one-minute bars along its path; the same candle when they are put together."""
    count = period // NS_PER_MIN
    if count == 1:
        return [bar]
    corners = [bar.open, *_extremes(bar), bar.close]
    minutes: list[Bar] = []
    for i in range(count):
        first, last = i * 3 // count, (i + 1) * 3 // count
        touched = corners[first : last + 1]
        at = bar.ts_open + i * NS_PER_MIN
        minutes.append(Bar(at, touched[0], max(touched), min(touched), touched[-1], bar.volume / count))
    return minutes


def _extremes(bar: Bar) -> tuple[Decimal, Decimal]:
    """High and low in the order in which they are played: the one nearer to the open first."""
    if bar.high - bar.open < bar.open - bar.low:
        return bar.high, bar.low
    return bar.low, bar.high


class CandlePath(Sequence[Point]):
    """The moments of candles, made when they are asked for: a year of minutes is ten million of them.

    Open, extremes and close; unless it is by `corners` alone, with steps from each to the next, so that a
    candle is not three jumps. `moments` are those of each of the `bars`, whose times are as in Point.
    """

    def __init__(self, bars: BarColumns, period: int, *, corners: bool) -> None:
        self.bars, self._instrument = bars, bars.instrument
        self.corners = corners
        self._times = [0, period // 3, 2 * period // 3, period - NS_PER_S]
        self._steps = max(1, min(_MOST_STEPS, period // (15 * NS_PER_S)))
        if corners:
            self._times = [0, period - 3 * NS_PER_MS, period - 2 * NS_PER_MS, period - NS_PER_MS]
            self._steps = 1
        self.moments = 3 * self._steps + 1
        self._made: dict[int, list[Point]] = {}  # of two candles: moments are asked for one after the other

    def __len__(self) -> int:
        return len(self.bars) * self.moments

    @overload
    def __getitem__(self, index: int) -> Point: ...

    @overload
    def __getitem__(self, index: slice) -> list[Point]: ...

    def __getitem__(self, index: int | slice) -> Point | list[Point]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at, number = divmod(range(len(self))[index], self.moments)
        made = self._made.get(at)
        return (made or self._candle(at))[number]

    def _candle(self, at: int) -> list[Point]:
        """All moments of a candle. The last one trades what equal parts leave: together it is its volume."""
        bar, lot, steps = self.bars[at], self._instrument.lot_size, self._steps
        size = max(lot, self._instrument.floor_size(bar.volume / self.moments))
        corners = [bar.open, *_extremes(bar), bar.close]
        points = [Point(bar.ts_open, bar.open, size)]
        for (begin, start), (end, price) in pairwise(zip(self._times, corners, strict=True)):
            for part in range(1, steps):
                between = self._instrument.round_price(start + (price - start) * part / steps)
                points.append(Point(bar.ts_open + begin + (end - begin) * part // steps, between, size))
            points.append(Point(bar.ts_open + end, price, size))
        points[-1] = points[-1]._replace(contracts=max(lot, bar.volume - size * (self.moments - 1)))
        if len(self._made) > 1:
            del self._made[next(iter(self._made))]
        self._made[at] = points
        return points
