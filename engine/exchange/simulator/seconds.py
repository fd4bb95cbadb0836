"""Bars of one second: the newest hour of them, without holes, and gone with the process."""

from __future__ import annotations

from collections import deque
from typing import Final

from engine.core.times import NS_PER_S
from engine.exchange.simulator.candles import Period, flat_after, with_print
from engine.exchange.simulator.past import Bar
from engine.exchange.simulator.source import Quote

SECOND: Final = Period(NS_PER_S)
_KEPT: Final = 3_600


class SecondBars:
    """Closed bars and the forming one, by symbol; none where they are not `wanted` from the start."""

    def __init__(self) -> None:
        self.wanted = True
        self._closed: dict[str, deque[Bar]] = {}
        self._forming: dict[str, Bar] = {}

    def on_quote(self, quote: Quote) -> list[Bar]:
        """Take a print; the seconds that ended with it."""
        ended = self.roll(quote.symbol, quote.ts)
        if quote.size and self.wanted:
            self._forming[quote.symbol] = with_print(self._forming.get(quote.symbol), quote, NS_PER_S)
        return ended

    def roll(self, symbol: str, ts_ns: int) -> list[Bar]:
        """Let time pass: seconds that ended by `ts_ns`. After more than is kept, the newest of them."""
        forming = self._forming.get(symbol)
        if forming is None:
            return []
        kept, ended = self._closed.setdefault(symbol, deque(maxlen=_KEPT)), []
        missed = (ts_ns - forming.ts_open) // NS_PER_S - _KEPT
        if missed > 0:
            kept.clear()
            forming = flat_after(forming, missed * NS_PER_S)
        while forming.ts_open + NS_PER_S <= ts_ns:
            ended.append(forming)
            forming = flat_after(forming, NS_PER_S)
        kept.extend(ended)
        self._forming[symbol] = forming
        return ended

    def closed(self, symbol: str) -> list[Bar]:
        """Those that have ended, oldest first."""
        return list(self._closed.get(symbol, ()))

    def newest(self, symbol: str) -> Bar | None:
        """The forming one."""
        return self._forming.get(symbol)
