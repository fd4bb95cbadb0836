"""Paper trading beside the live account: what shadow and canary traders do that does not go to the market.

A second set of the same parts (gate, sizing, order desk, protection, books) works in this process on a paper
venue that the live feed moves, with a bus in memory. Nothing of it can reach the live account. What it comes
to is written to the live journal as the trader `<id>.paper`, beside its live twin, and the venue's state with
it: a restart goes on with the same money, positions and stops. While the engine is away nothing fires; what
the market has passed meanwhile fires at the first price after the start; funding of that time is not charged.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Final

import msgspec
import structlog

from engine.bus import DECISIONS, SNAPSHOTS
from engine.config.scheduler import RolloutConfig
from engine.config.settings import Settings
from engine.core.books import RESERVE
from engine.core.cash import CashFlow, FlowKind
from engine.core.decisions import AccountView, Decision
from engine.core.errors import BusUnavailable, CodecError, ConfigError
from engine.core.market import (
    BookTop,
    FundingRate,
    IndexPrice,
    Levels,
    MarketEvent,
    MarkPrice,
    Trade,
    exact,
)
from engine.core.paper import PAPER, paper_cycle
from engine.core.signals import MarketSnapshot
from engine.exchange.matching.core import MatchingCore
from engine.exchange.matching.options import MatchingOptions
from engine.exchange.matching.types import AccountSpec, TriggerType, VenueRefusal
from engine.exchange.paper.kept import KeptPaperVenue
from engine.exchange.ports import PositionMode
from engine.journal.ports import KeepState
from engine.journal.shadow import PaperJournal
from engine.memory_bus import MemoryBus
from engine.retry import patiently
from engine.wiring.listing import InstrumentBook
from engine.wiring.parts import Parts, Surroundings, build_parts

log = structlog.get_logger()

# Ids of its own: orders of both accounts lie in one table. The state is written whole with each change.
_OPTIONS: Final = MatchingOptions(first_id=2_000_000_000_000_000_000, history_limit=500, tells_standing=False)


class PaperDesk:
    """The paper account of all shadow and canary traders."""

    name = "paper"

    def __init__(self, parts: Parts, venue: KeptPaperVenue, core: MatchingCore, bus: MemoryBus) -> None:
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

    @property
    def balanced(self) -> bool:
        """Whether books and paper venue agreed when they were last compared."""
        check = self._parts.exchange.auditor.newest
        return check is not None and check.balanced

    @property
    def parts(self) -> Parts:
        """The paper account's own parts, for those who measure."""
        return self._parts

    def view(self, trader_id: str) -> AccountView:
        """The paper account of a live trader, as its own. Raises KeyError for one that has none."""
        view = self._parts.accounts.view(trader_id + PAPER)
        return msgspec.structs.replace(view, trader_id=trader_id)

    async def show(self, snapshot: MarketSnapshot) -> None:
        """What the live manager was shown."""
        await self._bus.publish(SNAPSHOTS, snapshot)

    async def decide(self, decision: Decision) -> None:
        """Carry out a decision on paper; dropped while too many wait, so that the live side never does."""
        own = msgspec.structs.replace(
            decision, trader_id=decision.trader_id + PAPER, cycle_id=paper_cycle(decision.cycle_id)
        )
        try:
            await self._bus.publish(DECISIONS, own, trace_id=decision.cycle_id)
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
                caused = core.on_trade(symbol, exact(event.price), exact(event.size), event.side, ts)
            case MarkPrice():
                caused = core.on_mark(symbol, exact(event.price), ts)
            case IndexPrice():
                caused = core.on_index(symbol, exact(event.price), ts)
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
            self._venue.tell(self._core.on_funding(symbol, exact(due.rate), due.ts_funding))


