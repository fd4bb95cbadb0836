"""Candles made of trades, for a venue or a recording that has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from engine.core.market import Candle, Trade
from engine.core.times import timeframe_ns

_VOLUME_DIGITS: Final = 8


class TradeCandles:
    """Base candles of one symbol: each is closed by the first trade after it, or by time.

    An interval without a trade is flat at the last price with no volume, as venues have it. The first,
    of which the beginning was not seen, is left out. A trade later than its candle's close is dropped and
    counted. `contract_value` is coins a contract.
    """

    __slots__ = (
        "_close",
        "_coins",
        "_high",
        "_lost",
        "_low",
        "_newest",
        "_open",
        "_start",
        "_whole",
        "contract_value",
        "late",
        "step_ns",
        "symbol",
        "timeframe",
    )
    STATE: ClassVar[tuple[str, ...]] = (
        "_close",
        "_coins",
        "_high",
        "_lost",
        "_low",
        "_newest",
        "_open",
        "_start",
        "_whole",
        "late",
    )

    def __init__(self, symbol: str, timeframe: str, contract_value: float) -> None:
        self.symbol = symbol
        self.timeframe = timeframe
        self.step_ns = timeframe_ns(timeframe)
        self.contract_value = contract_value
        self.late = 0
        self.reset()

    def reset(self) -> None:
        """Forget the candle in the making."""
        self._start: int | None = None
        self._whole = False  # whether the candle in the making was seen from its open
        self._open = self._high = self._low = self._close = 0.0
        self._coins = 0.0
        self._lost = 0.0  # what rounding took from the sum of coins (Kahan)
        self._newest = 0

    def add(self, trade: Trade) -> Sequence[Candle]:
        """Take a trade; return the candles that it closes, oldest first."""
        start = trade.ts_event - trade.ts_event % self.step_ns
        closed: Sequence[Candle] = ()
        if self._start is None:
            self._begin(start, trade.price)
        elif start < self._start:
            self.late += 1
            return ()
        elif start > self._start:
            closed = self._close_until(start, trade.ts_event, trade.ts_recv)
        price = trade.price
        if self._coins == 0.0:  # the first trade of an interval opens it
            self._open = self._high = self._low = price
        self._high = max(self._high, price)
        self._low = min(self._low, price)
        self._close = price
        self._newest = trade.ts_event
        coins = trade.size * self.contract_value - self._lost
        total = self._coins + coins
        self._lost = (total - self._coins) - coins
        self._coins = total
        return closed

    def advance(self, ts: int) -> Sequence[Candle]:
        """Close what ended by `ts`: the time, less a grace for trades on their way."""
        start = ts - ts % self.step_ns
        if self._start is None or start <= self._start:
            return ()
        return self._close_until(start, start, 0)

    @property
    def forming(self) -> Candle | None:
        """The candle in the making."""
        return None if self._start is None else self._candle(self._start, self._newest, 0, closed=False)

    def _begin(self, start: int, price: float) -> None:
        self._start = start
        self._open = self._high = self._low = self._close = price
        self._coins = self._lost = 0.0

    def _close_until(self, start: int, ts_event: int, ts_recv: int) -> Sequence[Candle]:
        closed: list[Candle] = []
        while self._start is not None and self._start < start:
            if self._whole:
                closed.append(self._candle(self._start, ts_event, ts_recv, closed=True))
            self._whole = True
            self._begin(self._start + self.step_ns, self._close)
        return closed

    def _candle(self, start: int, ts_event: int, ts_recv: int, *, closed: bool) -> Candle:
        prices = (self._open, self._high, self._low, self._close)
        coins = round(self._coins, _VOLUME_DIGITS)
        return Candle(self.symbol, self.timeframe, start, *prices, coins, closed, ts_event, ts_recv)
