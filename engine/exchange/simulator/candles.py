"""Bars of the simulated market: minutes are kept, then their hours; longer bars are made when asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby, takewhile
from typing import Final, NamedTuple

from engine.core.times import NS_PER_DAY, NS_PER_HOUR, NS_PER_MIN, NS_PER_S
from engine.exchange.simulator.past import COARSE_NS, FINE_NS, NO_PAST, Bar, Past
from engine.exchange.simulator.source import Quote

_KEPT: Final = 6_000
_HOURS_KEPT: Final = 3_000


class Dump(NamedTuple):
    """What a store remembers, by symbol."""

    closed: dict[str, list[Bar]]
    forming: dict[str, Bar]
    hours: dict[str, list[Bar]]
    firsts: dict[str, Bar]


class Period(NamedTuple):
    """A length of bars and how much later than at 00:00 UTC of 1970-01-01 they open; or calendar months."""

    length_ns: int
    offset_ns: int = 0
    months: int = 0

    def start(self, ts_ns: int) -> int:
        """When the bar opened that a time belongs to."""
        if not self.months:
            return ts_ns - (ts_ns - self.offset_ns) % self.length_ns
        day = datetime.fromtimestamp((ts_ns - self.offset_ns) // NS_PER_S, UTC)
        return self._month(day.year * 12 + day.month - 1)

    def end(self, start_ns: int) -> int:
        """When a bar ends that opened at `start_ns`."""
        if not self.months:
            return start_ns + self.length_ns
        day = datetime.fromtimestamp((start_ns - self.offset_ns) // NS_PER_S, UTC)
        return self._month(day.year * 12 + day.month - 1 + self.months)

    def _month(self, number: int) -> int:
        year, month = divmod(number - number % self.months, 12)
        return int(datetime(year, month + 1, 1, tzinfo=UTC).timestamp()) * NS_PER_S + self.offset_ns


def _periods() -> Iterator[tuple[str, Period]]:
    for minutes in (1, 3, 5, 15, 30):
        yield f"{minutes}m", Period(minutes * NS_PER_MIN)
    for hours in (1, 2, 4):
        yield f"{hours}H", Period(hours * NS_PER_HOUR)
    longer = {f"{hours}H": Period(hours * NS_PER_HOUR) for hours in (6, 12)}
    longer |= {f"{days}D": Period(days * NS_PER_DAY) for days in (1, 2, 3, 5)}
    longer["1W"] = Period(7 * NS_PER_DAY, _FIRST_MONDAY_NS)
    longer |= {f"{months}M": Period(months * 31 * NS_PER_DAY, months=months) for months in (1, 3)}
    for name, period in longer.items():
        yield name, period._replace(offset_ns=period.offset_ns - _CHINA_NS)
        yield f"{name}utc", period


_CHINA_NS: Final = 8 * NS_PER_HOUR  # long bars open at 00:00 of UTC+8 (okx docs, «Get candlesticks»)
_FIRST_MONDAY_NS: Final = 4 * NS_PER_DAY  # 1970-01-01 was a Thursday
PERIODS: Final = dict(_periods())  # by OKX's name: 1m, 1H, 1Dutc


class BarStore:
    """Closed one-minute bars without holes, and the forming one, by symbol."""

    def __init__(self, older: Callable[[str, Bar], Past] = lambda _symbol, _first: NO_PAST) -> None:
        self._older = older  # what came before the first minute of a symbol
        self._pasts: dict[str, Past] = {}
        self._firsts: dict[str, Bar] = {}
        self._hours: dict[str, deque[Bar]] = {}
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
            kept = self._closed.setdefault(symbol, deque())
            if not kept and added[0].ts_open % COARSE_NS == 0:
                self._firsts[symbol] = added[0]
            newest = kept[-1].ts_open if kept else -1
            self._close(symbol, *(bar for bar in added if bar.ts_open > newest))

    def on_quote(self, quote: Quote) -> list[Bar]:
        """Take a print; the minutes that ended with it."""
        ended = self.roll(quote.symbol, quote.ts)
        if quote.size:
            self._closed.setdefault(quote.symbol, deque())
            self._forming[quote.symbol] = with_print(self._forming.get(quote.symbol), quote, NS_PER_MIN)
        return ended

    def pass_over(self, symbol: str, bars: Iterable[Bar]) -> None:
        """Whole minutes of which no quote was told; the first may be the one that was forming."""
        self._forming.pop(symbol, None)
        self._close(symbol, *bars)

    def roll(self, symbol: str, ts_ns: int) -> list[Bar]:
        """Let time pass: minutes that ended by `ts_ns`. One without a print stays at the price before it."""
        forming = self._forming.get(symbol)
        ended: list[Bar] = []
        while forming is not None and forming.ts_open + NS_PER_MIN <= ts_ns:
            ended.append(forming)
            self._close(symbol, forming)
            forming = self._forming[symbol] = flat_after(forming, NS_PER_MIN)
        return ended

    def bars(self, symbol: str, period: Period) -> list[tuple[Bar, bool]]:
        """Bars of a period, oldest first, with whether each is closed; the last one is the forming one."""
        forming = self._forming.get(symbol)
        known = self._known(symbol, period)
        if forming:
            known.append(forming)
        if not known:
            return []
        merged = [
            _merge(ts_open, list(group))
            for ts_open, group in groupby(known, key=lambda bar: period.start(bar.ts_open))
        ]
        if period.start(known[0].ts_open) != known[0].ts_open:
            del merged[0]  # its beginning is not known
        now = forming.ts_open if forming else known[-1].ts_open + NS_PER_MIN
        return [(bar, period.end(bar.ts_open) <= now) for bar in merged]

    def _known(self, symbol: str, period: Period) -> list[Bar]:
        """Closed bars that a period can be made of, oldest first: minutes, and longer ones before them."""
        minutes, hours = list(self._closed.get(symbol, ())), list(self._hours.get(symbol, ()))
        if period.length_ns < FINE_NS or (hours and period.length_ns < COARSE_NS):
            return minutes
        if period.length_ns < COARSE_NS:
            return [*self._past(symbol).fine, *minutes]
        past = self._past(symbol)
        return [*past.coarse, *past.fine, *hours, *minutes]

    def _past(self, symbol: str) -> Past:
        if symbol not in self._pasts:
            first = self._firsts.get(symbol)
            self._pasts[symbol] = NO_PAST if first is None else self._older(symbol, first)
        return self._pasts[symbol]

    def _close(self, symbol: str, *bars: Bar) -> None:
        """Keep closed minutes; beyond the bound the oldest ones go into the bar of their hour, together."""
        kept = self._closed.setdefault(symbol, deque())
        kept.extend(bars)
        while len(kept) >= _KEPT + COARSE_NS // NS_PER_MIN:
            hours = self._hours.setdefault(symbol, deque(maxlen=_HOURS_KEPT))
            start = kept[0].ts_open - kept[0].ts_open % COARSE_NS
            old = [hours.pop()] if hours and hours[-1].ts_open == start else []
            while kept[0].ts_open < start + COARSE_NS:
                old.append(kept.popleft())
            hours.append(_merge(start, old))

    def newest(self, symbol: str, period: Period) -> Bar | None:
        """The forming bar of a period; cheap, for pushes."""
        forming = self._forming.get(symbol)
        if forming is None:
            return None
        start = period.start(forming.ts_open)
        return _merge(start, [*self._since(symbol, start, period), forming])

    def just_closed(self, symbol: str, minute: Bar, period: Period) -> Bar | None:
        """The bar of a period that ended with this minute; None when the minute is in its middle."""
        end = minute.ts_open + NS_PER_MIN
        if period.start(end) != end:
            return None
        start = period.start(minute.ts_open)
        members = [bar for bar in self._since(symbol, start, period) if bar.ts_open <= minute.ts_open]
        return _merge(start, members) if members else None

    def _since(self, symbol: str, start_ns: int, period: Period) -> list[Bar]:
        minutes = self._closed.get(symbol, ())
        known = minutes if minutes and minutes[0].ts_open <= start_ns else self._known(symbol, period)
        return list(takewhile(lambda bar: bar.ts_open >= start_ns, reversed(known)))[::-1]

    def day(self, symbol: str, now_ns: int) -> Bar | None:
        """The last 24 hours in one; None before the first bar."""
        bars = self._since(symbol, now_ns - NS_PER_DAY, PERIODS["1D"])
        if forming := self._forming.get(symbol):
            bars.append(forming)
        return _merge(bars[0].ts_open, bars) if bars else None

    def dump(self) -> Dump:
        """Everything, to be given to `revive`."""
        return Dump(
            {symbol: list(bars) for symbol, bars in self._closed.items()},
            self._forming,
            {symbol: list(hours) for symbol, hours in self._hours.items()},
            self._firsts,
        )

    def revive(self, dumped: Dump) -> None:
        """Take back what `dump` gave."""
        self._closed = {symbol: deque(bars) for symbol, bars in dumped.closed.items()}
        self._forming, self._firsts = dict(dumped.forming), dict(dumped.firsts)
        self._hours = {symbol: deque(hours, maxlen=_HOURS_KEPT) for symbol, hours in dumped.hours.items()}


def with_print(forming: Bar | None, quote: Quote, length_ns: int) -> Bar:
    """The forming bar after a print; None: the first of its market."""
    price = quote.price
    if forming is None:
        forming = Bar(quote.ts - quote.ts % length_ns, price, price, price, price, Decimal(0))
    elif not forming.volume:  # opened by time alone: the first print opens it anew
        forming = Bar(forming.ts_open, price, price, price, price, Decimal(0))
    high, low = max(forming.high, price), min(forming.low, price)
    return Bar(forming.ts_open, forming.open, high, low, price, forming.volume + quote.size)


def flat_after(bar: Bar, length_ns: int) -> Bar:
    """The next bar, without a print yet: it stays at the price before it."""
    last = bar.close
    return Bar(bar.ts_open + length_ns, last, last, last, last, Decimal(0))


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
