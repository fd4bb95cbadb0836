"""What surrounds the manager of one venue account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.bus import Bus
from engine.clock import Clock
from engine.config.manager import ManagerConfig
from engine.core.books import Books
from engine.core.decisions import AccountView, Decision
from engine.core.instruments import Instrument
from engine.core.market import NewsItem
from engine.core.signals import MarketSnapshot
from engine.journal.ports import Journal
from engine.manager.accounts import TraderAccounts
from engine.manager.breaker import Breaker
from engine.manager.scheduler import Scheduler
from engine.manager.translate import ExchangeView


class Headlines(Protocol):
    """What the news say."""

    def newest(self, symbols: Sequence[str], now_ns: int) -> tuple[NewsItem, ...]:
        """Those about the symbols, or about all of the market; newest first."""
        ...


@dataclass(slots=True)
class MarketView:
    """Newest snapshot by symbol, the venue's instruments, and headlines."""

    snapshots: dict[str, MarketSnapshot]
    instruments: Mapping[str, Instrument]
    news: Headlines


class Paper(Protocol):
    """Where shadow and canary traders do what they may not do live (engine.wiring.shadow)."""

    def view(self, trader_id: str) -> AccountView: ...
    async def show(self, snapshot: MarketSnapshot) -> None: ...
    async def decide(self, decision: Decision) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerContext:
    """The parts around the manager of one venue account; it reads the books and never writes them.

    `breaker` is that of all traders together. `paper` is None when every trader is wholly live.
    """

    config: ManagerConfig
    books: Books
    accounts: TraderAccounts
    market: MarketView
    exchange: ExchangeView
    scheduler: Scheduler
    bus: Bus
    journal: Journal
    clock: Clock
    breaker: Breaker
    paper: Paper | None = None
