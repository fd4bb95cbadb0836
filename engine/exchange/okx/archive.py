"""What the venue keeps of a market's past: candles of years, funding of three months. No key is needed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Final

from engine.core.market import Candle
from engine.core.times import NS_PER_MS, timeframe_ns
from engine.exchange.okx import account_wire, market_readers, market_wire
from engine.exchange.okx.rest import RestClient, readable

_BARS_A_PAGE: Final = 100  # what every version of the endpoint gives
_RATES_A_PAGE: Final = 100


class Archive:
    """Reads page by page, at the venue's pace. Raises Unavailable, Rejected."""

    def __init__(self, rest: RestClient) -> None:
        self._rest = rest

    async def candles(
        self, symbol: str, timeframe: str, since_ns: int, until_ns: int
    ) -> AsyncIterator[list[Candle]]:
        """Closed candles that open in [since, until), page by page, oldest first.

        A page without one is given too: what the venue does not have is a hole, not the end.
        """
        step_ns = timeframe_ns(timeframe)
        start_ns = -(-since_ns // step_ns) * step_ns
        while start_ns < until_ns:
            end_ns = min(start_ns + _BARS_A_PAGE * step_ns, until_ns)
            page = await self._before(symbol, timeframe, end_ns, _BARS_A_PAGE)
            yield [candle for candle in page if start_ns <= candle.ts_open < end_ns]
            start_ns = end_ns

    async def has_candles(self, symbol: str, timeframe: str, since_ns: int, until_ns: int) -> bool:
        """Whether the venue has a candle that opens in [since, until)."""
        newest = await self._before(symbol, timeframe, until_ns, 1)
        return any(candle.ts_open >= since_ns for candle in newest)

    async def _before(self, symbol: str, timeframe: str, end_ns: int, count: int) -> list[Candle]:
        """The newest candles that open before a time, oldest first."""
        query = {
            "instId": symbol,
            "bar": market_readers.BARS[timeframe],
            "after": str(-(-end_ns // NS_PER_MS)),  # older than this
            "limit": str(count),
        }
        body = await self._rest.get("market/history-candles", query, symbol=symbol, private=False)
        return readable(lambda raw: market_wire.decode_candles(raw, symbol, timeframe), body)

    async def funding(self, symbol: str, since_ns: int) -> list[tuple[int, Decimal]]:
        """(time in ns, rate that was charged) since a time, oldest first, as far as the venue remembers."""
        found: dict[int, Decimal] = {}
        after = ""
        while True:
            query = {"instId": symbol, "limit": str(_RATES_A_PAGE)} | ({"after": after} if after else {})
            body = await self._rest.get("public/funding-rate-history", query, symbol=symbol, private=False)
            page = readable(account_wire.decode_funding_rates, body)
            fresh = [(ts, rate) for ts, rate in page if ts >= since_ns and ts not in found]
            found |= dict(fresh)
            if not fresh or len(page) < _RATES_A_PAGE:
                return sorted(found.items())
            after = str(page[-1][0] // NS_PER_MS)
