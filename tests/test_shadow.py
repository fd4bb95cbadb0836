"""Shadow traders on paper: at the prices of the live market, and away from the live account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import msgspec

from engine.assembly import InstrumentBook
from engine.clock import SystemClock, cancelled
from engine.config.scheduler import RolloutConfig
from engine.config.settings import Settings, load_settings
from engine.core.decisions import Act, Action, Decision
from engine.core.market import BookTop, FundingRate, MarkPrice
from engine.core.orders import PositionSide
from engine.core.signals import MarketSnapshot
from engine.core.times import NS_PER_S
from engine.exchange.matching.core import MatchingCore
from engine.exchange.matching.types import AccountSpec
from engine.exchange.paper.venue import PaperVenue
from engine.exchange.ports import PositionMode
from engine.exchange.simulator.universe import listings
from engine.jobs import Jobs
from engine.journal.memory import MemoryJournal
from engine.memory_bus import MemoryBus
from engine.parts import Surroundings
from engine.shadow import PaperDesk, build_paper
from tests.exchange_world import until
from tests.test_backtest import NoModel
from tests.test_market_service import ScriptedFeed

BTC, TRADER = "BTC-USDT-SWAP", "trend-majors"
CLOCK = SystemClock()
ETC = Path(__file__).parent.parent / "etc"


def settings(weight: float) -> Settings:
    found = load_settings(ETC, {})
    traders = tuple(
        msgspec.structs.replace(trader, rollout=RolloutConfig(weight=weight if trader.id == TRADER else 100))
        for trader in found.manager.traders
        if trader.strategy
    )
    return msgspec.structs.replace(found, manager=msgspec.structs.replace(found.manager, traders=traders))


@dataclass
class World:
    desk: PaperDesk
    journal: MemoryJournal  # the live one

    async def price(self, price: float) -> None:
        """The live market is here, and the live manager was shown it."""
        ts = CLOCK.now_ns()
        bids, asks = ((price - 0.5, 500.0),), ((price, 500.0),)
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


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    journal = MemoryJournal()
    instruments = [listing.instrument for listing in listings(("BTC", "ETH", "SOL", "DOGE", "XRP"))]
    unused = PaperVenue(MatchingCore(), AccountSpec(account="live", balance=Decimal(1)), CLOCK)
    async with Jobs() as jobs:
        live = Surroundings(
            venue=unused,
            feed=ScriptedFeed(),
            journal=journal,
            bus=MemoryBus(CLOCK),
            clock=CLOCK,
            jobs=jobs,
            model=NoModel(),
        )
        desk = await build_paper(
            settings(0), InstrumentBook(tuple(instruments)), PositionMode.LONG_SHORT, live
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
    async with world() as now:
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
        assert now.journal.orders == {}
        assert now.journal.fills == {}
    assert {each.trader_id for each in now.journal.performance} <= {f"{TRADER}.paper"}


async def test_paper_stop_fires_and_funding_is_paid_when_the_live_market_says_so() -> None:
    async with world() as now:
        await now.price(100_000.0)
        await now.decide(1, ENTER)
        await until(lambda: now.desk.view(TRADER).position(BTC) is not None)
        ts = CLOCK.now_ns()
        now.desk.on_market(FundingRate(BTC, 0.0001, ts, ts))
        now.desk.on_market(MarkPrice(BTC, 100_000.0, ts + NS_PER_S))
        await until(lambda: now.desk.view(TRADER).funding < 0)
        await now.price(98_000.0)
        await until(lambda: now.desk.view(TRADER).position(BTC) is None)


async def test_without_shadows_there_is_no_paper_account() -> None:
    found = settings(100)
    unused = PaperVenue(MatchingCore(), AccountSpec(account="live", balance=Decimal(1)), CLOCK)
    async with Jobs() as jobs:
        live = Surroundings(
            venue=unused,
            feed=ScriptedFeed(),
            journal=MemoryJournal(),
            bus=MemoryBus(CLOCK),
            clock=CLOCK,
            jobs=jobs,
            model=NoModel(),
        )
        assert await build_paper(found, InstrumentBook(()), PositionMode.LONG_SHORT, live) is None
