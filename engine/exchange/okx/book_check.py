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
from engine.core.market import Levels
from engine.exchange.okx.market_wire import decode_top
from engine.exchange.okx.rest import RestClient, readable
from engine.exchange.okx.tops import ShownTops

log = structlog.get_logger()

_LOOKS: Final = 3


class BookCheck:
    """Looks at every book each `every_s` real seconds; `distrust` is told the symbol of a wrong one."""

    def __init__(
        self,
        tops: ShownTops,
        rest: RestClient,
        clock: Clock,
        every_s: float,
        distrust: Callable[[str], None],
    ) -> None:
        self.tops, self._rest, self._clock, self._distrust = tops, rest, clock, distrust
        self._every_s, self._settle_s, self._pause_s = every_s, every_s / 60, every_s / 30
        self.looks = 0
        self.wrong = 0  # books that were distrusted

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self._clock.sleep_real(self._every_s)
            for symbol in self.tops.symbols:
                await self.check(symbol)

    async def check(self, symbol: str) -> None:
        """Up to three looks at one book."""
        for _ in range(_LOOKS):
            if await self._agrees(symbol):
                return
            await self._clock.sleep_real(self._pause_s)
        if self.tops.newest(symbol) is not None:
            self.wrong += 1
            log.warning("order book differs from REST", symbol=symbol)
            self._distrust(symbol)

    async def _agrees(self, symbol: str) -> bool:
        """Also True where nothing can be said: no book, no answer, or one that is older than the book."""
        top = self.tops.newest(symbol)
        if top is None:
            return True
        shown = self.tops.look(top)
        try:
            query = {"instId": symbol, "sz": "1"}
            body = await self._rest.get("market/books", query, symbol=symbol, private=False)
            venue = readable(lambda raw: decode_top(raw, symbol), body)
            await self._clock.sleep_real(self._settle_s)
        except (Unavailable, Rejected) as error:
            log.debug("order book not compared", symbol=symbol, error=str(error))
            return True
        finally:
            self.tops.look_away(symbol)
        self.looks += 1
        if self.tops.newest(symbol) is None or venue.ts_event < top.ts_event:
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
