"""Compares the top of each book with REST, as OKX advises since its checksum is gone.

A market moves between the two answers, so REST is right when its best prices lie within what the book showed
from before the request until shortly after the answer. A book that disagrees three times in a row is wrong:
a level was lost, or the channel stands still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import structlog

from engine.clock import Clock
from engine.core.errors import Rejected, Unavailable
from engine.core.market import BookTop, Levels
from engine.exchange.okx.market_wire import decode_top
from engine.exchange.okx.rest import RestClient, readable

log = structlog.get_logger()

_LOOKS: Final = 3


class BookCheck:
    """Looks at every book each `every_s` real seconds; `distrust` is told the symbol of a wrong one."""

    def __init__(
        self, rest: RestClient, clock: Clock, every_s: float, distrust: Callable[[str], None]
    ) -> None:
        self._rest, self._clock, self._distrust = rest, clock, distrust
        self._every_s, self._settle_s, self._pause_s = every_s, every_s / 60, every_s / 30
        self._tops: dict[str, BookTop] = {}
        self._shown: dict[str, list[BookTop]] = {}  # while a look is under way
        self.looks = 0
        self.wrong = 0  # books that were distrusted

    def saw(self, top: BookTop) -> None:
        """The book of a symbol changed."""
        self._tops[top.symbol] = top
        if self._shown and top.symbol in self._shown:
            self._shown[top.symbol].append(top)

    def forget(self, symbol: str) -> None:
        """The book is known to be worthless; it is not looked at before it shows something again."""
        self._tops.pop(symbol, None)

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self._clock.sleep_real(self._every_s)
            for symbol in list(self._tops):
                await self.check(symbol)

    async def check(self, symbol: str) -> None:
        """Up to three looks at one book."""
        for _ in range(_LOOKS):
            if await self._agrees(symbol):
                return
            await self._clock.sleep_real(self._pause_s)
        if symbol in self._tops:
            self.wrong += 1
            log.warning("order book differs from REST", symbol=symbol)
            self._distrust(symbol)

    async def _agrees(self, symbol: str) -> bool:
        """Also True where nothing can be said: no book, no answer, or one that is older than the book."""
        top = self._tops.get(symbol)
        if top is None:
            return True
        shown = self._shown[symbol] = [top]
        try:
            query = {"instId": symbol, "sz": "1"}
            body = await self._rest.get("market/books", query, symbol=symbol, private=False)
            venue = readable(lambda raw: decode_top(raw, symbol), body)
            await self._clock.sleep_real(self._settle_s)
        except (Unavailable, Rejected) as error:
            log.debug("order book not compared", symbol=symbol, error=str(error))
            return True
        finally:
            del self._shown[symbol]
        self.looks += 1
        if symbol not in self._tops or venue.ts_event < top.ts_event:
            return True  # it broke meanwhile, which is known; or REST tells of a time before
        bids, asks = [_best(each.bids) for each in shown], [_best(each.asks) for each in shown]
        return _within(_best(venue.bids), bids) and _within(_best(venue.asks), asks)


def _best(levels: Levels) -> float | None:
    return levels[0].price if levels else None


def _within(price: float | None, shown: Iterable[float | None]) -> bool:
    """Whether the best price of a side (None: the side is empty) lies in the range that was shown."""
    prices = [each for each in shown if each is not None]
    if price is None:
        return len(prices) == 0 or None in shown
    return bool(prices) and min(prices) <= price <= max(prices)
