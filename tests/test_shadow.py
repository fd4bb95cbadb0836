"""Shadow traders on paper: at the prices of the live market, and away from the live account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import msgspec

from engine.clock import SystemClock, cancelled
from engine.config.scheduler import RolloutConfig
from engine.config.settings import Settings, load_settings
from engine.config.values import Duration
from engine.core.decisions import Act, Action, Decision
from engine.core.market import BookTop, FundingRate, Level, MarkPrice
from engine.core.orders import PositionSide, Purpose
from engine.core.signals import MarketSnapshot
from engine.core.times import NS_PER_S
from engine.exchange.matching.core import MatchingCore
from engine.exchange.matching.types import AccountSpec
from engine.exchange.paper.venue import PaperVenue
from engine.exchange.ports import PositionMode
from engine.exchange.simulator.universe import listings
from engine.executor.sample import sample_wakeup
from engine.jobs import Jobs
from engine.journal.in_memory.journal import MemoryJournal
from engine.journal.ports import Journal, KeepState
from engine.journal.postgres.journal import PostgresJournal
from engine.memory_bus import MemoryBus
from engine.wiring.listing import InstrumentBook
from engine.wiring.parts import Surroundings
from engine.wiring.shadow import PaperDesk, build_paper
from engine.wiring.traders import trader_records
from tests.test_backtest import NoModel
from tests.test_market_service import ScriptedFeed
from tests.waiting import until

BTC, TRADER = "BTC-USDT-SWAP", "trend-majors"
CLOCK = SystemClock()
ETC = Path(__file__).parent.parent / "etc"


def settings(weight: float) -> Settings:
    found = load_settings(ETC, {})
    traders = tuple(
        msgspec.structs.replace(
            trader,
            rollout=RolloutConfig(weight=weight if trader.id == TRADER else 100),
            risk_params=msgspec.structs.replace(
                trader.risk_params, cooldown_after_stop=Duration(0), cooldown_after_close=Duration(0)
            ),
        )
        for trader in found.manager.traders
        if trader.strategy
    )
    return found.with_traders(traders)


@dataclass
class World:
    desk: PaperDesk
    journal: Journal  # the live one

    async def price(self, price: float) -> None:
        """The live market is here, and the live manager was shown it."""
        ts = CLOCK.now_ns()
        bids, asks = (Level(price - 0.5, 500.0),), (Level(price, 500.0),)
        self.desk.on_market(BookTop(BTC, bids, asks, ts))
        self.desk.on_market(MarkPrice(BTC, price, ts))
        shown = MarketSnapshot(
            symbol=BTC,
            ts=ts,
            last=price,
            bid=price - 0.5,
            ask=price,
            bids=bids,
            asks=asks,
            mark=price,
            index=price,
            reference_px=price,
            ts_reference=ts,
            ts_price=ts,
            ts_mark=ts,
        )
        await self.desk.show(shown)

    async def decide(self, number: int, *actions: Action) -> None:
        """As the live manager does: the cycle is journalled before its decision is carried out."""
        woken = sample_wakeup(TRADER, [BTC])
        await self.journal.record_wakeup(
            msgspec.structs.replace(woken, cycle_id=f"{TRADER}-{number}", ts=CLOCK.now_ns())
        )
        await self.desk.decide(
            Decision(
                cycle_id=f"{TRADER}-{number}",
                trader_id=TRADER,
                decider="x",
                actions=actions,
                prices={BTC: 100_000.0},
                ts_decided=CLOCK.now_ns(),
            )
        )


def _live(journal: Journal, jobs: Jobs) -> Surroundings:
    """What the paper account has beside it; its venue is not asked."""
    return Surroundings(
        venue=PaperVenue(MatchingCore(), AccountSpec(account="live", balance=Decimal(1)), CLOCK),
        feed=ScriptedFeed(),
        journal=journal,
        bus=MemoryBus(CLOCK),
        clock=CLOCK,
        jobs=jobs,
        model=NoModel(),
    )


@asynccontextmanager
async def world(journal: Journal, found: Settings | None = None) -> AsyncIterator[World]:
    """One life of the paper account, on a journal that may have had others."""
    instruments = [listing.instrument for listing in listings(("BTC", "ETH", "SOL", "DOGE", "XRP"))]
    await journal.record_traders(trader_records(settings(0), CLOCK.now_ns()))
    async with Jobs() as jobs:
        live = _live(journal, jobs)
        desk = await build_paper(
            found or settings(0), InstrumentBook(tuple(instruments)), PositionMode.LONG_SHORT, live
        )
        assert desk is not None
        task = asyncio.create_task(desk.run(), name="paper")
        try:
            await until(lambda: desk.ready)
            yield World(desk, journal)
        finally:
            await cancelled(task)


ENTER = Action(
    symbol=BTC,
    act=Act.BUY_TO_ENTER,
    notional_usd=Decimal(5_000),
    leverage=Decimal(5),
    stop_loss=Decimal(98_500),
    take_profit=Decimal(106_000),
    confidence=Decimal("0.9"),
)


async def test_shadow_trades_on_paper_at_live_prices_and_its_result_stands_beside_the_live_one() -> None:
    journal = MemoryJournal()
    async with world(journal) as now:
        await now.price(100_000.0)
        await now.decide(1, ENTER)
        await until(lambda: now.desk.view(TRADER).position(BTC) is not None)
        held = now.desk.view(TRADER).position(BTC)
        assert held is not None
        assert (held.side, held.entry_price) == (PositionSide.LONG, Decimal(100_000))
        assert held.stop_loss == Decimal(98_500)
        await now.price(101_000.0)
        await now.decide(2, Action(symbol=BTC, act=Act.CLOSE, confidence=Decimal(1)))
        await until(lambda: now.desk.view(TRADER).position(BTC) is None)
        view = now.desk.view(TRADER)
        assert view.realised == held.coins * Decimal("999.5")  # sold to the best bid
        assert view.fees < 0
        await until(lambda: len(journal.trades) == 1)
    assert {order.intent.trader_id for order in journal.orders.values()} == {f"{TRADER}.paper"}
    assert {order.intent.cycle_id for order in journal.orders.values()} <= {f"{TRADER}-1", f"{TRADER}-2", ""}
    assert {account for account, _ in journal.fills} == {f"{settings(0).provider_id}.paper"}
    assert {each.trader_id for each in journal.performance} <= {f"{TRADER}.paper"}


async def test_paper_account_goes_on_where_its_engine_was_killed(database: str) -> None:
    """Money, position, stop and ids are in Postgres: the next life has them, and books what happens then."""
    async with PostgresJournal(database, CLOCK) as journal:
        async with world(journal) as now:
            await now.price(100_000.0)
            await now.decide(1, ENTER)
            await until(lambda: now.desk.view(TRADER).position(BTC) is not None)
            before = now.desk.view(TRADER)
        async with world(journal) as now:
            await now.price(100_000.0)
            held, again = now.desk.view(TRADER).position(BTC), now.desk.view(TRADER)
            assert held is not None
            assert (again.cash, again.fees) == (before.cash, before.fees)
            assert held.stop_loss == Decimal(98_500)
            await now.price(98_000.0)  # the stop still rests there
            await until(lambda: now.desk.view(TRADER).position(BTC) is None)
            await now.price(100_000.0)
            await now.decide(3, ENTER)
            await until(lambda: now.desk.view(TRADER).position(BTC) is not None)
            await until(lambda: now.desk.balanced)
        booked = await journal.bookings(f"{settings(0).provider_id}.paper")
    assert [fill.purpose for fill in booked.fills] == [Purpose.ENTRY, Purpose.STOP, Purpose.ENTRY]


async def test_a_new_shadow_gets_its_capital_beside_those_that_trade_already(database: str) -> None:
    async with PostgresJournal(database, CLOCK) as journal:
        async with world(journal) as now:
            await now.price(100_000.0)
            await now.decide(1, ENTER)
            await until(lambda: now.desk.view(TRADER).position(BTC) is not None)
        both = settings(0)
        traders = tuple(
            msgspec.structs.replace(trader, rollout=RolloutConfig(weight=0))
            for trader in both.manager.traders
            if trader.id in {TRADER, "range-all"}
        )
        both = both.with_traders(traders)
        for _ in range(2):  # once
            async with world(journal, both) as now:
                await now.price(100_000.0)
                assert now.desk.view("range-all").capital == 18_000
                assert now.desk.view(TRADER).position(BTC) is not None
                await until(lambda: now.desk.balanced)


async def test_paper_stop_fires_and_funding_is_paid_when_the_live_market_says_so() -> None:
    async with world(MemoryJournal()) as now:
        await now.price(100_000.0)
        await now.decide(1, ENTER)
        await until(lambda: now.desk.view(TRADER).position(BTC) is not None)
        ts = CLOCK.now_ns()
        now.desk.on_market(FundingRate(BTC, 0.0001, ts, ts))
        now.desk.on_market(MarkPrice(BTC, 100_000.0, ts + NS_PER_S))
        await until(lambda: now.desk.view(TRADER).funding < 0)
        await now.price(98_000.0)
        await until(lambda: now.desk.view(TRADER).position(BTC) is None)


async def test_a_paper_state_that_cannot_be_read_does_not_keep_the_live_account_from_trading() -> None:
    journal = MemoryJournal()
    await journal.save_state(KeepState.VENUE, f"{settings(0).provider_id}.paper", b"another version", 1)
    assert await _built(settings(0), journal) is None


async def test_without_shadows_there_is_no_paper_account() -> None:
    assert await _built(settings(100), MemoryJournal()) is None


async def _built(found: Settings, journal: Journal) -> PaperDesk | None:
    async with Jobs() as jobs:
        live = _live(journal, jobs)
        return await build_paper(found, InstrumentBook(()), PositionMode.LONG_SHORT, live)
