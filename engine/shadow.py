"""Paper trading beside the live account: what shadow and canary traders do that does not go to the market.

A second set of the same parts (gate, sizing, order desk, protection, books) works in this process on a paper
venue that the live feed moves, with a journal and a bus in memory. Nothing of it can reach the live account.
What it comes to is written to the live journal as the trader `<id>.paper`, beside its live twin. A restart
begins anew with the configured capital and no position.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec
import structlog

from engine.assembly import InstrumentBook, trader_records
from engine.bus import DECISIONS, SNAPSHOTS
from engine.config.scheduler import RolloutConfig
from engine.config.settings import Settings
from engine.core.decisions import AccountView, Decision
from engine.core.errors import BusUnavailable
from engine.core.market import (
    BookTop,
    FundingRate,
    IndexPrice,
    MarketEvent,
    MarkPrice,
    Trade,
)
from engine.core.signals import MarketSnapshot
from engine.exchange.matching.core import MatchingCore
from engine.exchange.matching.types import AccountSpec
from engine.exchange.paper.venue import PaperVenue
from engine.exchange.ports import PositionMode
from engine.journal.memory import MemoryJournal
from engine.journal.ports import AccountCheck, Journal, VenuePositionRow
from engine.journal.snapshots import BalanceSnapshot
from engine.memory_bus import MemoryBus
from engine.parts import Parts, Surroundings, build_parts
from engine.retry import patiently

log = structlog.get_logger()

SUFFIX: Final = ".paper"
_ACCOUNT: Final = "paper"


class _PaperJournal(MemoryJournal):
    """In memory, but for performance, which goes to the live journal under the paper trader's name.

    What repeats for ever is not kept.
    """

    def __init__(self, live: Journal) -> None:
        super().__init__()
        self._live = live

    async def record_performance(self, views: Sequence[AccountView]) -> None:
        renamed = [msgspec.structs.replace(view, trader_id=view.trader_id + SUFFIX) for view in views]
        await self._live.record_performance(renamed)

    async def record_check(self, check: AccountCheck) -> None:
        if not check.balanced:
            log.error("paper books do not balance", difference=str(check.difference), detail=check.detail)

    async def record_balance(self, snapshot: BalanceSnapshot) -> None:
        """The paper account's balance is that of its traders."""

    async def record_venue_positions(
        self, account_id: str, positions: Sequence[VenuePositionRow], ts: int
    ) -> None:
        """They are those of the books."""


class PaperDesk:
    """The paper account of all shadow and canary traders."""

    name = "paper"

    def __init__(self, parts: Parts, venue: PaperVenue, core: MatchingCore, bus: MemoryBus) -> None:
        self._parts, self._venue, self._core, self._bus = parts, venue, core, bus
        self._symbols = frozenset(core.symbols())
        self._funding: dict[str, FundingRate] = {}

    async def run(self) -> None:
        """Work until cancelled; what was decided before this is worked through first."""
        await self._parts.exchange.start()
        await self._parts.manager.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._parts.exchange.run(), name="paper exchange")
            tasks.create_task(self._parts.manager.run(), name="paper manager")

    @property
    def ready(self) -> bool:
        """Whether entries would be taken."""
        return not self._parts.exchange.refusal("")

    def view(self, trader_id: str) -> AccountView:
        """The paper account of a trader. Raises KeyError for one that has none."""
        return self._parts.accounts.view(trader_id)

    async def show(self, snapshot: MarketSnapshot) -> None:
        """What the live manager was shown."""
        await self._bus.publish(SNAPSHOTS, snapshot)

    async def decide(self, decision: Decision) -> None:
        """Carry out a decision on paper; dropped while too many wait, so that the live side never does."""
        try:
            await self._bus.publish(DECISIONS, decision, trace_id=decision.cycle_id)
        except BusUnavailable as error:
            log.warning("decision lost on paper", cycle=decision.cycle_id, error=str(error))

    def on_market(self, event: MarketEvent) -> None:
        """The live market moves the paper venue; never waits."""
        symbol, ts, core = event.symbol, event.ts_event, self._core
        if symbol not in self._symbols:
            return
        self._charge(symbol, ts)
        match event:
            case BookTop():
                caused = core.on_book(symbol, _levels(event.bids), _levels(event.asks), ts)
            case Trade():
                caused = core.on_trade(symbol, _exact(event.price), _exact(event.size), event.side, ts)
            case MarkPrice():
                caused = core.on_mark(symbol, _exact(event.price), ts)
            case IndexPrice():
                caused = core.on_index(symbol, _exact(event.price), ts)
            case FundingRate():
                self._funding[symbol] = event
                return
            case _:
                return
        self._venue.tell(caused)

    def _charge(self, symbol: str, ts: int) -> None:
        """Charge funding when its time has come, with the newest rate that was told for it."""
        due = self._funding.get(symbol)
        if due is not None and due.ts_funding <= ts:
            del self._funding[symbol]
            self._venue.tell(self._core.on_funding(symbol, _exact(due.rate), due.ts_funding))


async def build_paper(
    settings: Settings, instruments: InstrumentBook, mode: PositionMode, live: Surroundings
) -> PaperDesk | None:
    """The paper account of the traders that are not wholly live; None when all are."""
    paper = _on_paper(settings)
    if not paper.manager.traders:
        return None
    now = live.clock.now_ns()
    records = [
        msgspec.structs.replace(each, trader_id=each.trader_id + SUFFIX, name=f"{each.name} (paper)")
        for each in trader_records(paper, now)
    ]
    await patiently(lambda: live.journal.record_traders(records))
    core = MatchingCore()
    for instrument in instruments.by_symbol.values():
        core.set_instrument(instrument)
    capital = sum(map(paper.manager.capital, paper.manager.traders), Decimal(0))
    account = AccountSpec(account=_ACCOUNT, balance=capital, position_mode=mode)
    venue, bus = PaperVenue(core, account, live.clock), MemoryBus(live.clock)
    around = Surroundings(
        venue=venue,
        feed=live.feed,
        journal=_PaperJournal(live.journal),
        bus=bus,
        clock=live.clock,
        jobs=live.jobs,
        model=live.model,
    )
    parts = await build_parts(paper, instruments, mode, around)
    log.info("paper account opened", traders=[trader.id for trader in paper.manager.traders])
    return PaperDesk(parts, venue, core, bus)


def _on_paper(settings: Settings) -> Settings:
    """The same traders with the same capital on an account of their own; nobody is woken there."""
    config = settings.manager
    chosen = [trader for trader in config.traders if not trader.rollout.live]
    total = config.manager.total_equity_usd
    traders = tuple(
        msgspec.structs.replace(
            trader,
            rollout=RolloutConfig(),
            auto_start=False,
            exchange_provider="",
            allocation_pct=config.capital(trader) / total * 100,
        )
        for trader in chosen
    )
    capital = msgspec.structs.replace(
        config.manager, allocation_strategy="fixed", reserve_equity_pct=Decimal(0)
    )
    provider = msgspec.structs.replace(settings.provider, trading_enabled=True)
    exchange = msgspec.structs.replace(settings.exchange, default=_ACCOUNT, providers={_ACCOUNT: provider})
    manager = msgspec.structs.replace(config, manager=capital, traders=traders)
    return msgspec.structs.replace(settings, exchange=exchange, manager=manager)


def _levels(levels: Sequence[tuple[float, float]]) -> list[tuple[Decimal, Decimal]]:
    return [(_exact(price), _exact(size)) for price, size in levels]


def _exact(value: float) -> Decimal:
    return Decimal(str(value))
