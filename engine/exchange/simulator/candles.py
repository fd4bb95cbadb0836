"""Bars of the simulated market: one-minute bars are kept, longer ones are made of them when asked for."""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from itertools import groupby
from typing import Final

from engine.core.times import NS_PER_MIN
from engine.exchange.simulator.source import Bar, Quote

_KEPT: Final = 6_000


class BarStore:
    """Closed one-minute bars and the forming one, by symbol."""

    def __init__(self) -> None:
        self._closed: dict[str, deque[Bar]] = {}
        self._forming: dict[str, Bar] = {}

    def load(self, history: dict[str, list[Bar]]) -> None:
        """Add a past; bars that are not newer than what is there are dropped."""
        for symbol, bars in history.items():
            kept = self._closed.setdefault(symbol, deque(maxlen=_KEPT))
            newest = kept[-1].ts_open if kept else -1
            kept.extend(bar for bar in bars if bar.ts_open > newest)

    def on_quote(self, quote: Quote) -> Bar | None:
        """Take a print; the minute that it ended, if it did. Minutes without a print have no bar."""
        minute = quote.ts - quote.ts % NS_PER_MIN
        forming, price = self._forming.get(quote.symbol), quote.price
        if forming is None or forming.ts_open != minute:
            self._forming[quote.symbol] = Bar(minute, price, price, price, price, quote.size)
            if forming is not None:
                self._closed.setdefault(quote.symbol, deque(maxlen=_KEPT)).append(forming)
            return forming
        self._forming[quote.symbol] = Bar(
            minute,
            forming.open,
            max(forming.high, price),
            min(forming.low, price),
            price,
            forming.volume + quote.size,
        )
        return None

    def bars(self, symbol: str, period_ns: int) -> list[tuple[Bar, bool]]:
        """Bars of a period, oldest first, with whether each is closed; the last one is the forming one."""
        minutes = list(self._closed.get(symbol, ()))
        forming = self._forming.get(symbol)
        merged = [
            _merge(ts_open, list(group))
            for ts_open, group in groupby(
                [*minutes, forming] if forming else minutes,
                key=lambda bar: bar.ts_open - bar.ts_open % period_ns,
            )
        ]
        if period_ns > NS_PER_MIN and merged and minutes and minutes[0].ts_open % period_ns:
            del merged[0]  # its beginning is not known
        now = (forming or minutes[-1]).ts_open if merged else 0
        return [(bar, bar.ts_open + period_ns <= now) for bar in merged]

    def newest(self, symbol: str, period_ns: int) -> Bar | None:
        """The forming bar of a period; cheap, for pushes."""
        forming = self._forming.get(symbol)
        if forming is None:
            return None
        start = forming.ts_open - forming.ts_open % period_ns
        return _merge(start, [*self._since(symbol, start), forming])

    def just_closed(self, symbol: str, minute: Bar, period_ns: int) -> Bar | None:
        """The bar of a period that ended with this minute; None when the minute is in its middle."""
        if (minute.ts_open + NS_PER_MIN) % period_ns:
            return None
        start = minute.ts_open + NS_PER_MIN - period_ns
        members = [bar for bar in self._since(symbol, start) if bar.ts_open <= minute.ts_open]
        return _merge(start, members) if members else None

    def _since(self, symbol: str, start_ns: int) -> list[Bar]:
        found: list[Bar] = []
        for bar in reversed(self._closed.get(symbol, ())):
            if bar.ts_open < start_ns:
                break
            found.append(bar)
        return found[::-1]

    def day(self, symbol: str, now_ns: int) -> tuple[Decimal, Decimal, Decimal, Decimal] | None:
        """Open, high, low and volume of the last 24 hours; None before the first bar."""
        bars = self._since(symbol, now_ns - 1440 * NS_PER_MIN)
        if forming := self._forming.get(symbol):
            bars.append(forming)
        if not bars:
            return None
        whole = _merge(0, bars)
        return whole.open, whole.high, whole.low, whole.volume

    def dump(self) -> dict[str, list[Bar]]:
        """Everything, the forming bars last, to be given to `revive`."""
        return {
            symbol: [*closed, *([self._forming[symbol]] if symbol in self._forming else [])]
            for symbol, closed in self._closed.items()
        }

    def revive(self, dumped: dict[str, list[Bar]]) -> None:
        """Take back what `dump` gave."""
        for symbol, bars in dumped.items():
            self._closed[symbol] = deque(bars[:-1], maxlen=_KEPT)
            self._forming[symbol] = bars[-1]


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
