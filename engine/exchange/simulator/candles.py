"""Bars of the simulated market: one-minute bars are kept, longer ones are made of them when asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from itertools import groupby
from typing import Final, NamedTuple

from engine.core.times import NS_PER_DAY, NS_PER_HOUR, NS_PER_MIN
from engine.exchange.simulator.source import Bar, Quote

_KEPT: Final = 6_000
Dump = dict[str, tuple[list[Bar], Bar | None]]  # closed bars and the forming one, by symbol


class Period(NamedTuple):
    """A length of bars and how much later than at 00:00 UTC they open."""

    length_ns: int
    offset_ns: int = 0

    def start(self, ts_ns: int) -> int:
        return ts_ns - (ts_ns - self.offset_ns) % self.length_ns


def _periods() -> Iterator[tuple[str, Period]]:
    for minutes in (1, 3, 5, 15, 30):
        yield f"{minutes}m", Period(minutes * NS_PER_MIN)
    for hours in (1, 2, 4):
        yield f"{hours}H", Period(hours * NS_PER_HOUR)
    for name, length in (("6H", 6 * NS_PER_HOUR), ("12H", 12 * NS_PER_HOUR), ("1D", NS_PER_DAY)):
        yield name, Period(length, -8 * NS_PER_HOUR)  # at 00:00 of UTC+8 (okx docs, «Get candlesticks»)
        yield f"{name}utc", Period(length)


PERIODS: Final = dict(_periods())  # by OKX's name: 1m, 1H, 1Dutc


class BarStore:
    """Closed one-minute bars without holes, and the forming one, by symbol."""

    def __init__(self) -> None:
        self._closed: dict[str, deque[Bar]] = {}
        self._forming: dict[str, Bar] = {}

    def load(self, past: dict[str, list[Bar]]) -> None:
        """Add minutes that had no quotes, newer than what is there; a minute that was forming goes on."""
        for symbol, bars in past.items():
            if not bars:
                continue
            forming = self._forming.pop(symbol, None)
            if forming is not None and bars and bars[0].ts_open == forming.ts_open:
                added = [_merge(forming.ts_open, [forming, bars[0]]), *bars[1:]]
            else:
                added = [*([forming] if forming else ()), *bars]
            kept = self._closed.setdefault(symbol, deque(maxlen=_KEPT))
            newest = kept[-1].ts_open if kept else -1
            kept.extend(bar for bar in added if bar.ts_open > newest)

    def on_quote(self, quote: Quote) -> list[Bar]:
        """Take a print; the minutes that ended with it."""
        ended = self.roll(quote.symbol, quote.ts)
        if not quote.size:
            return ended
        forming, price = self._forming.get(quote.symbol), quote.price
        if forming is None:
            self._closed.setdefault(quote.symbol, deque(maxlen=_KEPT))
            minute = quote.ts - quote.ts % NS_PER_MIN
            forming = Bar(minute, price, price, price, price, Decimal(0))
        elif not forming.volume:  # opened by time alone: the first print opens it anew
            forming = Bar(forming.ts_open, price, price, price, price, Decimal(0))
        self._forming[quote.symbol] = Bar(
            forming.ts_open,
            forming.open,
            max(forming.high, price),
            min(forming.low, price),
            price,
            forming.volume + quote.size,
        )
        return ended

    def roll(self, symbol: str, ts_ns: int) -> list[Bar]:
        """Let time pass: minutes that ended by `ts_ns`. One without a print stays at the price before it."""
        forming = self._forming.get(symbol)
        ended: list[Bar] = []
        while forming is not None and forming.ts_open + NS_PER_MIN <= ts_ns:
            ended.append(forming)
            self._closed.setdefault(symbol, deque(maxlen=_KEPT)).append(forming)
            last = forming.close
            forming = Bar(forming.ts_open + NS_PER_MIN, last, last, last, last, Decimal(0))
            self._forming[symbol] = forming
        return ended

    def bars(self, symbol: str, period: Period) -> list[tuple[Bar, bool]]:
        """Bars of a period, oldest first, with whether each is closed; the last one is the forming one."""
        minutes = list(self._closed.get(symbol, ()))
        forming = self._forming.get(symbol)
        merged = [
            _merge(ts_open, list(group))
            for ts_open, group in groupby(
                [*minutes, forming] if forming else minutes, key=lambda bar: period.start(bar.ts_open)
            )
        ]
        if merged and minutes and period.start(minutes[0].ts_open) != minutes[0].ts_open:
            del merged[0]  # its beginning is not known
        now = forming.ts_open if forming else minutes[-1].ts_open + NS_PER_MIN if minutes else 0
        return [(bar, bar.ts_open + period.length_ns <= now) for bar in merged]

    def newest(self, symbol: str, period: Period) -> Bar | None:
        """The forming bar of a period; cheap, for pushes."""
        forming = self._forming.get(symbol)
        if forming is None:
            return None
        start = period.start(forming.ts_open)
        return _merge(start, [*self._since(symbol, start), forming])

    def just_closed(self, symbol: str, minute: Bar, period: Period) -> Bar | None:
        """The bar of a period that ended with this minute; None when the minute is in its middle."""
        end = minute.ts_open + NS_PER_MIN
        if period.start(end) != end:
            return None
        start = end - period.length_ns
        members = [bar for bar in self._since(symbol, start) if bar.ts_open <= minute.ts_open]
        return _merge(start, members) if members else None

    def _since(self, symbol: str, start_ns: int) -> list[Bar]:
        found: list[Bar] = []
        for bar in reversed(self._closed.get(symbol, ())):
            if bar.ts_open < start_ns:
                break
            found.append(bar)
        return found[::-1]

    def day(self, symbol: str, now_ns: int) -> Bar | None:
        """The last 24 hours in one; None before the first bar."""
        bars = self._since(symbol, now_ns - NS_PER_DAY)
        if forming := self._forming.get(symbol):
            bars.append(forming)
        return _merge(bars[0].ts_open, bars) if bars else None

    def dump(self) -> Dump:
        """Everything, to be given to `revive`."""
        return {symbol: (list(bars), self._forming.get(symbol)) for symbol, bars in self._closed.items()}

    def revive(self, dumped: Dump) -> None:
        """Take back what `dump` gave."""
        for symbol, (bars, forming) in dumped.items():
            self._closed[symbol] = deque(bars, maxlen=_KEPT)
            if forming is not None:
                self._forming[symbol] = forming


def _merge(ts_open: int, bars: list[Bar]) -> Bar:
    if len(bars) == 1 and bars[0].ts_open == ts_open:
        return bars[0]
    return Bar(
        ts_open,
        bars[0].open,
        max(bar.high for bar in bars),
        min(bar.low for bar in bars),
        bars[-1].close,
        sum((bar.volume for bar in bars), Decimal(0)),
    )
