"""The outside market's prints under rising numbers, the newest of each market."""

from __future__ import annotations

from collections import deque
from itertools import groupby
from typing import Final

from engine.core.times import NS_PER_MIN
from engine.exchange.simulator.source import Print, Quote

_KEPT: Final = 500
_NS_PER_US: Final = 1_000


class Tape:
    """Numbers are without gaps while a process lives, and higher after a restart: they start at the time."""

    def __init__(self) -> None:
        self._prints: dict[str, deque[Print]] = {}

    def on_quote(self, quote: Quote) -> Print | None:
        """Number the quote's print; None when it printed nothing."""
        if not quote.size:
            return None
        kept = self._prints.setdefault(quote.symbol, deque(maxlen=_KEPT))
        number = kept[-1].trade_id + 1 if kept else quote.ts // _NS_PER_US
        made = Print(number, quote.ts, quote.price, quote.size, quote.side)
        kept.append(made)
        return made

    def newest_first(self, symbol: str) -> list[Print]:
        return list(reversed(self._prints.get(symbol, ())))


def fold(prints: list[Print]) -> list[tuple[Print, int]]:
    """At most four prints a minute with how many each stands for; first, highest, lowest, last keep theirs.

    The sizes of the others are added to the next one kept, so that bars built of either are the same.
    """
    minutes = groupby(prints, key=lambda made: made.ts // NS_PER_MIN)
    return [told for _, members in minutes for told in _folded(list(members))]


def _folded(prints: list[Print]) -> list[tuple[Print, int]]:
    prices = [made.price for made in prints]
    keep = {0, prices.index(max(prices)), prices.index(min(prices)), len(prints) - 1}
    folded: list[tuple[Print, int]] = []
    size, count = prints[0].size * 0, 0
    for i, made in enumerate(prints):
        size, count = size + made.size, count + 1
        if i in keep:
            folded.append((made._replace(size=size), count))
            size, count = size * 0, 0
    return folded
