"""Trades that were told before: OKX sends the newest one again after each subscription."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from engine.core.market import MarketEvent, Trade

_REMEMBERED_TRADES: Final = 256  # at least, of a symbol
_REMEMBERED_DELAYS: Final = 4096  # until somebody takes them; the oldest go


class _Seen:
    """The newest trade ids of a symbol: those since the last change of generation, and those before it."""

    __slots__ = ("new", "old")

    def __init__(self) -> None:
        self.new: set[str] = set()
        self.old: set[str] = set()


class NewTrades:
    """Passes each trade on once, and keeps how long it took from the venue's time to ours."""

    def __init__(self, put: Callable[[MarketEvent], object]) -> None:
        self._put = put
        self._seen: dict[str, _Seen] = {}
        self._delays_ns: deque[int] = deque(maxlen=_REMEMBERED_DELAYS)

    def put(self, event: MarketEvent) -> None:
        """Pass on what is new."""
        if not isinstance(event, Trade):
            return
        seen = self._seen.get(event.symbol)
        if seen is None:
            seen = self._seen[event.symbol] = _Seen()
        trade_id = event.trade_id
        if trade_id in seen.new or trade_id in seen.old:
            return
        seen.new.add(trade_id)
        if len(seen.new) >= _REMEMBERED_TRADES:
            seen.old, seen.new = seen.new, set()
        self._delays_ns.append(event.ts_recv - event.ts_event)
        self._put(event)

    def take_delays_ns(self) -> list[int]:
        """Of the newest trades since the last call."""
        taken = list(self._delays_ns)
        self._delays_ns.clear()
        return taken