async def build_paper(
    settings: Settings, instruments: InstrumentBook, mode: PositionMode, live: Surroundings
) -> PaperDesk | None:
    """The paper account of the traders that are not wholly live; None when all are.

    None too when its kept state cannot be used, with an error in the log: entries that belong on paper are
    then carried out nowhere, and the live account goes on.
    """
    paper = _on_paper(settings)
    if not paper.manager.traders:
        return None
    try:
        core, venue = await _venue(paper, instruments, mode, live)
    except ConfigError as error:
        log.error("paper account not opened", reason=str(error))  # noqa: TRY400 - the text says it all
        return None
    bus = MemoryBus(live.clock)
    around = Surroundings(
        venue=venue,
        feed=live.feed,
        journal=PaperJournal(live.journal),
        bus=bus,
        clock=live.clock,
        jobs=live.jobs,
        model=live.model,
    )
    parts = await build_parts(paper, instruments, mode, around)
    log.info("paper account opened", traders=[trader.id for trader in paper.manager.traders])
    return PaperDesk(parts, venue, core, bus)


async def _venue(
    paper: Settings, instruments: InstrumentBook, mode: PositionMode, live: Surroundings
) -> tuple[MatchingCore, KeptPaperVenue]:
    """The venue as a former life left it, or a new one with its traders' capital. Raises ConfigError."""
    account_id, journal, clock = paper.provider_id, live.journal, live.clock
    capital = {trader.id: paper.manager.capital(trader) for trader in paper.manager.traders}
    saved = (await patiently(lambda: journal.load_states(KeepState.VENUE))).get(account_id)
    core = MatchingCore(_OPTIONS)
    if saved is not None:
        try:
            core = MatchingCore.restore(saved, _OPTIONS)
            core.set_position_mode(account_id, mode, clock.now_ns())
        except CodecError as error:
            raise ConfigError(f"the state of {account_id} is of another version: {error}") from error
        except VenueRefusal as error:
            raise ConfigError(f"position_mode: {account_id} holds positions of the other mode") from error
    for instrument in instruments.by_symbol.values():
        core.set_instrument(instrument)

    async def store(state: bytes) -> None:
        await patiently(lambda: journal.save_state(KeepState.VENUE, account_id, state, clock.now_ns()))

    spec = AccountSpec(account=account_id, balance=sum(capital.values(), Decimal(0)), position_mode=mode)
    trigger = TriggerType(paper.provider.okx.trigger_price)
    venue = KeptPaperVenue(core, spec, clock, trigger, store)
    await venue.keep()
    if saved is not None:
        await _fund(core, venue, capital, live)
    return core, venue


async def _fund(
    core: MatchingCore, venue: KeptPaperVenue, capital: dict[str, Decimal], live: Surroundings
) -> None:
    """Pay in what traders that are new on paper get: money of the account that nobody has yet comes first."""
    booked = (await patiently(lambda: live.journal.bookings(venue.account_id))).cash_flows
    if not booked:  # the books were never opened: they begin with the venue's cash
        free = core.balance(venue.account_id).cash
    else:
        free = sum((flow.amount for flow in booked if flow.trader_id == RESERVE), Decimal(0))
    known = {flow.trader_id for flow in booked}
    lacking = sum((amount for name, amount in capital.items() if name not in known), Decimal(0)) - free
    if lacking <= 0:
        return
    venue.tell(core.deposit(venue.account_id, lacking, live.clock.now_ns()))
    await venue.keep()
    bill = core.bills(venue.account_id)[0]
    flow = CashFlow(
        flow_id=f"{venue.account_id}:bill:{bill.bill_id}",  # as the exchange part books it, once
        trader_id=RESERVE,
        account_id=venue.account_id,
        kind=FlowKind.DEPOSIT,
        amount=lacking,
        ts=bill.ts,
    )
    if booked:
        await patiently(lambda: live.journal.record_cash_flow(flow))


def _on_paper(settings: Settings) -> Settings:
    """The same traders with the same capital on an account of their own; nobody is woken there."""
    config = settings.manager
    chosen = [trader for trader in config.traders if not trader.rollout.live]
    total = config.manager.total_equity_usd
    traders = tuple(
        msgspec.structs.replace(
            trader,
            id=trader.id + PAPER,
            name=f"{trader.name or trader.id} (paper)",
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
    account_id = settings.provider_id + PAPER
    exchange = msgspec.structs.replace(
        settings.exchange, default=account_id, providers={account_id: provider}
    )
    manager = msgspec.structs.replace(config, manager=capital, traders=traders)
    return msgspec.structs.replace(settings, exchange=exchange, manager=manager)


def _levels(levels: Levels) -> list[tuple[Decimal, Decimal]]:
    return [(exact(level.price), exact(level.size)) for level in levels]
