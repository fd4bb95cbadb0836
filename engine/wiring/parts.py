"""The parts of one account, wired together once: live, on the simulator and in a backtest the same.

What differs between them is only what is given here: venue, feed, journal, bus and clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from engine.bus import Bus
from engine.clock import Clock
from engine.config.settings import Settings
from engine.core.books import Books
from engine.exchange.context import ExchangeContext
from engine.exchange.ports import MarketFeed, PositionMode, Venue
from engine.exchange.service import ExchangeRules, ExchangeService
from engine.executor.asking import ModelClient
from engine.executor.service import ExecutorService
from engine.executor.write_back import WriteBack
from engine.jobs import Jobs
from engine.journal.ports import Journal, KeepState
from engine.journal.snapshots import Compression
from engine.manager.accounts import TraderAccounts
from engine.manager.context import ManagerContext, MarketView, Paper
from engine.manager.scheduler import Scheduler
from engine.manager.service import ManagerService
from engine.market.news import NewsBoard
from engine.market.service import MarketService
from engine.retry import patiently
from engine.wiring.deciders import build_deciders, build_write_back
from engine.wiring.listing import InstrumentBook, venue_leverage
from engine.wiring.traders import build_account_breaker, build_scheduler, build_traders, trader_records

_AUDIT_EVERY_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the parts of one account work with. `model` answers prompts, `jobs` carries requests to the venue.

    `news` are headlines for the traders; empty unless somebody fills it.
    """

    venue: Venue
    feed: MarketFeed
    journal: Journal
    bus: Bus
    clock: Clock
    jobs: Jobs
    model: ModelClient
    news: NewsBoard = field(default_factory=NewsBoard)
    paper: Paper | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """All parts of one account; `exchange.start`, `manager.start`, then every `run`."""

    exchange: ExchangeService
    manager: ManagerService
    market: MarketService
    executor: ExecutorService
    write_back: WriteBack
    accounts: TraderAccounts
    view: MarketView
    scheduler: Scheduler


async def build_parts(
    settings: Settings, instruments: InstrumentBook, mode: PositionMode, around: Surroundings
) -> Parts:
    """Wire the parts together and journal who trades; nothing runs yet. Raises ConfigError."""
    clock, journal, bus = around.clock, around.journal, around.bus
    now = clock.now_ns()
    await _journal_start(settings, instruments, journal, now)
    states = await patiently(lambda: journal.load_states(KeepState.BREAKER))
    breaker = build_account_breaker(settings, states)
    traders = build_traders(settings, states, breaker)
    books = Books(settings.provider_id, traders, netting=mode is PositionMode.NET)
    accounts = TraderAccounts(books, clock.now_ns)
    exchange = _exchange(settings, instruments, mode, around, accounts)
    view = MarketView({}, instruments.by_symbol, around.news)
    scheduler = build_scheduler(settings, traders, books, now)
    context = ManagerContext(
        config=settings.manager,
        books=books,
        accounts=accounts,
        market=view,
        exchange=exchange,
        scheduler=scheduler,
        bus=bus,
        journal=journal,
        clock=clock,
        breaker=breaker,
        paper=around.paper,
    )
    at_once = settings.executor.max_concurrent_decisions
    deciders = build_deciders(settings, around.model, journal, clock)
    return Parts(
        exchange=exchange,
        manager=ManagerService(context, traders),
        market=MarketService(settings.market, around.feed, bus, journal, clock),
        executor=ExecutorService(deciders, bus, journal, clock, at_once),
        write_back=build_write_back(settings, journal, clock),
        accounts=accounts,
        view=view,
        scheduler=scheduler,
    )


async def _journal_start(
    settings: Settings, instruments: InstrumentBook, journal: Journal, now_ns: int
) -> None:
    """Who trades what, and with how much all of them begin; waits for a database that is away."""
    await patiently(lambda: journal.record_instruments(list(instruments.by_symbol.values()), now_ns))
    await patiently(lambda: journal.record_traders(trader_records(settings, now_ns)))
    start = sum(map(settings.manager.capital, settings.manager.traders), Decimal(0))
    if start:
        await patiently(lambda: journal.record_initial_equity(settings.provider_id, start, now_ns))


def _exchange(
    settings: Settings,
    instruments: InstrumentBook,
    mode: PositionMode,
    around: Surroundings,
    accounts: TraderAccounts,
) -> ExchangeService:
    kept = settings.engine.journal
    context = ExchangeContext(
        venue=around.venue,
        journal=around.journal,
        bus=around.bus,
        clock=around.clock,
        jobs=around.jobs,
        books=accounts.books,
        accounts=accounts,
        contracts=instruments,
        position_mode=mode,
        trading_enabled=settings.provider.may_trade,
        compression=Compression(kept.balance_min_usd, kept.balance_min_pct / 100),
    )
    return ExchangeService(
        context,
        capital={trader.id: settings.manager.capital(trader) for trader in settings.manager.traders},
        leverage=venue_leverage(settings, instruments),
        rules=ExchangeRules(
            limit_timeout_s=settings.manager.manager.limit_order_timeout,
            audit_every_s=_AUDIT_EVERY_S,
            infer_missing_fills=settings.provider.infer_missing_fills,
        ),
    )
