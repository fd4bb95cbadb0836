"""Episodes of a MemoryJournal: the newest of each trader, found like those in Postgres."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from engine.core.ledger import ClosedTrade
from engine.core.memory import EPISODES_KEPT, Episode, MemoryQuery, choose

_SHARED: Final = tuple(name for name in Episode.__struct_fields__ if name in ClosedTrade.__struct_fields__)


class _Kept(NamedTuple):
    """What an episode is made of; most are never asked for."""

    trade: ClosedTrade
    thesis: str
    close_reason: str


class Episodes:
    """Remembers closed trades."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[_Kept]] = {}  # trader id → newest, oldest first

    def add(self, trade: ClosedTrade, thesis: str, close_reason: str) -> None:
        """Remember `trade` with the reasons of the cycles that entered and closed it."""
        kept = self._kept.setdefault(trade.trader_id, deque(maxlen=EPISODES_KEPT))
        kept.append(_Kept(trade, thesis, close_reason))

    def recall(self, query: MemoryQuery) -> tuple[Episode, ...]:
        past = self._kept.get(query.trader_id, ())
        return choose((_episode(each) for each in past if each.trade.ts_exit <= query.until_ns), query)

    def after(self, trader_id: str, trade_id: str, limit: int) -> tuple[Episode, ...]:
        """Those added after `trade_id`, or all when it is not there."""
        past = list(self._kept.get(trader_id, ()))
        told = next((i + 1 for i, each in enumerate(past) if each.trade.trade_id == trade_id), 0)
        return tuple(map(_episode, past[told : told + limit]))


def _episode(kept: _Kept) -> Episode:
    return Episode(
        **{name: getattr(kept.trade, name) for name in _SHARED},
        exit=kept.trade.exit_purpose,
        thesis=kept.thesis,
        invalidation=kept.trade.exit_plan,
        close_reason=kept.close_reason,
    )
