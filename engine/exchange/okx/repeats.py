"""Trades that were told before: OKX sends the newest one again after each subscription."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Final

from engine.core.market import MarketEvent, Trade

_REMEMBERED_TRADES: Final = 256
_REMEMBERED_DELAYS: Final = 4096  # until somebody takes them; the oldest go


class NewTrades:
    """Passes each trade of `symbols` on once, and keeps how long it took from the venue's time to ours."""

    def __init__(self, symbols: Iterable[str], put: Callable[[MarketEvent], object]) -> None:
        self._put = put
        self._seen = {symbol: OrderedDict[str, None]() for symbol in symbols}
        self._delays_ns: deque[int] = deque(maxlen=_REMEMBERED_DELAYS)

    def put(self, event: MarketEvent) -> None:
        """Pass on what is new."""
        if not isinstance(event, Trade):
            return
        seen = self._seen.get(event.symbol)
        if seen is None or event.trade_id in seen:
            return
        seen[event.trade_id] = None
        if len(seen) > _REMEMBERED_TRADES:
            seen.popitem(last=False)
        self._delays_ns.append(event.ts_recv - event.ts_event)
        self._put(event)

    def take_delays_ns(self) -> list[int]:
        """Of the newest trades since the last call."""
        taken = list(self._delays_ns)
        self._delays_ns.clear()
        return taken
